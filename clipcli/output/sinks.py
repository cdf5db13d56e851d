"""Where rows go: CSV, TSV, JSON lines, Parquet and XLSX, row by row. A file appears when it is complete."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import IO, ClassVar

from clipcli.errors import OutputError, UsageError
from clipcli.files import AtomicFile, write_errors
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.output import parquet, xlsx
from clipcli.output.cells import Row, as_text, neutralised, whole
from clipcli.records import Value


class Sink(ABC):
    """Writes rows; a context manager that completes the file, or leaves its rows as `NAME.partial`.

    If it is writing itself that fails, CSV, TSV and JSON lines leave what they have, and others nothing.

    A link is followed, so that it stays one. A device or pipe is written to as it is.

    Args:
        columns: their names and the types of their cells: str, int, float, bool, datetime, date, and
            `numpy.int32` for integers that Parquet stores in 4 bytes.
        path: the file, or None for standard output.
        excel: add a byte-order mark and neutralise cells that a spreadsheet would run as formulas.

    Raises:
        UsageError: the folder of the file does not exist, or the format cannot go to standard output.
        OutputError: the file cannot be written.
    """

    binary: ClassVar[bool] = False

    def __init__(self, columns: Mapping[str, type], path: Path | None, excel: bool = False) -> None:
        self.columns = {whole(name): kind for name, kind in columns.items()}
        self.path = path
        self.excel = excel
        self.rows = 0
        self._is_whole = True
        if path is None and self.binary:
            raise UsageError("this format cannot go to standard output", "Name a file.")
        self.file = None if path is None else AtomicFile(path)
        self._name = path or "standard output"

    @property
    def kept(self) -> Path | None:
        """Where the rows are if the run ends early; None if there are none, or they cannot be taken back."""
        if self.file is None or not self.file.is_replaced or not self.rows:
            return None
        return self.file.partial if self.file.partial.exists() else None

    def check_text(self, text: str) -> None:  # noqa: B027 (most formats hold any text)
        """Refuse a text that the format cannot hold, before the work is done.

        Raises:
            OutputError: it cannot.
        """

    def write(self, row: Row) -> None:
        """Add a row: a cell for each column, None where there is nothing.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._write(row)
        except UnicodeEncodeError:  # half a character, before anything of the row is written
            self._write([whole(cell) if isinstance(cell, str) else cell for cell in row])
        except OSError:
            self._is_whole = False
            with write_errors(self._name):
                raise
        self.rows += 1

    def __enter__(self) -> Sink:
        try:
            with write_errors(self._name):
                self._open()
        except OutputError:
            self._abandon()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._complete()
        else:
            self._abandon()

    def _complete(self) -> None:
        try:
            with write_errors(self._name):
                self._end()
        except BaseException:
            self._leave()
            raise
        if self.file is not None:
            self.file.complete()

    def _abandon(self) -> None:
        """Keep the rows written so far; the error under way is what the user must see."""
        with contextlib.suppress(Exception):
            self._end()
        self._leave()

    def _end(self) -> None:
        try:
            self._close()
        except OutputError:  # a cell that the format cannot hold: what came before it is whole
            raise
        except BaseException:
            self._is_whole = False
            raise

    def _leave(self) -> None:
        """Keep the rows where they can be read: of a binary file that could not be written, none can."""
        if self.file is not None:
            self.file.abandon(keep=self.rows > 0 and (self._is_whole or not self.binary))

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, row: Row) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


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

    def _open(self) -> None:
        super()._open()
        self.encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=as_text).encode

    def _write(self, row: Row) -> None:
        try:
            line = self.encode(dict(zip(self.columns, row, strict=True)))
        except ValueError:  # JSON has neither NaN nor infinity
            line = self.encode(dict(zip(self.columns, map(_finite, row), strict=True)))
        self.stream.write(line + "\n")


def _finite(cell: Value) -> Value:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


class ParquetSink(Sink):
    """Parquet, written in row groups. Times with a zone are stored in UTC."""

    binary = True

    def _open(self) -> None:
        assert self.file is not None
        self.stream = self.file.partial.open("wb")
        self.table = parquet.ParquetTable(self.columns, self.stream)

    def _write(self, row: Row) -> None:
        self.table.append(row)

    def _close(self) -> None:
        with self.stream:
            self.table.close()


class XlsxSink(Sink):
    """An Excel workbook, streamed to disk; past 1,048,576 rows it goes on in another sheet."""

    binary = True

    def __init__(self, columns: Mapping[str, type], path: Path | None, excel: bool = False) -> None:
        super().__init__(columns, path, excel)
        xlsx.check_columns(list(columns))

    def check_text(self, text: str) -> None:
        """Refuse a text that is longer than a cell holds."""
        xlsx.check_text(text)

    def _open(self) -> None:
        assert self.file is not None
        self.workbook = xlsx.Workbook(list(self.columns))
        self.file.partial.touch()  # tell now, not at the end, that the place cannot be written

    def _write(self, row: Row) -> None:
        self.workbook.append(row)

    def _close(self) -> None:
        assert self.file is not None
        self.file.partial.write_bytes(self.workbook.packed())


SINKS: dict[str, type[Sink]] = {
    "csv": CsvSink,
    "tsv": TsvSink,
    "jsonl": JsonlSink,
    "parquet": ParquetSink,
    "xlsx": XlsxSink,
}


def open_sink(
    columns: Mapping[str, type], path: Path | None, format_name: str | None = None, excel: bool = False
) -> Sink:
    """The sink for a format, or for the suffix of the file; CSV for standard output.

    Raises:
        UsageError: no such format, or a place that cannot serve.
        OutputError: the file cannot be written.
    """
    name = format_name or (path.suffix.lower().lstrip(".") if path else "csv")
    if name not in SINKS:
        known = ", ".join(f".{suffix}" for suffix in (*SINKS, "html"))
        raise UsageError(
            f"cannot tell the output format of {path}"
            if not format_name
            else f"unknown output format {name!r}",
            f"Use one of {known}, or name the format.",
        )
    sink = SINKS[name](columns, path, excel)
    if path is not None and path.suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(
            f"{path} is named like an image",
            "The next run would read it; use .csv, say, and name the format.",
        )
    return sink


def open_sinks(
    columns: Mapping[str, type],
    paths: Sequence[Path | None],
    format_name: str | None = None,
    excel: bool = False,
) -> list[Sink]:
    """A sink for each place, None being standard output; errors as in `open_sink` and `check_places`."""
    check_places(paths, format_name)
    return [open_sink(columns, path, format_name, excel) for path in paths]


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
