"""Where rows go: CSV, TSV, JSON lines, Parquet and XLSX, row by row. A file appears when it is complete."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import IO, ClassVar

from clipcli.errors import UsageError
from clipcli.files import write_errors
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.output.cells import Cell, Row, as_text, neutralised
from clipcli.output.sink import Sink
from clipcli.output.xlsx.options import WorkbookOptions
from clipcli.records import Value


class _TextSink(Sink):
    """Opens a UTF-8 text stream. File names that are not UTF-8 keep their bytes (surrogateescape)."""

    stream: IO[str]
    encoding = "utf-8"
    errors: ClassVar[str] = "surrogateescape"

    def _open(self) -> None:
        self.stream = open(  # noqa: SIM115 (closed by _close)
            sys.stdout.fileno() if self.file is None else self.file.partial,
            "w",
            encoding=self.encoding,
            errors=self.errors,
            newline="",
            closefd=self.file is not None,
        )

    def _close(self) -> None:
        self.stream.close()


class CsvSink(_TextSink):
    """Comma-separated, quoted where needed, `\\n` line ends."""

    delimiter: ClassVar[str] = ","

    def _open(self) -> None:
        self.encoding = "utf-8-sig" if self.excel else "utf-8"
        super()._open()
        self.writer = csv.writer(self.stream, delimiter=self.delimiter, lineterminator="\n")
        self.quoting_writer = csv.writer(
            self.stream, delimiter=self.delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
        )
        self.texts = [index for index, kind in enumerate(self.columns.values()) if kind is str]
        self.has_other_types = not {bool, date, datetime}.isdisjoint(self.columns.values())
        self._write(list(self.columns))

    def write_all(self, rows: Iterable[Row]) -> None:
        """Add rows; errors as in `write`. Plain ones go to the file together, which takes half as long."""
        rows = list(rows)
        if self.has_other_types or self.excel or not self._are_plain(rows):
            super().write_all(rows)
            return
        try:
            self.writer.writerows(rows)
        except OSError:
            self._is_whole = False
            with write_errors(self._name):
                raise
        self.rows += len(rows)

    def _are_plain(self, rows: Sequence[Row]) -> bool:
        """Whether each text can be written, being ASCII, and has no line end that csv leaves bare."""
        texts = "".join([row[index] or "" for row in rows for index in self.texts])  # type: ignore[misc]
        return texts.isascii() and "\r" not in texts

    def _write(self, row: Row) -> None:
        cells = [as_text(cell) for cell in row] if self.has_other_types else row
        cells = [neutralised(cell) for cell in cells] if self.excel else cells
        texts = "".join([cells[index] or "" for index in self.texts])  # type: ignore[misc]
        (self.quoting_writer if "\r" in texts else self.writer).writerow(cells)  # csv quotes \n only


class TsvSink(CsvSink):
    """Tab-separated."""

    delimiter = "\t"


class JsonlSink(_TextSink):
    """One JSON object a row; empty cells are null. Bytes that are not UTF-8 are escaped, as \\udcNN."""

    errors = "backslashreplace"
    nests = True

    def _open(self) -> None:
        super()._open()
        self.encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_text).encode

    def _write(self, row: Row) -> None:
        try:
            line = self.encode(dict(zip(self.columns, row, strict=True)))
        except ValueError:  # JSON has neither NaN nor infinity
            line = self.encode(dict(zip(self.columns, map(_finite, row), strict=True)))
        self.stream.write(line + "\n")


def _finite(cell: Cell) -> Cell:
    if isinstance(cell, list):
        return [{name: _finite_number(value) for name, value in one.items()} for one in cell]
    return _finite_number(cell)


def _finite_number(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ParquetSink(Sink):
    """Parquet, written in row groups. Times with a zone are stored in UTC."""

    binary = True

    def _open(self) -> None:
        from clipcli.output.parquet import ParquetTable

        assert self.file is not None
        self.stream = self.file.partial.open("wb")
        self.table = ParquetTable(self.columns, self.stream)

    def _write(self, row: Row) -> None:
        self.table.append(row)

    def _close(self) -> None:
        with self.stream:
            self.table.close()


SINKS: dict[str, type[Sink]] = {
    "csv": CsvSink,
    "tsv": TsvSink,
    "jsonl": JsonlSink,
    "parquet": ParquetSink,
}
FORMATS = (*SINKS, "xlsx")


def format_of(path: Path | None, format_name: str | None = None) -> str:
    """The format that is named, or else that of the file's suffix; CSV for standard output.

    Raises:
        UsageError: no such format.
    """
    name = format_name or (path.suffix.lower().lstrip(".") if path else "csv")
    if name not in FORMATS:
        known = ", ".join(f".{suffix}" for suffix in (*FORMATS, "html"))
        raise UsageError(
            f"cannot tell the output format of {path}"
            if not format_name
            else f"unknown output format {name!r}",
            f"Use one of {known}, or name the format.",
        )
    return name


def open_sink(
    columns: Mapping[str, type],
    path: Path | None,
    format_name: str | None = None,
    excel: bool = False,
    workbook: WorkbookOptions | None = None,
) -> Sink:
    """The sink for a format, or for the suffix of the file; CSV for standard output.

    Raises:
        UsageError: no such format, or a place or columns that cannot serve.
        OutputError: the file cannot be written.
    """
    name = format_of(path, format_name)
    if list in columns.values() and not SINKS.get(name, Sink).nests:
        raise UsageError(
            f"the layout nested is JSON, which {name.upper()} cannot hold",
            "Write a .jsonl file, or choose the layout long, wide or matrix.",
        )
    sink = _workbook(columns, path, excel, workbook) if name == "xlsx" else SINKS[name](columns, path, excel)
    if path is not None and path.suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(
            f"{path} is named like an image",
            "The next run would read it; use .csv, say, and name the format.",
        )
    return sink


def _workbook(
    columns: Mapping[str, type], path: Path | None, excel: bool, options: WorkbookOptions | None
) -> Sink:
    from clipcli.output.xlsx.sink import XlsxSink

    return XlsxSink(columns, path, excel, options)


def open_sinks(
    columns: Mapping[str, type],
    paths: Sequence[Path | None],
    format_name: str | None = None,
    excel: bool = False,
    workbook: WorkbookOptions | None = None,
) -> list[Sink]:
    """A sink for each place, None being standard output; errors as in `open_sink` and `check_places`."""
    check_places(paths, format_name)
    return [open_sink(columns, path, format_name, excel, workbook) for path in paths]


def check_places(paths: Sequence[Path | None], format_name: str | None = None) -> None:
    """See that outputs do not get in each other's way; None is standard output.

    Raises:
        UsageError: a place is named twice, or one format for several.
    """
    if len(paths) > 1 and format_name:
        raise UsageError(
            f"one format, {format_name}, for {len(paths)} outputs",
            "Leave the format out: each file has that of its suffix, and standard output CSV.",
        )
    places = [None if path is None else path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{path or 'standard output'} is named twice as an output", "Name it once.")
