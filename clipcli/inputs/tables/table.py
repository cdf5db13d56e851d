"""Tables as inputs: a column names the images, and the others travel to the output."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import unquote_to_bytes

from clipcli.errors import UsageError
from clipcli.inputs.item import FileItem
from clipcli.inputs.remote import RemoteItem, remote_item
from clipcli.inputs.tables.files import TableFile, TableFormat
from clipcli.inputs.tables.recognise import IMAGE_COLUMNS, looks_like_table, table_format
from clipcli.inputs.tables.rows import LONE_SURROGATE, Row, as_text, as_type, named_errors, temporary_file
from clipcli.records import Columns, ImageFailure
from clipcli.remote.addresses import is_remote

_HEAD_BYTES = 1 << 16
_NESTED = (bytes, dict, list)
NamedItem: TypeAlias = FileItem | RemoteItem
_URL = re.compile("([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


class Table:
    """The images of a table, in order; iterable any number of times, and in several threads.

    Relative paths start at the table's folder if something is there, else at the working directory.
    A pipe is kept in a temporary file first, as the types of its columns are known only at its end.

    Args:
        source: a file, a named pipe, or an open stream.
        image_column: the column that names the images; None takes the only one that is named `image`,
            `path`, `filepath`, `file_name`, `filename`, `file` or `image_path`, in any case.
        keep: the columns that travel to the output, in this order; None means all but that of the images.
        stored_as: the format; None tells it by the suffix, or else by the first bytes.
        head: what has been read from the stream already.
        name: what errors call a stream.

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
    ) -> None:
        self.name, self._folder, path = self._opened(source, head, name)
        stored_as = stored_as or table_format(self.name) or _recognised(path, self.name, image_column)
        self._file = TableFile(path, self.name, stored_as)
        found = self.all_columns = self._file.columns()
        self.image_column = _image_column(found, image_column, self.name)
        self.columns: dict[str, type] = _kept(found, self.image_column, keep, self.name)
        """The columns that travel, in order, with the types of their cells."""
        self._check_paths()

    def _opened(
        self, source: str | os.PathLike[str] | BinaryIO, head: bytes, name: str
    ) -> tuple[str, str, str]:
        """The table's name, its folder, and a regular file with its content."""
        if not isinstance(source, (str, os.PathLike)):
            return name, "", self._spooled(source, head, name)
        path = os.fspath(source)
        with named_errors(path):
            if stat.S_ISREG(os.stat(path).st_mode):
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

    def _check_paths(self) -> None:
        """Refuse a dataset with the images inside at its first row, rather than once per row."""
        first = next(self._file.rows({self.image_column}), None)
        if first is not None and isinstance(first.cells.get(self.image_column), _NESTED):
            raise UsageError(
                f"{self.name}: the column {self.image_column!r} holds no paths but images or nested values",
                "Name a column of paths with `image_column`, or write the images to files first.",
            )

    def __iter__(self) -> Iterator[NamedItem | ImageFailure]:
        """Every row: an image, or why there is none."""
        for row in self._file.rows({self.image_column, *self.columns}):
            yield self._item(row)

    def with_cells(self, column: str) -> Iterator[tuple[NamedItem | ImageFailure, Any]]:
        """Every row with one cell as the file holds it: a list, where the format has lists.

        Raises:
            UsageError: there is no such column, or as in iterating.
        """
        _check_column(column, self.all_columns, self.name)
        for row in self._file.rows({self.image_column, column, *self.columns}):
            yield self._item(row), row.cells.get(column)

    def _item(self, row: Row) -> NamedItem | ImageFailure:
        place = f"{self.name} {row.place}"
        if row.problem:
            return ImageFailure(place, f"{row.place}: {row.problem}", dict.fromkeys(self.columns))
        columns = {name: as_type(row.cells.get(name), kind) for name, kind in self.columns.items()}
        cell = row.cells.get(self.image_column)
        if isinstance(cell, _NESTED):
            return ImageFailure(place, f"no path but a nested value in {row.place}", columns)
        text = cell if isinstance(cell, str) else as_type(cell, str)
        if not isinstance(text, str) or not text.strip():
            return ImageFailure(place, f"no image named in {row.place}", columns)
        return self._named_item(text, columns)

    def _named_item(self, cell: str, columns: Columns) -> NamedItem | ImageFailure:
        if LONE_SURROGATE.search(cell):
            return ImageFailure(as_text(cell), "half of a character in its name", columns)
        if is_remote(cell):
            return remote_item(cell, columns)
        url = _URL.fullmatch(cell)
        if url is None:
            return FileItem(beside_table(cell, self._folder), columns)
        if url[1].lower() != "file":
            return ImageFailure(cell, f"{url[1]}:// cannot be read: download it first", columns)
        host, slash, path = url[2].partition("/")
        if host not in ("", "localhost"):
            return ImageFailure(cell, f"on another computer: {host}", columns)
        return FileItem(os.fsdecode(unquote_to_bytes(slash + path)), columns)


def beside_table(path: str, folder: str) -> str:
    """A path that a table in this folder names: from there if something is there, else as it stands."""
    beside = os.path.join(folder, path)
    return beside if os.path.lexists(beside) else path


def _recognised(path: str, name: str, image_column: str | None) -> TableFormat:
    with named_errors(name), open(path, "rb") as file:
        known = looks_like_table(file.read(_HEAD_BYTES), image_column)
    if known is None:
        raise UsageError(f"{name} is not a table", "It needs a header, or a name such as products.csv.")
    return known


def _image_column(columns: Mapping[str, type], asked: str | None, name: str) -> str:
    if asked is not None:
        _check_column(asked, columns, name)
        return asked
    known = [column for column in columns if column.strip().lower() in IMAGE_COLUMNS]
    if len(known) == 1:
        return known[0]
    problem = f"several columns may name the images: {', '.join(known)}" if known else "no image column"
    raise UsageError(
        f"{name}: {problem}",
        f"Name it with `image_column`. The columns are {', '.join(columns)}.",
    )


def _kept(
    columns: Mapping[str, type], image_column: str, keep: Sequence[str] | None, name: str
) -> dict[str, type]:
    if keep is None:
        keep = [column for column in columns if column != image_column]
    for column in keep:
        _check_column(column, columns, name)
    return {column: columns[column] for column in keep}


def _check_column(column: str, columns: Mapping[str, type], name: str) -> None:
    if column not in columns:
        near = difflib.get_close_matches(column, columns, 1, cutoff=0.5)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{name} has no column {column!r}", f"{guess}Its columns are {', '.join(columns)}.")
