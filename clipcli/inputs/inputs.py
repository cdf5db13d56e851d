"""What the user named on the command line, as items: whatever `sources` knows, and lists and tables of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from clipcli.errors import UsageError
from clipcli.inputs.left_out import LeftOut, Tally
from clipcli.inputs.lists import PathList, check_list
from clipcli.inputs.reading import FIRST_IMAGES, Reading
from clipcli.inputs.sources import Source, each_opened, source_of
from clipcli.inputs.sources import listed as listed_images
from clipcli.inputs.tables import Table, looks_like_table, table_format
from clipcli.inputs.tables.rows import as_type
from clipcli.inputs.walk import PathFilter, Search
from clipcli.records import ImageFailure, Item


@dataclass(frozen=True)
class Inputs:
    """What the user named.

    Args:
        paths: files, folders and globs, in order; `-` is a list on standard input.
        from_file: a list of paths, separated by newlines or NUL, or a table of which one column holds paths;
            a file or a pipe, `-` is standard input. It is a table if its suffix says so (.csv, .tsv, .jsonl,
            .parquet, .xlsx), if `image_column` is given or, from a pipe, if it begins as one.
        include: globs, as in .gitignore, of which files in folders must match one.
        exclude: globs of files and folders to leave out.
        image_column: the column of the table that holds the paths; None finds it by its name.
        keep: the columns that travel to the output; None is all of them.
        reading: what to take from files that hold several images.

    Raises:
        UsageError: nothing is named, a path does not exist, a glob matches nothing or is malformed, or the
            table cannot be read as one.
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
        PathFilter(self.include, self.exclude)
        if self.from_file not in (None, "-"):
            check_list(str(self.from_file))
        self._sources  # noqa: B018 (tells now what does not exist)
        if (self.image_column is not None or self.keep is not None) and not self._tables:
            raise UsageError(
                "columns are named, but no table", "Name the table with `from_file`, such as products.csv."
            )

    @cached_property
    def columns(self) -> dict[str, type]:
        """The columns that travel to the output, in order, with the types of their cells."""
        found: dict[str, type] = {}
        for source in self._tables:
            for name, kind in source.columns.items():
                found[name] = kind if found.get(name, kind) is kind else str
        return found

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
        return not is_file and not isinstance(opened, Table)

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        """Every image in order; a folder that cannot be listed is an `ImageFailure`."""
        left_out = LeftOut(self._first_pages)
        search = Search(PathFilter(self.include, self.exclude), self.reading, left_out)
        for source in self._sources:
            yield from self._alike(source.items(search))
        yield from self._alike(self._of_list(search))
        self.__dict__["_left_out"] = left_out

    def _of_list(self, search: Search) -> Iterable[Item | ImageFailure]:
        listed = self._listed
        if isinstance(listed, Table):
            yield from each_opened(listed, search)
        elif isinstance(listed, PathList):
            yield from listed_images(listed.names(), search)
        elif listed is not None:
            with Path(listed).open("rb") as file:
                yield from listed_images(PathList(file, listed).names(), search)

    def _alike(self, items: Iterable[Item | ImageFailure]) -> Iterator[Item | ImageFailure]:
        """The items; where several sources bring columns, with all of these, of one type each."""
        if len(self._tables) < 2:
            yield from items
            return
        for item in items:
            cells = {name: as_type(item.columns.get(name), kind) for name, kind in self.columns.items()}
            yield _with_columns(item, cells)

    @cached_property
    def _first_pages(self) -> Tally:
        """Of all readings together: images are read once, however often they are listed."""
        return Tally()

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        return tuple(map(source_of, self.paths))

    @property
    def _tables(self) -> list[Source | Table]:
        """What brings columns."""
        tables: list[Source | Table] = [source for source in self._sources if source.columns]
        return [*tables, self._listed] if isinstance(self._listed, Table) else tables

    @cached_property
    def _listed(self) -> Table | PathList | str | None:
        """What `from_file` is: a table, an open pipe or a file of paths; of a pipe the beginning is read."""
        path = self.from_file
        if path is None:
            return None
        if path != "-" and (self.image_column is not None or table_format(path)):
            return Table(path, self.image_column, self.keep)
        if path != "-" and os.path.isfile(path):
            return path
        stream = PathList(_stdin() if path == "-" else open(path, "rb"), path)  # noqa: SIM115 (read to its end)
        if self.image_column is None and not looks_like_table(stream.head):
            return stream
        try:
            return Table(stream.file, self.image_column, self.keep, head=stream.head, name=stream.name)
        finally:
            stream.close()


def _stdin() -> BufferedReader:
    return cast(BufferedReader, sys.stdin.buffer)


def _with_columns(item: Any, cells: dict[str, Any]) -> Item | ImageFailure:
    if isinstance(item, ImageFailure):
        return item._replace(columns=cells)
    return cast(Item, replace(item, columns=cells))
