"""Where predictions go: CSV, TSV, JSON lines, Parquet and XLSX, in three layouts, row by row.

A `Layout` turns one image's outcome into rows; a `Sink` writes rows. A file appears under its
name only when it is complete: until then it is `NAME.partial`.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, TypeAlias

from clipcli.choices import LayoutName
from clipcli.errors import OutputError, UsageError
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.records import ImageFailure, Outcome

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = list[Cell]

LONG_COLUMNS = {"image": str, "rank": int, "label": str, "score": float, "cosine": float, "error": str}
_ROWS_A_GROUP = 10_000
_XLSX_MAX_ROWS = 1_048_576
_XLSX_MAX_COLUMNS = 16_384
_XLSX_MAX_TEXT = 32_767
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


# --- Layouts -------------------------------------------------------------------------------------


class Layout:
    """Columns with the types of their cells, and the rows of one outcome.

    Args:
        name: `long` (a row a label), `wide` (a row an image) or `matrix` (a row an image, a column a class).
        top_k: labels an image.
        classnames: all classes, in order.

    Raises:
        UsageError: a class is named like one of the fixed columns of `matrix`.
    """

    def __init__(self, name: LayoutName, top_k: int, classnames: Sequence[str]) -> None:
        self.classnames = tuple(classnames)
        self.top_k = min(top_k, len(classnames))
        self.columns: dict[str, type]
        self.rows: Callable[[Outcome], Iterator[Row]]
        if name == "long":
            self.columns, self.rows = dict(LONG_COLUMNS), long_rows
        elif name == "wide":
            self.columns, self.rows = self._wide_columns(), self._wide_rows
        else:
            taken = {"image", "error"} & set(classnames)
            if taken:
                raise UsageError(
                    f"--layout matrix: a class cannot be named {min(taken)!r}, as that column is"
                )
            self.columns = {"image": str, **dict.fromkeys(classnames, float), "error": str}
            self.rows = self._matrix_rows

    def _wide_columns(self) -> dict[str, type]:
        columns: dict[str, type] = {"image": str}
        for suffix in ["", *(f"_{rank}" for rank in range(2, self.top_k + 1))]:
            columns |= {f"label{suffix}": str, f"score{suffix}": float}
        return columns | {"error": str}

    def _wide_rows(self, outcome: Outcome) -> Iterator[Row]:
        cells: Row = []
        if not isinstance(outcome, ImageFailure):
            for prediction in outcome.predictions:
                cells += prediction.label, rounded(prediction.score)
        blanks: Row = [None] * (2 * self.top_k - len(cells))
        yield [outcome.image, *cells, *blanks, _error(outcome)]

    def _matrix_rows(self, outcome: Outcome) -> Iterator[Row]:
        if isinstance(outcome, ImageFailure):
            yield [outcome.image, *[None] * (len(self.columns) - 2), outcome.reason]
        else:
            yield [outcome.image, *map(rounded, outcome.scores.tolist()), None]


def long_rows(outcome: Outcome) -> Iterator[Row]:
    """A row a label: the cells of `LONG_COLUMNS`."""
    if isinstance(outcome, ImageFailure):
        yield [outcome.image, None, None, None, None, outcome.reason]
        return
    for image, rank, label, score, cosine in outcome.predictions:
        yield [image, rank, label, rounded(score), rounded(cosine), None]


def _error(outcome: Outcome) -> str | None:
    return outcome.reason if isinstance(outcome, ImageFailure) else None


def rounded(value: float) -> float:
    """Six significant digits: what float32 holds for certain."""
    return float(f"{value:.6g}")


# --- Sinks ---------------------------------------------------------------------------------------


class Sink(ABC):
    """Writes the rows of a layout; a context manager that completes the file, or leaves it `.partial`.

    A link is followed, so that it stays one. A device or pipe is written to as it is.

    Args:
        layout: columns and rows.
        path: the file, or None for standard output.
        excel: add a byte-order mark and neutralise cells that a spreadsheet would run as formulas.

    Raises:
        UsageError: the folder of the file does not exist, or the format cannot go to standard output.
        OutputError: the file cannot be written.
    """

    binary: ClassVar[bool] = False

    def __init__(self, layout: Layout, path: Path | None, excel: bool = False) -> None:
        self.layout = layout
        self.path = path
        self.excel = excel
        self.images = 0
        if path is None and self.binary:
            raise UsageError("this format cannot go to standard output", "Name a file with -o FILE.")
        self._guard(self._choose_place)

    def _choose_place(self) -> None:
        """`target` is the name under which the file appears, `partial` where it is written until then."""
        path = self.path
        self.target = self.partial = path
        if path is None:
            return
        if not path.parent.is_dir():
            raise UsageError(
                f"no such folder: {path.parent}", "Create it first, or name another file with -o."
            )
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "Name a file with -o FILE.")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise UsageError(
                f"{path} is named like an image", "The next run would read it; use .csv, say, and --format."
            )
        if path.is_file() or not path.exists():
            self.target = path.resolve() if path.is_symlink() else path
            self.partial = self.target.with_name(self.target.name + ".partial")
            if self.target.exists() and not os.access(self.target, os.W_OK):
                raise PermissionError(errno.EACCES, "it is read-only")  # though it could be replaced

    def write(self, outcome: Outcome) -> None:
        """Add the rows of one image."""
        self._guard(lambda: self._write(outcome))
        self.images += 1

    def __enter__(self) -> Sink:
        try:
            self._guard(self._open)
        except OutputError:
            self._abandon()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._guard(self._complete)
        else:
            self._abandon()

    def _complete(self) -> None:
        self._close()
        if self.partial is not None and self.target is not None and self.partial != self.target:
            self.partial.replace(self.target)

    def _abandon(self) -> None:
        """Keep the rows written so far as `.partial`; the error under way is what the user must see."""
        with contextlib.suppress(Exception):
            self._close()
        if self.partial is not None and self.partial != self.target and not self.images:
            with contextlib.suppress(OSError):
                self.partial.unlink()

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path or 'standard output'}: {error.strerror or error}"
            ) from error

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _write(self, outcome: Outcome) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class _TextSink(Sink):
    """Opens a UTF-8 text stream. File names that are not UTF-8 keep their bytes (surrogateescape)."""

    stream: IO[str]
    encoding = "utf-8"
    errors: ClassVar[str] = "surrogateescape"

    def _open(self) -> None:
        target = sys.stdout.fileno() if self.partial is None else self.partial
        self.stream = open(  # noqa: SIM115 (closed by _close)
            target,
            "w",
            encoding=self.encoding,
            errors=self.errors,
            newline="",
            closefd=self.partial is not None,
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
        self._write_row(list(self.layout.columns))

    def _write(self, outcome: Outcome) -> None:
        for row in self.layout.rows(outcome):
            self._write_row(row)

    def _write_row(self, row: Row) -> None:
        cells = [neutralised(cell) for cell in row] if self.excel else row
        breaks = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # csv quotes \n only
        (self.quoting_writer if breaks else self.writer).writerow(cells)


class TsvSink(CsvSink):
    """Tab-separated."""

    delimiter = "\t"


class JsonlSink(_TextSink):
    """One JSON object a row; empty cells are null. Bytes that are not UTF-8 are escaped, as \\udcNN."""

    errors = "backslashreplace"

    def _write(self, outcome: Outcome) -> None:
        for row in self.layout.rows(outcome):
            record = dict(zip(self.layout.columns, row, strict=True))
            self.stream.write(json.dumps(record, ensure_ascii=False) + "\n")


class ParquetSink(Sink):
    """Parquet, written in row groups."""

    binary = True

    def _open(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrow = {str: pa.string(), int: pa.int32(), float: pa.float64()}
        self.schema = pa.schema(
            [(readable(column), arrow[kind]) for column, kind in self.layout.columns.items()]
        )
        self.rows: list[Row] = []
        assert self.partial is not None
        self.file = self.partial.open("wb")
        self.writer = pq.ParquetWriter(self.file, self.schema)

    def _write(self, outcome: Outcome) -> None:
        for row in self.layout.rows(outcome):
            self.rows.append([readable(cell) for cell in row])
        if len(self.rows) >= _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self.rows, strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, self.schema.types, strict=True)]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self.rows.clear()

    def _close(self) -> None:
        with self.file:
            if self.rows:
                self._flush()
            self.writer.close()


class XlsxSink(Sink):
    """An Excel workbook, streamed to disk; past 1,048,576 rows it goes on in a further sheet."""

    binary = True

    def __init__(self, layout: Layout, path: Path | None, excel: bool = False) -> None:
        super().__init__(layout, path, excel)
        if len(layout.columns) > _XLSX_MAX_COLUMNS:
            raise UsageError(
                f"{len(layout.columns)} columns are more than a sheet has",
                "Use .csv or .parquet, or --layout long.",
            )
        for classname in layout.classnames:
            _check_length(classname)

    def _open(self) -> None:
        from openpyxl import Workbook

        self.workbook = Workbook(write_only=True)
        self._new_sheet()
        assert self.partial is not None
        self.partial.touch()  # tell now, not at the end, that the place cannot be written

    def _new_sheet(self) -> None:
        self.sheet = self.workbook.create_sheet(f"predictions {len(self.workbook.sheetnames) + 1}")
        self.sheet.freeze_panes = "B2"
        self.sheet.append(self._cells(list(self.layout.columns)))
        self.written = 1

    def _write(self, outcome: Outcome) -> None:
        for row in self.layout.rows(outcome):
            if self.written == _XLSX_MAX_ROWS:
                self._new_sheet()
            self.sheet.append(self._cells(row))
            self.written += 1

    def _cells(self, row: Row) -> list[Any]:
        """Texts are stored as texts, so that none is run as a formula."""
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        cells: list[Any] = []
        for value in row:
            if isinstance(value, str):
                _check_length(value)
                cell = WriteOnlyCell(self.sheet, ILLEGAL_CHARACTERS_RE.sub("\ufffd", str(readable(value))))
                cell.data_type = "s"
                cells.append(cell)
            else:
                cells.append(value)
        return cells

    def _close(self) -> None:
        assert self.partial is not None
        packed = io.BytesIO()  # small beside the sheets, and a full disk leaves no half-closed archive
        self.workbook.save(packed)
        self.partial.write_bytes(packed.getbuffer())


def _check_length(text: str) -> None:
    """Refuse what openpyxl would cut without a word."""
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if length > _XLSX_MAX_TEXT:
        raise OutputError(
            f"a text of {length} characters is more than an XLSX cell holds: {text[:40]}…",
            "Use .csv or .parquet.",
        )


SINKS: dict[str, type[Sink]] = {
    "csv": CsvSink,
    "tsv": TsvSink,
    "jsonl": JsonlSink,
    "parquet": ParquetSink,
    "xlsx": XlsxSink,
}


def open_sink(layout: Layout, path: Path | None, format_name: str | None = None, excel: bool = False) -> Sink:
    """The sink for a format, or for the suffix of the file; CSV for standard output.

    Raises:
        UsageError: no such format, or a place that cannot serve.
        OutputError: the file cannot be written.
    """
    name = format_name or (path.suffix.lower().lstrip(".") if path else "csv")
    if name not in SINKS:
        known = ", ".join(f".{suffix}" for suffix in SINKS)
        raise UsageError(
            f"cannot tell the output format of {path}"
            if not format_name
            else f"unknown output format {name!r}",
            f"Use one of {known}, or --format.",
        )
    return SINKS[name](layout, path, excel)


def neutralised(cell: Cell) -> Cell:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def readable(cell: Cell) -> Cell:
    """A file name that is not UTF-8, with its odd bytes written as \\xNN."""
    if isinstance(cell, str):
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return cell
