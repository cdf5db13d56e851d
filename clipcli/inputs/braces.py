"""Braces in names, `shard-{000..099}.tar` and `{train,val}.tar`, that no shell has expanded."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from clipcli.errors import UsageError
from clipcli.inputs.formats import kind_of

_BRACES = re.compile(r"\{([^{}]*)\}")
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
    """As bash does it: the innermost braces last; braces without `,` or `..` stay."""
    for found in _BRACES.finditer(text):
        parts = _parts(found[1])
        if parts is not None:
            for part in parts:
                yield from _expanded(text[: found.start()] + part + text[found.end() :])
            return
    yield text


def _parts(inside: str) -> Iterator[str] | None:
    """What stands between braces, one after the other; None if it is no list and no range."""
    if (ends := _RANGE.fullmatch(inside)) is not None:
        return _numbers(ends[1], ends[2])
    return iter(inside.split(",")) if "," in inside else None


def _numbers(first: str, last: str) -> Iterator[str]:
    """From one to the other, with as many digits as these have if one begins with 0."""
    is_padded = any(len(end.lstrip("-")) > 1 and end.lstrip("-").startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    start, stop = int(first), int(last)
    step = 1 if start <= stop else -1
    return (f"{number:0{width}}" for number in range(start, stop + step, step))
