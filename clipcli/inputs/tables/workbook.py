"""Read XLSX workbooks."""

from __future__ import annotations

import itertools
import json
import os
import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import IO, Any

from clipcli.errors import UsageError
from clipcli.inputs.tables.rows import Record, temporary_file

_MAX_ROWS = 1_048_576
_ESCAPE = re.compile("_x000D_|_x005F_(?=x[0-9A-Fa-f]{4}_)")  # the others openpyxl reads as they are meant
_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
_BOMB_BYTES, _BOMB_RATIO = 1 << 26, 100


class Sheet:
    """Rows of a workbook's first sheet that are not empty; formulas give the values that Excel saved.

    Sheets that continue the first one belong to it, as in our tables with too many rows for one. Reading a
    workbook takes long, so it is read once, into a temporary file.

    Args:
        path: the workbook.
        name: what errors call it.

    Raises:
        UsageError: it is no workbook, or unpacks to far more than its size.
    """

    def __init__(self, path: str, name: str) -> None:
        self._copy = temporary_file(self)
        for record in _records(path, name):
            self._copy.write(json.dumps(record, default=_as_json).encode() + b"\n")
        self._copy.flush()

    def records(self) -> Iterator[Record]:
        """Each row with its number in the sheet."""
        with open(self._copy.name, "rb") as copy:
            for line in copy:
                yield Record(*json.loads(line, object_hook=_from_json))


def _as_json(value: Any) -> dict[str, str] | str:
    """Dates keep their kind; times of day and durations become texts."""
    return {type(value).__name__: value.isoformat()} if isinstance(value, date) else str(value)


def _from_json(value: dict[str, str]) -> datetime | date:
    """What `_as_json` made; no cell is an object otherwise."""
    ((kind, text),) = value.items()
    return datetime.fromisoformat(text) if kind == "datetime" else date.fromisoformat(text)


def _records(path: str, name: str) -> Iterator[tuple[int, list[Any]]]:
    from openpyxl import load_workbook

    with open(path, "rb") as file:
        try:
            _refuse_bomb(file, name)
            workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            for count, sheet in enumerate(_sheets(workbook, name)):
                rows = enumerate(sheet.iter_rows(max_row=_MAX_ROWS, values_only=True), 1)
                for number, row in itertools.islice(rows, min(count, 1), None):  # one header is enough
                    cells = [_excel_value(cell) for cell in row]
                    if any(cell is not None for cell in cells):
                        yield count * _MAX_ROWS + number, cells
        except (UsageError, OSError):
            raise
        except Exception as error:  # what openpyxl raises at damaged files is not confined
            reason = f"{name} is not an Excel workbook that can be read: {error or type(error).__name__}"
            raise UsageError(reason, "Save it again as .xlsx, without a password.") from None


def _sheets(workbook: Any, name: str) -> list[Any]:
    """The first sheet, such as `predictions`, and `predictions 2` and so on if they have the same header."""
    if not workbook.worksheets:
        raise UsageError(f"{name} has no sheet")
    first, *others = workbook.worksheets
    sheets, header = [first], _header(first)
    for sheet in others:
        if sheet.title != f"{first.title} {len(sheets) + 1}" or _header(sheet) != header:
            break
        sheets.append(sheet)
    return sheets


def _header(sheet: Any) -> tuple[Any, ...] | None:
    sheet.reset_dimensions()  # some programs state a smaller range than there is
    return next(sheet.iter_rows(max_row=1, values_only=True), None)


def _excel_value(value: Any) -> Any:
    """Days are stored as midnights, the errors of formulas as texts, and some characters as escapes."""
    if isinstance(value, str) and "_x" in value:
        value = _ESCAPE.sub(lambda escape: "\r" if escape[0] == "_x000D_" else "_", value)
    if isinstance(value, datetime) and value.time() == time():
        return value.date()
    return None if value in _ERRORS else value


def _refuse_bomb(file: IO[bytes], name: str) -> None:
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            if part.file_size > max(_BOMB_BYTES, _BOMB_RATIO * part.compress_size):
                size = f"{part.file_size / 1e9:.1f} GB from {os.fstat(file.fileno()).st_size / 1e6:.1f} MB"
                raise UsageError(f"{name}: refused, for it unpacks to {size}")
