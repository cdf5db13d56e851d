"""What the user named on the command line, as items: files, folders, globs and lists."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import cast

from clipcli.errors import UsageError
from clipcli.inputs.item import FileItem
from clipcli.inputs.lists import PathList, check_list
from clipcli.inputs.tables import Table, looks_like_table, table_format
from clipcli.inputs.walk import Wanted, expand, images_of, matches_nothing, path_filter
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
        keep: the columns of the table that travel to the output; None is all of them.

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

    def __post_init__(self) -> None:
        if not self.paths and self.from_file is None:
            raise UsageError("no images given", "Name files, folders or globs, or use `from_file` LIST.")
        path_filter(self.include, self.exclude)
        if self.from_file not in (None, "-"):
            check_list(str(self.from_file))
        for path in self.paths:
            _check_path(path)
        if (self.image_column is not None or self.keep is not None) and self._table is None:
            raise UsageError(
                "columns are named, but no table", "Name the table with `from_file`, such as products.csv."
            )

    @property
    def columns(self) -> dict[str, type]:
        """The columns of the table that travel to the output, in order, with the types of their cells."""
        return {} if self._table is None else self._table.columns

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
        wanted = path_filter(self.include, self.exclude)
        for path in self.paths:
            yield from map(_item, _names(path, wanted))
        listed = self._listed
        if isinstance(listed, Table):
            yield from listed
        elif isinstance(listed, PathList):
            yield from map(_item, listed.names())
        elif listed is not None:
            with Path(listed).open("rb") as file:
                yield from map(_item, PathList(file, listed).names())

    @property
    def _table(self) -> Table | None:
        return self._listed if isinstance(self._listed, Table) else None

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


def _item(found: str | ImageFailure) -> Item | ImageFailure:
    return found if isinstance(found, ImageFailure) else FileItem(found)


def _names(path: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    if path == "-":
        return PathList(_stdin(), path).names()
    if os.path.lexists(path) or not glob.has_magic(path):  # gone since: still a row
        return images_of(path, wanted)
    return expand(path, wanted)


def _check_path(path: str) -> None:
    if path == "-":
        return
    if not os.path.lexists(path) and matches_nothing(path):
        raise UsageError(*_missing(path))
    if table_format(path) and os.path.isfile(path):
        raise UsageError(f"{path} is a table, not an image", f"Use `from_file` {path}.")


def _missing(path: str) -> tuple[str, str]:
    if glob.has_magic(path):
        return f"nothing matches {path}", ""
    parent, name = os.path.split(path.rstrip("/"))
    try:
        near = difflib.get_close_matches(name, os.listdir(parent or "."), 1)
    except (OSError, ValueError):
        near = []
    hint = f"Did you mean {os.path.join(parent, near[0])}?" if near else ""
    return f"no such file or folder: {path}", hint
