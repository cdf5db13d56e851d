"""An Excel workbook, row by row, within the limits of its sheets and cells."""

from __future__ import annotations

import errno
import io
import math
import os
import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from clipcli.errors import OutputError, UsageError
from clipcli.files import replacing
from clipcli.output.cells import Row, as_text, readable
from clipcli.records import Value

_MAX_ROWS = 1_048_576
_MAX_COLUMNS = 16_384
_MAX_TEXT = 32_767
_EXACT_INTEGERS = range(1 - 10**15, 10**15)  # a number has 15 digits
_FIRST_YEAR = 1900
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_LIKE_AN_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # `_x0041_` is an A (ECMA-376 part 1, 22.9.2.19)
_CHUNK = 1 << 20


class Workbook:
    """Streams rows to disk; past 1,048,576 rows it goes on in another sheet.

    Args:
        columns: their names, which head every sheet.

    """

    def __init__(self, columns: Sequence[str]) -> None:
        import openpyxl
        from openpyxl.cell import WriteOnlyCell

        self._text_cell = WriteOnlyCell
        self._has_returns = False
        self.columns = list(columns)
        self.workbook = openpyxl.Workbook(write_only=True)
        self._new_sheet()

    def _new_sheet(self) -> None:
        self.sheet = self.workbook.create_sheet(f"predictions {len(self.workbook.sheetnames) + 1}")
        self.sheet.freeze_panes = "B2"
        self.sheet.append([self._cell(name) for name in self.columns])
        self.written = 1

    def append(self, row: Row) -> None:
        """Add a row.

        Raises:
            OutputError: a text is longer than a cell holds.
        """
        if self.written == _MAX_ROWS:
            self._new_sheet()
        cells = [self._cell(value) for value in row]
        with _SystemErrors():
            self.sheet.append(cells)
        self.written += 1

    def _cell(self, value: Value) -> Any:
        """Texts are stored as texts, so that none is run as a formula."""
        value = _fitting(value)
        if not isinstance(value, str):
            return value
        check_text(value)
        self._has_returns = self._has_returns or "\r" in value
        cell = self._text_cell(self.sheet, _as_xml_text(str(readable(value))))
        cell.data_type = "s"
        return cell

    def packed(self) -> memoryview:
        """The whole file: small beside the sheets, and a full disk leaves no half-closed archive."""
        if self._has_returns:
            for sheet in self.workbook.worksheets:
                _keep_returns(sheet)
        packed = io.BytesIO()
        with _SystemErrors():
            self.workbook.save(packed)
        return packed.getbuffer()


class _SystemErrors:  # one for every row: contextlib's takes three times as long
    """Raise as `OSError` what lxml, through which openpyxl writes, says of a full disk: `IO_ENOSPC`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        from lxml.etree import SerialisationError

        if isinstance(error, SerialisationError):
            number = getattr(errno, str(error).removeprefix("IO_"), errno.EIO)
            raise OSError(number, os.strerror(number)) from error


def _as_xml_text(text: str) -> str:
    """What a cell stores: what XML does not have is replaced, and what reads as an escape is escaped."""
    return _LIKE_AN_ESCAPE.sub("_x005F_", _NO_XML.sub("\ufffd", text))


def _keep_returns(sheet: Any) -> None:
    """Write the carriage returns of a sheet as references: readers of XML take a bare one for a newline."""
    if not sheet.closed:
        with _SystemErrors():
            sheet.close()
    written = Path(sheet._writer.out)  # the temporary file that openpyxl will pack
    with written.open("rb") as source, replacing(written) as partial, partial.open("wb") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk.replace(b"\r", b"&#13;"))


def _fitting(value: Value) -> Value:
    """As a text what Excel cannot hold: long integers, infinity, times with a zone, and days before 1900."""
    if isinstance(value, date):
        zoned = isinstance(value, datetime) and value.tzinfo is not None
        return as_text(value) if zoned or value.year < _FIRST_YEAR else value
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return str(value) if type(value) is int and value not in _EXACT_INTEGERS else value


def check_columns(columns: Sequence[str]) -> None:
    """Refuse columns that no sheet can have.

    Raises:
        UsageError: there are more than a sheet has.
        OutputError: a name is longer than a cell holds.
    """
    if len(columns) > _MAX_COLUMNS:
        raise UsageError(
            f"{len(columns)} columns are more than a sheet has", "Use .csv or .parquet, or the layout long."
        )
    for name in columns:
        check_text(name)


def check_text(text: str) -> None:
    """Refuse what openpyxl would cut without a word.

    Raises:
        OutputError: the text is longer than a cell holds.
    """
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if length > _MAX_TEXT:
        raise OutputError(
            f"a text of {length} characters is more than an XLSX cell holds: {text[:40]}…",
            "Use .csv or .parquet.",
        )
