"""What to search for: texts and images with weights, as a user writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from clipcli.cache import FeatureCache
from clipcli.errors import UsageError
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.inputs.memory import ImageSource
from clipcli.inputs.naming import is_within
from clipcli.prompts.text_files import check_text, content_lines, is_file, read_text
from clipcli.records import Encoder, Float32Array
from clipcli.remote.addresses import is_remote, without_secrets
from clipcli.scoring.class_embeddings import text_features

NEUTRAL = "a photo"
"""What every image is like: a score says more when compared with the score of this text."""

_WEIGHT = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(?!\d)\s*(.*)", re.DOTALL)  # 12:30 is a time


class Term(NamedTuple):
    """A part of a query: a text, or an image.

    Args:
        name: how it is written.
        weight: how much it counts; negative for what images should be less like.
        text: the text; None for an image.
        image: the image.
    """

    name: str
    weight: float
    text: str | None = None
    image: ImageSource | None = None


class Query(NamedTuple):
    """What is searched for: its terms added up."""

    terms: tuple[Term, ...]

    @property
    def name(self) -> str:
        """What the output calls it, such as `a red car + night - snow`."""
        first, *others = self.terms
        rest = (f" {'-' if term.weight < 0 else '+'} {term.name}" for term in others)
        return f"{'- ' if first.weight < 0 else ''}{first.name}{''.join(rest)}"


def text_term(written: str, sign: int = 1) -> Term:
    """A text with or without a weight, such as `2:a red car`.

    Raises:
        UsageError: the text is empty or too long, or the weight is 0.
    """
    weight, text = _weighted(written)
    check_text(text, "a query")
    if not text.strip():
        raise UsageError("an empty text cannot be searched for", "Write what the images should show.")
    return Term(written, sign * weight, text=text)


def image_term(written: str, sign: int = 1) -> Term:
    """The path or address of an image with or without a weight, such as `2:car.jpg`.

    Raises:
        UsageError: there is no such file, or the weight is 0.
    """
    weight, path = (1.0, written) if _is_image(written) else _weighted(written)
    if not is_remote(path) and not _is_image(path):
        raise UsageError(f"no such image: {path}")
    return Term(without_secrets(written), sign * weight, image=path)


def minus_term(written: str) -> Term:
    """A text or an image, to be subtracted: an image if there is such a file, or if it is an address.

    Raises:
        UsageError: it is named like an image, and there is no such file.
    """
    is_image = is_file(Path(written)) or Path(written).suffix.lower() in IMAGE_SUFFIXES
    path = _weighted(written)[1]
    is_image = is_image or is_remote(path) or _is_image(path)
    return image_term(written, -1) if is_image else text_term(written, -1)


def _is_image(path: str) -> bool:
    """Whether there is such a file, or one that an archive of this name may hold."""
    return is_file(Path(path)) or is_within(path)


def _weighted(written: str) -> tuple[float, str]:
    match = _WEIGHT.fullmatch(written)
    if match is None:
        return 1.0, written
    if not float(match[1]):
        raise UsageError(f"{written!r} has the weight 0: it would not count", "Leave it out.")
    return float(match[1]), match[2]


def read_texts(path: str) -> list[str]:
    """Texts from a file, one a line; lines that begin with # are comments.

    Raises:
        PromptError: it cannot be read, is no UTF-8 text, or a text is too long.
        UsageError: it has no text.
    """
    texts = []
    for number, line in content_lines(read_text(Path(path)), path):
        check_text(line, f"{path}:{number}")
        texts.append(line)
    if not texts:
        raise UsageError(f"{path}: no texts in this file", "Write one a line.")
    return texts


def queries_of(texts: Sequence[str], terms: Sequence[Term] = ()) -> list[Query]:
    """A query for each text, with the same further terms; only one of the terms where there are no texts."""
    if not texts:
        return [Query(tuple(terms))]
    return [Query((text_term(text), *terms)) for text in texts]


def features_of_texts(
    texts: Iterable[str], encoder: Encoder, templates: Sequence[str] = (), cache: FeatureCache | None = None
) -> dict[str, Float32Array]:
    """The features (D,) of texts: as they are, or averaged over templates as the embedding of a class is."""
    if not (different := list(dict.fromkeys(texts))):
        return {}
    return dict(zip(different, text_features(encoder, different, templates, cache), strict=True))
