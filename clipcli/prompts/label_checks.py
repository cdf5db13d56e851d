"""Labels that are hardly meant as they stand: a list taken for one label, or two labels for one class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path

from clipcli.errors import PromptError
from clipcli.prompts.text_files import LIBRARY, SHORT, is_file, warn

_SEPARATORS = {
    ",": "commas",
    ";": "semicolons",
    "|": "vertical bars",
    "\t": "tabs",
    "\n": "line breaks",
    "、": "ideographic commas",
    "，": "full-width commas",
    "；": "full-width semicolons",
    "،": "Arabic commas",
}
_SHOWN_PAIRS = 3
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")


def refuse_list_as_label(text: str) -> None:
    """Check the value of `labels` that holds no comma: one label, or something else?

    Raises:
        PromptError: it is a file, or a list with another separator.
    """
    if _is_list_file(text):
        raise PromptError(f"`labels` {text}: this is a file", f"Use `classes` {text}.")
    if found := separator_in(text):
        whole = SHORT.repr(text)
        raise PromptError(
            f"`labels` {whole} has {_SEPARATORS[found]}, but labels are separated by commas",
            f"Use `labels` {SHORT.repr(_with_commas(text, found))}, or `label` {whole} if it is one label.",
        )
    if is_shipped(text):
        warn(f"{text!r} is taken as a label; for the class list of this name, use `classes` {text}")


def warn_of_lists(labels: Sequence[str]) -> None:
    """Tell which values of `label`, each of which is one label, look like a list or a file of labels."""
    lists = [label for label in labels if separator_in(label)]
    if lists:
        found = separator_in(lists[0])
        others = f" (and {len(lists) - 1} more)" if len(lists) > 1 else ""
        warn(
            f"{SHORT.repr(lists[0])}{others} is taken as one label;"
            f" for several, use `labels` {SHORT.repr(_with_commas(lists[0], found))}"
        )
    for label in filter(_is_list_file, labels):
        warn(f"{label!r} is taken as a label; for the labels in this file, use `classes` {label}")


def warn_of_list_in_a_line(label: str, where: str) -> None:
    """Tell that the only line of a text file, which is one label, looks like all of them."""
    if found := separator_in(label):
        warn(
            f"{where}: {SHORT.repr(label)}, the only line, has {_SEPARATORS[found]} and is"
            " taken as one label; for several, write one per line"
        )


def warn_of_table(lines: Sequence[str], where: str) -> None:
    """Tell a text file of several lines in which each has the same number of tabs, semicolons or bars."""
    for separator in "\t;|":
        counts = {line.count(separator) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            warn(
                f"{where}: every line has {_SEPARATORS[separator]} and is taken as one label;"
                " if this is a table, name it .csv and begin it with a line that names a column 'label'"
            )


def separator_in(text: str) -> str:
    """The separator by which a text is a list of several, or an empty text."""
    return next((separator for separator in _SEPARATORS if len(_parts(text, separator)) > 1), "")


def is_shipped(name: str) -> bool:
    """Whether a class list of this name comes with the package."""
    is_name = re.fullmatch(r"[\w-]+", name) is not None
    return name == "imagenet" or (is_name and is_file(LIBRARY / "classes" / f"{name}.txt"))


def _with_commas(text: str, separator: str) -> str:
    return ",".join(_parts(text, separator))


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _is_list_file(text: str) -> bool:
    return bool(Path(text).suffix) and is_file(Path(text))


# --- Labels that look alike ----------------------------------------------------------------------


def refuse_repeated(labels: Iterable[tuple[str, str]]) -> None:
    """Check that no label is given twice.

    Args:
        labels: each with where it is given: a file and line, a file, or an empty text.

    Raises:
        PromptError: one is.
    """
    first: dict[str, str] = {}
    for label, where in labels:
        if label in first:
            hint = f"It is first given in {first[label]}." if first[label] not in ("", where) else ""
            raise PromptError(f"{where or 'labels'}: label {SHORT.repr(label)} is given twice", hint)
        first[label] = where


def folded(label: str) -> str:
    """A label without what a reader hardly sees: case, Unicode form, width, spaces, the dot at its end."""
    if not label.isascii():
        label = _INVISIBLE.sub("", unicodedata.normalize("NFKC", label))
    return " ".join(label.casefold().split()).rstrip(".") or label


def warn_of_twins(labels: Iterable[str]) -> None:
    """Tell labels that differ in case, Unicode form, spaces or a dot at the end only."""
    pairs = list(_pairs(labels, folded))
    if pairs:
        warn(
            "labels that differ only in case, Unicode form, spaces or a final dot:"
            f" {some_pairs(pairs)}; to a model they are mostly the same, and share the score of their images"
        )


def warn_of_shared_prompts(labels: Sequence[str], prompts: Sequence[tuple[str, ...]]) -> None:
    """Tell labels that have the same names and sentences, and so the same scores."""
    prompts_of = dict(zip(labels, prompts, strict=True))
    pairs = list(_pairs(labels, prompts_of.__getitem__))
    if pairs:
        warn(f"labels with the same prompts, and so the same scores: {some_pairs(pairs)}")


def some_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """The first few pairs of labels, and how many more there are."""
    shown = ", ".join(f"{_told(*pair)} and {_told(*pair[::-1])}" for pair in pairs[:_SHOWN_PAIRS])
    others = f", and {len(pairs) - _SHOWN_PAIRS} more pairs" if len(pairs) > _SHOWN_PAIRS else ""
    return shown + others


def _told(label: str, other: str) -> str:
    """A label in quotes; with its characters as escapes where it looks like the other one."""
    alike = unicodedata.normalize("NFC", label) == unicodedata.normalize("NFC", other)
    return ascii(label) if alike or _INVISIBLE.search(label + other) else SHORT.repr(label)


def _pairs(labels: Iterable[str], key: Callable[[str], Hashable]) -> Iterator[tuple[str, str]]:
    """Each label whose key an earlier one has, behind the first of these."""
    first: dict[Hashable, str] = {}
    for label in labels:
        seen = first.setdefault(key(label), label)
        if seen is not label:
            yield seen, label
