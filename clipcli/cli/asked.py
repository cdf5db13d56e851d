"""What `clipcli search` is asked for: the text is told from the places to search."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipcli.errors import UsageError
from clipcli.remote.addresses import is_remote

if TYPE_CHECKING:
    from clipcli.scoring.queries import Query


class Asked(NamedTuple):
    """What to search for, and where."""

    queries: list[Query]
    inputs: list[str]


def asked_for(
    words: list[str],
    query: list[str] | None,
    like: list[str] | None,
    minus: list[str] | None,
    queries: str | None,
    near_duplicates: float | None,
) -> Asked:
    """Tell the text from the inputs.

    Raises:
        UsageError: there is no text, or it does not come first.
    """
    from clipcli.cli import session
    from clipcli.scoring.queries import image_term, minus_term, queries_of, read_texts, text_term

    is_named = bool(query or like or queries)
    if near_duplicates is not None:
        if is_named or minus:
            hint = "Leave the texts and images to search for out."
            raise UsageError("`near_duplicates` compares all images, and searches for nothing", hint)
        return Asked([], words)
    texts = list(map(session.as_text, query or []))
    if is_named:
        _check_places(words)
    else:
        _check_order(words)
        texts, words = [session.as_text(words[0])], words[1:]
    terms = [*map(text_term, texts), *map(image_term, like or [])]
    terms += [minus_term(one if Path(one).exists() else session.as_text(one)) for one in minus or []]
    return Asked(queries_of(read_texts(queries) if queries else [], terms), words)


def _check_places(words: list[str]) -> None:
    for word in words:
        if " " in word and not _is_place(word) and not glob.has_magic(word):
            hint = f"If it is a text to search for, write `query` {word!r}: here every argument is an INPUT."
            raise UsageError(f"no such file or folder: {word}", hint)


def _check_order(words: list[str]) -> None:
    example = "clipcli search 'a red car' photos/"
    if not words:
        raise UsageError("nothing to search for", f"Name a text and images: {example}")
    text, *inputs = words
    if is_remote(text):
        raise UsageError(
            f"{text} is an address, not a text", f"To search for that image, write `like` {text}."
        )
    if os.path.lexists(text) and not any(map(_is_place, inputs)):
        raise UsageError(f"the text comes first, and {text} is a path", f"Write it as in {example}")


def _is_place(word: str) -> bool:
    return os.path.lexists(word) or is_remote(word)
