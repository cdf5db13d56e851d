"""What the user named on the command line, as items: whatever `sources` knows, and lists and tables of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from clipcli.errors import UsageError
from clipcli.inputs.item import changed
from clipcli.inputs.left_out import LeftOut, Tally
from clipcli.inputs.lists import PathList, check_list
from clipcli.inputs.reading import FIRST_IMAGES, Reading
from clipcli.inputs.sources import Source, each_opened, sources_of
from clipcli.inputs.sources import listed as listed_images
from clipcli.inputs.tables.recognise import looks_like_table, table_format
from clipcli.inputs.tables.rows import as_type, common_type
from clipcli.inputs.walk import PathFilter, Search
from clipcli.records import ImageFailure, Item
from clipcli.remote.addresses import is_remote

if TYPE_CHECKING:
    from clipcli.inputs.remote_lists import RemoteList
    from clipcli.inputs.tables.table import Table


@dataclass(frozen=True)
class Inputs:
    """What the user named.

    Args:
        paths: files, folders and globs, in order; `-` is a list on standard input.
        from_file: a list of paths, separated by newlines or NUL, or a table of which one column holds paths;
            a file, a pipe or an address, `-` is standard input. It is a table if its suffix says so (.csv,
            .tsv, .jsonl, .parquet, .arrow, .feather, .xlsx), if `image_column` is given or, from a pipe or an
            address, if it begins so. Paths in what lies at an address start there.
        include: globs, as in .gitignore, of which files in folders must match one.
        exclude: globs of files and folders to leave out.
        image_column: the column of each table that names or holds the images; None finds it.
        keep: the columns that travel to the output, of the table and of all other sources that have columns;
            None is all of them.
        reading: what to take from files that hold several images.

    Raises:
        UsageError: nothing is named, a path does not exist, a glob matches nothing or is malformed, the table
            cannot be read as one, or there is no column of a name.
    """

    paths: tuple[str, ...] = ()
    from_file: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    image_column: str | None = None
    keep: tuple[str, ...] | None = None
    reading: Reading = FIRST_IMAGES

    def __post_init__(self) -> None:
        if not self.paths and self.from_file is None:
            raise UsageError("no images given", "Name files, folders or globs, or use `from_file` LIST.")
        self._filter  # noqa: B018 (tells now that a glob is malformed)
        if self._remote is None and self.from_file not in (None, "-"):
            check_list(str(self.from_file))
        self._sources  # noqa: B018 (tells now what does not exist)
        tables = self.image_column is None or self._holds_tables
        if not tables or (self.keep is not None and not self._tables):
            raise UsageError(
                "columns are named, but no table", "Name the table with `from_file`, such as products.csv."
            )
        if self.keep is not None:
            self.columns  # noqa: B018 (tells now which one there is not)

    @cached_property
    def columns(self) -> dict[str, type]:
        """The columns that travel to the output, in order, with the types of their cells."""
        found: dict[str, type] = {}
        for source in self._tables:
            for name, kind in source.columns.items():
                found[name] = common_type(found.get(name), kind) or str
        if self.keep is None:
            return found
        from clipcli.inputs.tables.image_column import check_column

        for name in self.keep:
            check_column(name, found, self.paths[0] if len(self.paths) == 1 else "the input")
        return {name: found[name] for name in self.keep}

    @property
    def left_out(self) -> LeftOut:
        """What folders held and was not taken, the last time that all images were listed."""
        return cast(LeftOut, self.__dict__.get("_left_out", LeftOut()))

    @property
    def is_read_once(self) -> bool:
        """Whether there is a pipe that cannot be read again, as a table from a pipe can, once it is open."""
        if "-" in self.paths:
            return True
        opened = self.__dict__.get("_listed")  # opening a pipe would wait for whoever writes to it
        is_file = self.from_file is None or (self.from_file != "-" and os.path.isfile(self.from_file))
        return not is_file and self._remote is None and (opened is None or isinstance(opened, PathList))

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        """Every image in order; a folder that cannot be listed is an `ImageFailure`."""
        left_out = LeftOut(self._first_pages)
        for number in range(self.sources):
            yield from self.of_source(number, left_out)
        self.__dict__["_left_out"] = left_out

    def __reduce__(self) -> tuple[Any, ...]:
        """What is kept when it is sent to another process: what the user named."""
        return Inputs, tuple(getattr(self, one.name) for one in fields(self))

    @property
    def sources(self) -> int:
        """How many sources there are: what the paths stand for, and the list."""
        return len(self._sources) + (self.from_file is not None)

    def of_source(self, number: int, left_out: LeftOut | None = None) -> Iterator[Item | ImageFailure]:
        """The images of one source.

        Args:
            number: which one.
            left_out: where to count what folders hold and is not taken.
        """
        wanted = None if self.keep is None else tuple(self.columns)
        search = Search(self._filter, self.reading, left_out or LeftOut(), columns=wanted)
        if number == len(self._sources):
            return self._alike(self._of_list(search))
        return self._alike(self._sources[number].items(search))

    def _of_list(self, search: Search) -> Iterable[Item | ImageFailure]:
        listed = self._listed
        if self._remote is not None and listed is self._remote:
            yield from listed_images(self._remote.names(), search)
        elif isinstance(listed, PathList):
            yield from listed_images(listed.names(), search)
        elif isinstance(listed, str):
            with Path(listed).open("rb") as file:
                yield from listed_images(PathList(file, listed).names(), search)
        elif self._table is not None:
            yield from each_opened(self._table, search)

    def _alike(self, items: Iterable[Item | ImageFailure]) -> Iterator[Item | ImageFailure]:
        """The items; where several sources bring columns, with all that are wanted, of one type each."""
        if len(self._tables) < (2 if self.keep is None else 1):
            yield from items
            return
        for item in items:
            cells = {name: as_type(item.columns.get(name), kind) for name, kind in self.columns.items()}
            yield changed(item, columns=cells)

    @cached_property
    def _first_pages(self) -> Tally:
        """Of all readings together: images are read once, however often they are listed."""
        return Tally()

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        found = (sources_of(path, self._filter, self.image_column) for path in self.paths)
        return tuple(source for sources in found for source in sources)

    @cached_property
    def _filter(self) -> PathFilter:
        return PathFilter(self.include, self.exclude)

    @property
    def _holds_tables(self) -> bool:
        """Whether there is a table, whose column of images can be named."""
        return self._table is not None or any(source.is_table for source in self._sources)

    @property
    def _tables(self) -> list[Source | Table]:
        """What brings columns."""
        return [*self._with_columns, *([] if self._table is None else [self._table])]

    @property
    def _table(self) -> Table | None:
        """The table that `from_file` names."""
        listed = self._listed
        is_list = listed is None or listed is self._remote or isinstance(listed, PathList | str)
        return None if is_list else cast("Table", listed)

    @cached_property
    def _with_columns(self) -> list[Source]:
        return [source for source in self._sources if source.columns]

    @cached_property
    def _remote(self) -> RemoteList | None:
        """What `from_file` names, if it is an address."""
        if self.from_file is None or not is_remote(self.from_file):
            return None
        from clipcli.inputs.remote_lists import RemoteList

        return RemoteList(self.from_file)

    @cached_property
    def _listed(self) -> Table | PathList | RemoteList | str | None:
        """What `from_file` is: a table, an open pipe or a file of paths; of a pipe the beginning is read."""
        path = self.from_file
        if path is None:
            return None
        if self._remote is not None:
            return self._remote.table(self.image_column, self._kept_of_table) or self._remote
        if path != "-" and (self.image_column is not None or table_format(path)):
            return self._as_table(path)
        if path != "-" and os.path.isfile(path):
            return path
        stream = PathList(_stdin() if path == "-" else open(path, "rb"), path)  # noqa: SIM115 (read to its end)
        if self.image_column is None and not looks_like_table(stream.head):
            return stream
        try:
            return self._as_table(stream.file, head=stream.head, name=stream.name)
        finally:
            stream.close()

    def _as_table(self, source: str | BufferedReader, **stream: Any) -> Table:
        from clipcli.inputs.tables.table import Table

        return Table(source, self.image_column, self._kept_of_table, **stream)

    @property
    def _kept_of_table(self) -> tuple[str, ...] | None:
        return None if self._with_columns else self.keep  # another source may have what it has not


def _stdin() -> BufferedReader:
    return cast(BufferedReader, sys.stdin.buffer)
