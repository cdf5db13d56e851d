"""Tables as inputs: a column names the images, and the others travel to the output."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from clipcli.errors import ImageError, UsageError
from clipcli.files import identity
from clipcli.inputs.item import FileItem
from clipcli.inputs.naming import file_named, is_within
from clipcli.inputs.tables.cells import CellItem, Column, path_in_cell
from clipcli.inputs.tables.files import TableFile
from clipcli.inputs.tables.image_column import ImageColumn, check_column
from clipcli.inputs.tables.image_column import image_column as image_column_of
from clipcli.inputs.tables.parted import is_parted
from clipcli.inputs.tables.recognise import ROW, TableFormat, looks_like_table, table_format
from clipcli.inputs.tables.rows import LONE_SURROGATE, Row, as_text, as_type, named_errors, temporary_file
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item
from clipcli.remote.addresses import beside, is_remote, shown

_HEAD_BYTES = 1 << 16
_NESTED = (bytes, dict, list)
_URL = re.compile("([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


class Table:
    """The images of a table, in order; iterable any number of times, and in several threads.

    Parquet and Arrow files may hold the images themselves, as bytes or as `{bytes, path}`. Such an image is
    called by its row, as in `train.parquet#17`; its path travels in the column of the images.
    Relative paths start at the table's folder if something is there, else at the working directory.
    A pipe is kept in a temporary file first, as the types of its columns are known only at its end.

    Args:
        source: a file, a folder of its parts, a named pipe, or an open stream.
        image_column: the column that names the images or holds them; None takes the only one with images in
            its cells, or else the only one that is named `image`, `path`, `filepath`, `file_name`,
            `filename`, `file` or `image_path`, in any case.
        keep: the columns that travel to the output, in this order; None means all but those of images.
        stored_as: the format; None tells it by the suffix, or else by the first bytes.
        head: what has been read from the stream already.
        name: what errors call a stream.
        called: the address of a file that was fetched from there: errors and the names of images have it, and
            paths in its cells start at its folder, or at the top of its bucket or server.

    Raises:
        UsageError: the file is missing, damaged or no table, a column is missing or named twice, or
            none or several may name the images. Damage that is found only later is raised while
            iterating.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        image_column: str | None = None,
        keep: Sequence[str] | None = None,
        *,
        stored_as: TableFormat | None = None,
        head: bytes = b"",
        name: str = "standard input",
        called: str | None = None,
    ) -> None:
        self.name, self._folder, path = self._opened(source, head, name)
        self.name, self._address = self.name if called is None else shown(called), called
        stored_as = stored_as or table_format(self.name) or _recognised(path, self.name, image_column)
        self._file = TableFile(path, self.name, stored_as)
        found = self.all_columns = self._file.columns()
        self._images = image_column_of(self._file, found, image_column)
        self.image_column = self._images.name
        self.columns: dict[str, type] = _kept(found, self._images, keep, self.name)
        """The columns that travel, in order, with the types of their cells."""

    def _opened(
        self, source: str | os.PathLike[str] | BinaryIO, head: bytes, name: str
    ) -> tuple[str, str, str]:
        """The table's name, its folder, and a regular file with its content."""
        if not isinstance(source, (str, os.PathLike)):
            return name, "", self._spooled(source, head, name)
        path = os.fspath(source)
        with named_errors(path):
            if stat.S_ISREG(os.stat(path).st_mode) or is_parted(path):
                return path, os.path.dirname(path), path
            with open(path, "rb") as stream:
                return path, "", self._spooled(stream, head, path)

    def _spooled(self, stream: BinaryIO, head: bytes, name: str) -> str:
        with named_errors(name):
            spool = temporary_file(self)
            spool.write(head)
            shutil.copyfileobj(stream, spool)
            spool.flush()
        return spool.name

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        """Every row: an image, or why there is none."""
        return self.images(self.columns)

    def images(self, columns: Collection[str]) -> Iterator[Item | ImageFailure]:
        """Every row, read with only these of the columns that travel."""
        wanted = {name: kind for name, kind in self.columns.items() if name in columns}
        for number, row in enumerate(self._file.rows({*self._paths, *wanted})):
            yield self._item(number, row, wanted)

    def with_cells(self, column: str) -> Iterator[tuple[Item | ImageFailure, Any]]:
        """Every row with one cell as the file holds it: a list, where the format has lists.

        Raises:
            UsageError: there is no such column, or as in iterating.
        """
        check_column(column, self.all_columns, self.name)
        for number, row in enumerate(self._file.rows({*self._paths, column, *self.columns})):
            yield self._item(number, row, self.columns), row.cells.get(column)

    def _item(self, number: int, row: Row, wanted: Mapping[str, type]) -> Item | ImageFailure:
        place = f"{self.name} {row.place}"
        if row.problem:
            return ImageFailure(place, f"{row.place}: {row.problem}", dict.fromkeys(wanted))
        columns = {name: as_type(row.cells.get(name), kind) for name, kind in wanted.items()}
        cell = row.cells.get(self.image_column)
        if self._images.cells is not None:
            linked = _linked(cell, self._folder) if self._address is None else None
            name = self._name_of_cell(number)
            return CellItem(name, self._images.cells, number, columns, linked=linked)
        if isinstance(cell, _NESTED):
            return ImageFailure(place, f"no path but a nested value in {row.place}", columns)
        text = cell if isinstance(cell, str) else as_type(cell, str)
        if not isinstance(text, str) or not text.strip():
            return ImageFailure(place, f"no image named in {row.place}", columns)
        return self._named_item(text, columns)

    @property
    def _paths(self) -> set[str]:
        """The column of images, if it has paths: bytes of images are not read before they are decoded."""
        cells = self._images.cells
        return {self.image_column} if cells is None or cells.path_part else set()

    @property
    def cells(self) -> Column | None:
        """Where the images lie; None if the table holds their paths."""
        return self._images.cells

    def _name_of_cell(self, number: int) -> str:
        """`train.parquet#17` for the row 17; of a column that must be asked for, `train.parquet#mask=17`."""
        column = "" if self._images.is_found else f"{self.image_column}="
        return f"{self.name}#{column}{number + 1}"

    def _named_item(self, cell: str, columns: Columns) -> Item | ImageFailure:
        if LONE_SURROGATE.search(cell):
            return ImageFailure(as_text(cell), "half of a character in its name", columns)
        if is_remote(cell):
            return file_named(cell, columns)
        url = _URL.fullmatch(cell)
        if url is None:
            return file_named(self._beside(cell), columns)
        if url[1].lower() != "file":
            return ImageFailure(cell, f"{url[1]}:// cannot be read: download it first", columns)
        host, slash, path = url[2].partition("/")
        if self._address is not None or host not in ("", "localhost"):
            return ImageFailure(cell, f"on another computer: {host or 'that of its table'}", columns)
        return FileItem(os.fsdecode(unquote_to_bytes(slash + path)), columns)

    def _beside(self, path: str) -> str:
        if self._address is not None:
            return beside(path, self._address)
        return beside_table(path, self._folder)


