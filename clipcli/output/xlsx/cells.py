"""What a cell of a workbook can hold, and what becomes of the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime

from clipcli.errors import OutputError, UsageError
from clipcli.output.cells import Cell, as_text, readable
from clipcli.records import Value

MAX_COLUMNS = 16_384
MAX_TEXT = 32_767
_EXACT_INTEGERS = range(1 - 10**15, 10**15)  # a number has 15 digits
_FIRST_YEAR = 1900
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_LIKE_AN_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # `_x0041_` is an A (ECMA-376 part 1, 22.9.2.19)


def fitting(value: Cell) -> Value:
    """A value as a cell can hold it.

    Texts are Unicode. Long integers, infinity, times with a zone and days before 1900 become texts; what is
    no number becomes empty.

    Raises:
        OutputError: a text is longer than a cell holds.
    """
    value = _as_excel_has_it(value)
    if isinstance(value, str):
        value = str(readable(value))
        check_text(value)
    return value


def _as_excel_has_it(value: Cell) -> Value:
    if isinstance(value, list):
        raise TypeError("a cell of a workbook holds one value")
    if isinstance(value, date):
        zoned = isinstance(value, datetime) and value.tzinfo is not None
        return str(as_text(value)) if zoned or value.year < _FIRST_YEAR else value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(value) if type(value) is int and value not in _EXACT_INTEGERS else value


def without_controls(text: str) -> str:
    """A text whose characters XML has all: the others are replaced."""
    return _NO_XML.sub("\ufffd", text)


def as_xml_text(text: str) -> str:
    """What a cell stores: what XML does not have is replaced, and what reads as an escape is escaped."""
    return _LIKE_AN_ESCAPE.sub("_x005F_", without_controls(text))


def check_columns(columns: Sequence[str]) -> None:
    """Refuse columns that no sheet can have.

    Raises:
        UsageError: there are more than a sheet has.
        OutputError: a name is longer than a cell holds.
    """
    if len(columns) > MAX_COLUMNS:
        raise UsageError(
            f"{len(columns)} columns are more than a sheet has", "Use .csv or .parquet, or the layout long."
        )
    for name in columns:
        check_text(name)


def check_text(text: str) -> None:
    """Refuse what would be cut without a word.

    Raises:
        OutputError: the text is longer than a cell holds.
    """
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if length > MAX_TEXT:
        raise OutputError(
            f"a text of {length} characters is more than an XLSX cell holds: {text[:40]}…",
            "Use .csv or .parquet.",
        )
