"""Read CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from clipcli.errors import UsageError
from clipcli.inputs.tables.rows import LONE_SURROGATE, Record, Row

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_LINE = 1 << 26


class _Lines:
    """Lines of UTF-8, or of UTF-16 with a byte-order mark, each checked; `ended` once none is left.

    Bytes that are not text may be `allowed`, as in names of files: they are lone surrogates then (PEP 383).
    """

    def __init__(self, stream: IO[str], name: str, allowed: bool) -> None:
        self.stream, self.name, self.allowed = stream, name, allowed
        self.number = 0
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number += 1
        try:
            line = self.stream.readline(_LONGEST_LINE)
        except UnicodeDecodeError:
            raise self._not_text() from None
        if not line:
            self.ended = True
            raise StopIteration
        if len(line) == _LONGEST_LINE:
            raise UsageError(f"{self.name}: line {self.number} has more than {_LONGEST_LINE:,} characters")
        is_text = self.allowed or line.isascii() or not LONE_SURROGATE.search(line)
        if "\0" in line or not is_text:
            raise self._not_text()
        return line

    def _not_text(self) -> UsageError:
        message = f"{self.name}: not UTF-8 text in line {self.number}"
        return UsageError(message, "Save the file as UTF-8 (in Excel: “CSV UTF-8”).")


@contextmanager
def _lines(path: str, name: str, any_bytes: bool = False) -> Iterator[_Lines]:
    with open(path, "rb") as file:
        wide = file.read(2) in _UTF16_MARKS
    # bytes that are not text become lone surrogates, by which `_Lines` finds their line
    encoding, errors = ("utf-16", "surrogatepass") if wide else ("utf-8-sig", "surrogateescape")
    with open(path, encoding=encoding, errors=errors, newline="") as stream:
        yield _Lines(stream, name, any_bytes)


def jsonl_rows(path: str, name: str, any_bytes: bool = False) -> Iterator[Row]:
    """Every line that is not empty; one that is no JSON object has a problem.

    Raises:
        UsageError: a line is not UTF-8, or endless.
    """
    with _lines(path, name, any_bytes) as lines:
        for line in lines:
            if not line.isspace():
                yield _json_row(f"line {lines.number}", line)


def _json_row(place: str, line: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return Row(place, {}, f"not JSON: {error.msg} at character {error.colno}")
    except (ValueError, RecursionError) as error:
        return Row(place, {}, f"not JSON: {error}")
    return Row(place, row) if isinstance(row, dict) else Row(place, {}, "not an object in braces")


def csv_records(path: str, name: str, delimiter: str | None, any_bytes: bool = False) -> Iterator[Record]:
    """Every row that is not empty, by the number of its first line.

    Args:
        path: the file.
        name: what errors call it.
        delimiter: None means the one in the header: comma, semicolon or tab.
        any_bytes: keep bytes that are not text, as lone surrogates.

    Raises:
        UsageError: a line is not UTF-8, a quote is never closed, or a cell is too long.
    """
    delimiter = delimiter or _delimiter(path, name)
    with _lines(path, name, any_bytes) as lines:
        start = 1
        try:
            for cells in csv.reader(lines, delimiter=delimiter):
                if lines.ended:  # only within quotes is a line asked for beyond the last
                    raise UsageError(
                        f"{name}, line {start}: a quote is opened and never closed",
                        "Close it, or double it where it belongs to the text.",
                    )
                if cells:
                    yield Record(start, cells)
                start = lines.number + 1
        except csv.Error as error:
            raise _not_csv(error, f"{name}, line {start}") from None


def _not_csv(error: csv.Error, where: str) -> UsageError:
    if "field limit" in str(error):
        message = f"{where}: a cell of more than {csv.field_size_limit():,} characters"
        return UsageError(message, "Close the quote that opens it, or leave this column out.")
    return UsageError(f"{where}: {error}")


def _delimiter(path: str, name: str) -> str:
    """The separator in the header: spreadsheets write semicolons where the comma is a decimal point."""
    with _lines(path, name) as lines:
        header = next((line for line in lines if not line.isspace()), "")
    unquoted = re.sub(r'"[^"]*"', "", header)
    return next((delimiter for delimiter in ",;\t" if delimiter in unquoted), ",")
