"""Cells of a row, and what becomes of them where a format has no such type."""

from __future__ import annotations

import re
from datetime import date
from typing import TypeAlias

from clipcli.records import Value

Nested: TypeAlias = list[dict[str, Value]]
"""A cell that holds several labels, which JSON alone can."""
Cell: TypeAlias = Value | Nested
Row: TypeAlias = list[Cell]


class ImageName(str):
    """The type of a column whose texts name images; a workbook links to them."""


class Score(float):
    """The type of a column of scores; a workbook colours them."""


def stored_type(kind: type) -> type:
    """What the cells of a column are, whatever they mean."""
    return {ImageName: str, Score: float}.get(kind, kind)


_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # the others stand for the bytes of a name (PEP 383)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_text(cell: Cell) -> Cell:
    """Dates and times as ISO 8601, `true` and `false`; what every format holds stays as it is."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if isinstance(cell, date) else cell  # a datetime is a date too


def neutralised(cell: Cell) -> Cell:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def readable(cell: Cell) -> Cell:
    """A text in Unicode: the odd bytes of a file name become \\xNN, halves of characters \\uNNNN."""
    if isinstance(cell, str) and not cell.isascii():
        return whole(cell).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return cell


def whole(text: str) -> str:
    """A text with half a character, which JSON can name and no encoding can hold, written as \\uNNNN."""
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
