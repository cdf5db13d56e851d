"""Parquet and Arrow files, some rows at a time, without holding more of them."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from clipcli.errors import UsageError

ColumnarFormat: TypeAlias = Literal["parquet", "arrow"]
"""Parquet; or Arrow IPC as a file (which Feather is, too) or a stream."""

_BUFFER_BYTES = 1 << 16
_BATCH_BYTES = 1 << 22  # of images that are read together
_SLICE_ROWS = 64  # of a record batch
_FEATHER_1 = b"FEA1"
_ARROW_FILE = b"ARROW1"


class Chunk(NamedTuple):
    """The cells of a column from the row `start` to before the row `end`, or to the end of the file."""

    start: int
    end: int | None
    arrays: Iterator[Any]


class Columnar(Protocol):
    """An open file. Its rows lie in chunks one after the other, each of which is read from its beginning."""

    schema: Any

    def batches(self, parts: Mapping[str, str], most_rows: int) -> Iterator[Any]:
        """All rows as record batches with these columns: each as a whole, or a part (`image.path`)."""

    def chunk(self, row: int, column: str, part: str) -> Chunk:
        """The cells of a column, or a part of them, from the beginning of the chunk that holds a row.

        Raises:
            IndexError: there is no such row.
        """


def opened(path: str, stored_as: ColumnarFormat) -> Columnar:
    """Open a file.

    Raises:
        pyarrow.ArrowException: it is damaged.
        OSError: it cannot be read.
    """
    return ParquetFile(path) if stored_as == "parquet" else ArrowFile(path)


@contextmanager
def damage_told(name: str, stored_as: ColumnarFormat) -> Iterator[None]:
    """Turn what reading a damaged file raises into an error that names it.

    Raises:
        UsageError: instead; an error of the operating system stays as it is.
    """
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind = "a Parquet" if stored_as == "parquet" else "an Arrow"
        message = f"{name} is not {kind} file that can be read: {error}"
        hint = "Write it again."
        if "crypt" in str(error):
            message, hint = f"{name} is encrypted", "Write it again without encryption."
        raise UsageError(message, hint) from None


class ParquetFile:
    """A Parquet file; its chunks are its row groups.

    Args:
        path: where it lies.
    """

    def __init__(self, path: str) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        self.schema = self._file.schema_arrow
        groups = self._file.metadata.num_row_groups
        rows = [self._file.metadata.row_group(group).num_rows for group in range(groups)]
        self._starts = list(itertools.accumulate(rows, initial=0))

    def batches(self, parts: Mapping[str, str], most_rows: int) -> Iterator[Any]:
        """As in `Columnar`."""
        yield from self._file.iter_batches(most_rows, columns=list(parts.values()), use_threads=False)

    def chunk(self, row: int, column: str, part: str) -> Chunk:
        """As in `Columnar`."""
        if not 0 <= row < self._starts[-1]:
            raise IndexError(row)
        group = bisect_right(self._starts, row) - 1
        return Chunk(self._starts[group], self._starts[group + 1], self._cells(group, column, part))

    def _cells(self, group: int, column: str, part: str) -> Iterator[Any]:
        rows = self._rows_at_once(group)
        for batch in self._file.iter_batches(rows, row_groups=[group], columns=[part], use_threads=False):
            yield batch.column(column)

    def _rows_at_once(self, group: int) -> int:
        """So many that they take some megabytes, by what the file says of the whole row group.

        To ask for a single column ends the process where that is encrypted and the footer is not.
        """
        about = self._file.metadata.row_group(group)
        rows, size = int(about.num_rows), int(about.total_byte_size)
        return max(1, min(_SLICE_ROWS, _BATCH_BYTES * rows // max(1, size)))


class ArrowFile:
    """An Arrow IPC file or stream, mapped into memory; its chunks begin with its record batches.

    Args:
        path: where it lies.
    """

    def __init__(self, path: str) -> None:
        import pyarrow

        with open(path, "rb") as file:
            magic = file.read(len(_ARROW_FILE))
        if magic.startswith(_FEATHER_1):
            raise pyarrow.ArrowInvalid("it is of Feather's first version")
        self._path, self._is_file = path, magic == _ARROW_FILE
        self.schema = self._reader(None).schema
        self._starts = [0]  # of the batches that have been passed, and of the one after these

    def batches(self, parts: Mapping[str, str], most_rows: int) -> Iterator[Any]:
        """As in `Columnar`."""
        import pyarrow

        for batch in self._batches(0, list(parts)):
            for start in range(0, batch.num_rows, most_rows):
                some = batch.slice(start, most_rows)
                cells = [_part(some.column(name), name != part) for name, part in parts.items()]
                yield pyarrow.RecordBatch.from_arrays(cells, list(parts)) if parts else some

    def chunk(self, row: int, column: str, part: str) -> Chunk:
        """As in `Columnar`; it goes on to the end of the file, as a stream does."""
        if row < 0:
            raise IndexError(row)
        place = bisect_right(self._starts, row) - 1
        return Chunk(self._starts[place], None, self._cells(place, column))

    def _cells(self, first: int, name: str) -> Iterator[Any]:
        for place, batch in enumerate(self._batches(first, [name]), first):
            if place + 1 == len(self._starts):
                self._starts.append(self._starts[place] + batch.num_rows)
            for start in range(0, batch.num_rows, _SLICE_ROWS):
                yield batch.column(name).slice(start, _SLICE_ROWS)

    def _batches(self, first: int, names: Sequence[str]) -> Iterator[Any]:
        """Record batches; those of a damaged file are found out here, before they end the process."""
        reader = self._reader(names)
        batches = (
            (reader.get_batch(place) for place in range(first, reader.num_record_batches))
            if self._is_file
            else itertools.islice(reader, first, None)
        )
        for batch in batches:
            batch.validate(full=True)
            yield batch

    def _reader(self, names: Sequence[str] | None) -> Any:
        """A reader of some columns: of compressed ones only these are unpacked."""
        import pyarrow

        fields = None if names is None else [self.schema.names.index(name) for name in names] or [0]
        options = pyarrow.ipc.IpcReadOptions(included_fields=fields)
        kind = pyarrow.ipc.open_file if self._is_file else pyarrow.ipc.open_stream
        return kind(pyarrow.memory_map(self._path), options=options)


def _part(cells: Any, is_path: bool) -> Any:
    """Cells as Parquet gives them: of images, the paths alone."""
    import pyarrow

    if not is_path:
        return cells
    while isinstance(cells, pyarrow.ExtensionArray):
        cells = cells.storage
    return pyarrow.StructArray.from_arrays([cells.field("path")], ["path"], mask=cells.is_null())