def beside_table(path: str, folder: str) -> str:
    """A path that a table in this folder names: from there if something is there, else as it stands."""
    beside = os.path.join(folder, path)
    return beside if os.path.lexists(beside) or is_within(beside) else path


def _recognised(path: str, name: str, image_column: str | None) -> TableFormat:
    with named_errors(name), open(path, "rb") as file:
        known = looks_like_table(file.read(_HEAD_BYTES), image_column)
    if known is None:
        raise UsageError(f"{name} is not a table", "It needs a header, or a name such as products.csv.")
    return known


def _kept(
    columns: Mapping[str, type], images: ImageColumn, keep: Sequence[str] | None, name: str
) -> dict[str, type]:
    if keep is None:
        paths = {images.name} if images.cells is None else set()
        return {column: kind for column, kind in columns.items() if column not in images.others | paths}
    for column in keep:
        check_column(column, columns, name)
        if column in images.others:
            raise UsageError(f"{name}: the column {column!r} holds images, which cannot be copied to a table")
    return {column: columns[column] for column in keep}


def row_named(name: str, columns: Columns = NO_COLUMNS) -> CellItem | None:
    """The image of a name such as `train.parquet#17`; None for other names, and where there is no such table.

    Args:
        name: as `Table` calls an image that lies in a cell.
        columns: cells that travel with it.
    """
    found = ROW.fullmatch(name)
    if found is None or os.path.lexists(name) or not os.path.isfile(found["table"]):
        return None
    row = int(found["row"]) - 1
    try:
        with named_errors(name):
            column = _cells_of_table(found["table"], found["column"], identity(os.stat(found["table"])))
        path = column and path_in_cell(column, row)
    except (UsageError, ImageError):
        return None
    linked = _linked(path, os.path.dirname(found["table"]))
    return column and CellItem(name, column, row, columns, linked=linked)


def _linked(cell: Any, folder: str) -> str | None:
    """The file that the path of an image in a table means."""
    return beside_table(cell, folder) if isinstance(cell, str) and cell.strip() else None


@lru_cache(maxsize=64)
def _cells_of_table(path: str, column: str | None, version: str) -> Column | None:
    """Where the images of a table of this version lie; None if it holds paths."""
    return Table(path, column, keep=()).cells
