"""Braces in names, `shard-{000..099}.tar` and `{train,val}.tar`, that no shell has expanded."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from itertools import pairwise

from clipcli.errors import UsageError
from clipcli.inputs.formats import kind_of

_RANGE = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)")
_MOST_NAMES = 100_000


def names_of(path: str) -> list[str]:
    """What an argument of the user stands for: itself, or several names in the order of its braces.

    A glob of archives stands for each of them. A file of that very name is itself.

    Raises:
        UsageError: it stands for too many.
    """
    if os.path.lexists(path):
        return [path]
    names: list[str] = []
    for name in _expanded(path):
        names.append(name)
        if len(names) > _MOST_NAMES:
            raise UsageError(f"{path} stands for more than {_MOST_NAMES} names", "Name a folder or a glob.")
    return [found for name in names for found in _archives(name)]


def _archives(name: str) -> list[str]:
    if not glob.has_magic(name) or "**" in name or kind_of(name) != "archive" or os.path.lexists(name):
        return [name]
    return sorted(glob.glob(name)) or [name]


def _expanded(text: str) -> Iterator[str]:
    """As bash does it; braces without `,` or `..` in them stay."""
    for start in (place for place, character in enumerate(text) if character == "{"):
        commas, end = _marks(text, start)
        parts = _parts(text, [start, *commas, end]) if end else None
        if parts is not None:
            yield from (
                text[:start] + middle + rest
                for part in parts
                for middle in _expanded(part)
                for rest in _expanded(text[end + 1 :])
            )
            return
    yield text


def _marks(text: str, start: int) -> tuple[list[int], int]:
    """Where the commas of a brace are, but not those of braces in it, and its end; 0 if it has none."""
    depth, commas = 0, list[int]()
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return commas, place
        if depth == 1 and text[place] == ",":
            commas.append(place)
    return commas, 0


def _parts(text: str, marks: list[int]) -> Iterator[str] | None:
    """What stands between braces and their commas; None if it is no list and no range."""
    parts = [text[before + 1 : after] for before, after in pairwise(marks)]
    if len(parts) > 1:
        return iter(parts)
    ends = _RANGE.fullmatch(parts[0])
    return _numbers(ends[1], ends[2]) if ends else None


def _numbers(first: str, last: str) -> Iterator[str]:
    """From one to the other, with as many digits as these have if one begins with 0."""
    is_padded = any(len(end.lstrip("-")) > 1 and end.lstrip("-").startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    start, stop = int(first), int(last)
    step = 1 if start <= stop else -1
    return (f"{number:0{width}}" for number in range(start, stop + step, step))
