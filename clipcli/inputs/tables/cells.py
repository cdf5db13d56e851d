"""Images in the cells of Parquet and Arrow files, as items.

An item holds the place of its cell and not its bytes, so that a million of them can be listed, looked up in
the cache and sent to other processes without reading an image. Whoever reads one finds it among the cells
that this process has read last: items are read about in order, and each chunk of a file (row group, record
batch) is read from its beginning to its end, some megabytes at a time, however large it is.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any, ClassVar, NamedTuple

from clipcli.errors import ImageError
from clipcli.files import identity
from clipcli.inputs.item import MAX_BYTES, FileItem, read_file, reading_errors
from clipcli.inputs.tables.columnar import Chunk, ColumnarFormat, opened
from clipcli.records import Columns, Version

_MOST_FILES = 4  # that are open at once
_MOST_CURSORS = 3  # in each: a thread that was held up reads what the others have long passed
_KEPT_ROWS = 32  # at least, which threads may ask for in another order
_EXAMINED_BATCHES = 4
_KEPT_BYTES = 1 << 26  # at most, unless a single batch has more


class Column(NamedTuple):
    """A column with images of the table at `path`.

    `part` is what holds their bytes of the column (`image.bytes`), `path_part` what names their files, or "".
    """

    path: str
    stored_as: ColumnarFormat
    name: str
    part: str
    path_part: str = ""


@dataclass(frozen=True, slots=True)
class CellItem:
    """An image in a cell. `row` counts from 0; `linked` is its file if the cell has no bytes."""

    name: str
    column: Column
    row: int
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    linked: str | None = None
    kind: ClassVar[str] = "table row"

    def version(self) -> Version | None:
        """That of the table, with column and row, and that of the linked file if there is one."""
        table = FileItem(self.column.path).version()
        if table is None:
            return None
        token = table.token
        if self.linked is not None and os.path.lexists(self.linked):
            linked = FileItem(self.linked).version()
            if linked is None:
                return None
            token = f"{token} {os.fsdecode(linked.name)} {linked.token}"
        return Version(table.name + os.fsencode(f"#{self.column.name}={self.row + 1}"), token)

    def read(self) -> bytes:
        """The bytes of the cell, or else of the linked file.

        Raises:
            ImageError: there are none, they are too many, or the table is damaged there.
        """
        data = _cells_of(self.column).read(self.row, "bytes")
        if data is not None:
            return data
        if self.linked is None:
            raise ImageError(f"no image in row {self.row + 1}")
        return read_file(self.linked)


class _Cursor:
    """The cells of a chunk one after the other, of which the last ones stay at hand."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk, self.next_row = chunk, chunk.start
        self._kept: deque[tuple[int, Any]] = deque()
        self._rows = self._bytes = 0

    def reaches(self, row: int) -> bool:
        """Whether a row is at hand, or still to come."""
        first = self._kept[0][0] if self._kept else self.next_row
        return first <= row and (self._chunk.end is None or row < self._chunk.end)

    def cell(self, row: int) -> Any:
        """The cell of a row that it reaches.

        Raises:
            IndexError: the file ends before.
        """
        while row >= self.next_row:
            self._advance()
        start, array = next(one for one in reversed(self._kept) if one[0] <= row)
        return array[row - start]

    def is_damaged(self, error: ImageError) -> _Damage:
        """What cannot be read if there is an error now."""
        return _Damage(self.next_row, self._chunk.end, error)

    def _advance(self) -> None:
        array = next(self._chunk.arrays, None)
        if array is None:
            raise IndexError(self.next_row)
        self._kept.append((self.next_row, array))
        self.next_row += len(array)
        self._rows += len(array)
        self._bytes += array.nbytes
        while len(self._kept) > 1 and self._has_enough_without(self._kept[0][1]):
            oldest = self._kept.popleft()[1]
            self._rows -= len(oldest)
            self._bytes -= oldest.nbytes

    def _has_enough_without(self, oldest: Any) -> bool:
        return self._rows - len(oldest) >= _KEPT_ROWS or self._bytes > _KEPT_BYTES


class _Damage(NamedTuple):
    """Rows that cannot be read, from `first` to before `end` or to the end of the file."""

    first: int
    end: int | None
    error: ImageError


class _Cells:
    """The column of an open file; `identity` tells whether the file is still the one that was opened.

    Raises:
        ImageError: it cannot be opened.
    """

    def __init__(self, column: Column, identity_of_file: str) -> None:
        self.identity = identity_of_file
        self._column = column
        with _damage_told():
            self._file = opened(column.path, column.stored_as)
        self._cursors: deque[_Cursor] = deque(maxlen=_MOST_CURSORS)
        self._damages: list[_Damage] = []
        self._lock = Lock()

    def read(self, row: int, field_name: str) -> bytes | None:
        """The bytes of a cell, or of this field of it; None if it has none.

        Raises:
            ImageError: there is no such row, they are too many, or the file is damaged there.
        """
        with self._lock:
            cell = self._cell(row)
        return _bytes_of(cell, field_name)

    def _cell(self, row: int) -> Any:
        for damage in self._damages:  # is not met again for each row
            if damage.first <= row and (damage.end is None or row < damage.end):
                raise damage.error
        cursor = self._cursor(row)
        try:
            with _damage_told():
                return cursor.cell(row)
        except ImageError as error:
            self._damages.append(cursor.is_damaged(error))
            self._cursors.remove(cursor)
            raise
        except IndexError:
            self._cursors.remove(cursor)
            raise ImageError(f"no row {row + 1} in its table") from None

    def _cursor(self, row: int) -> _Cursor:
        """The cursor that reaches a row, and of several the nearest; a new one if there is none."""
        near = [cursor for cursor in self._cursors if cursor.reaches(row)]
        if near:
            return max(near, key=lambda cursor: cursor.next_row)
        try:
            self._cursors.append(_Cursor(self._file.chunk(row, self._column.name, self._column.part)))
        except IndexError:
            raise ImageError(f"no row {row + 1} in its table") from None
        return self._cursors[-1]


def path_in_cell(column: Column, row: int) -> str | None:
    """The path that a cell has beside its bytes, or None.

    Raises:
        ImageError: there is no such row, or the table is damaged.
    """
    if not column.path_part:
        return None
    path = _cells_of(column._replace(part=column.path_part)).read(row, "path")
    return None if path is None else path.decode("utf-8", "replace")


def _bytes_of(cell: Any, field_name: str) -> bytes | None:
    """The bytes of a scalar: of binary or text, of a field of a struct, or in a dictionary of these."""
    import pyarrow

    while isinstance(cell, pyarrow.ExtensionScalar | pyarrow.DictionaryScalar):
        cell = cell.value
    if cell is None or not cell.is_valid:
        return None
    if isinstance(cell, pyarrow.StructScalar):
        return _bytes_of(cell[field_name], field_name)
    buffer = cell.as_buffer()
    if buffer.size > MAX_BYTES:
        raise ImageError(f"too large: {buffer.size / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB")
    return bytes(buffer)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Turn what reading a damaged table raises into an `ImageError`."""
    import pyarrow

    with reading_errors():
        try:
            yield
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImageError(f"its table is damaged: {error}") from None


def has_images(column: Column) -> bool:
    """Whether the first cell of a column that is not empty holds an image.

    Raises:
        pyarrow.ArrowException: the table is damaged.
    """
    file = opened(column.path, column.stored_as)
    with suppress(IndexError, ImageError):
        for cells in islice(file.chunk(0, column.name, column.part).arrays, _EXAMINED_BATCHES):
            for cell in cells:
                if cell.is_valid and (data := _bytes_of(cell, "bytes")):
                    return _is_image(data)
    return False


def _is_image(data: bytes) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a damaged or giant one
        return True


# --- Open files ----------------------------------------------------------------------------------

_open: OrderedDict[Column, _Cells] = OrderedDict()
_lock = Lock()


def _cells_of(column: Column) -> _Cells:
    """The open file of a column; it is opened again once it has changed."""
    with reading_errors():
        now = identity(os.stat(column.path))
    with _lock:
        cells = _open.get(column)
        if cells is None or cells.identity != now:
            cells = _open[column] = _Cells(column, now)
        _open.move_to_end(column)
        while len(_open) > _MOST_FILES:
            _open.popitem(last=False)  # it is closed once nobody reads it any more
    return cells


def _forget() -> None:
    """Begin anew in a forked process: the files and locks are those of its parent."""
    global _open, _lock
    _open, _lock = OrderedDict(), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
