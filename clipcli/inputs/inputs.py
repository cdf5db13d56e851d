"""What the user named on the command line, as items: files, folders, globs and lists."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from clipcli.errors import UsageError
from clipcli.inputs.item import FileItem
from clipcli.inputs.lists import check_list, read_list
from clipcli.inputs.walk import expand, images_of, matches_nothing, path_filter
from clipcli.records import ImageFailure, Item


@dataclass(frozen=True)
class Inputs:
    """What the user named.

    Args:
        paths: files, folders and globs, in order; `-` is a list on standard input.
        from_file: a file or pipe that lists paths, newline- or NUL-separated; `-` is standard input.
        include: globs, as in .gitignore, of which files in folders must match one.
        exclude: globs of files and folders to leave out.

    Raises:
        UsageError: nothing is named, a path does not exist, or a glob matches nothing or is malformed.
    """

    paths: tuple[str, ...] = ()
    from_file: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths and self.from_file is None:
            raise UsageError("no images given", "Name files, folders or globs, or use --from-file LIST.")
        path_filter(self.include, self.exclude)
        if self.from_file not in (None, "-"):
            check_list(str(self.from_file))
        for path in self.paths:
            if path != "-" and not os.path.lexists(path) and matches_nothing(path):
                raise UsageError(*_missing(path))

    @property
    def reads_stdin(self) -> bool:
        """Standard input, like any pipe, can be read only once."""
        piped = self.from_file is not None and not os.path.isfile(self.from_file)
        return piped or "-" in (self.from_file, *self.paths)

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        """Every image in order; a folder that cannot be listed is an `ImageFailure`."""
        for found in self._names():
            yield found if isinstance(found, ImageFailure) else FileItem(found)

    def _names(self) -> Iterator[str | ImageFailure]:
        wanted = path_filter(self.include, self.exclude)
        for path in self.paths:
            if path == "-":
                yield from read_list(cast(BufferedReader, sys.stdin.buffer))
            elif os.path.lexists(path) or not glob.has_magic(path):  # gone since: still a row
                yield from images_of(path, wanted)
            else:
                yield from expand(path, wanted)
        if self.from_file == "-":
            yield from read_list(cast(BufferedReader, sys.stdin.buffer))
        elif self.from_file is not None:
            with Path(self.from_file).open("rb") as file:
                yield from read_list(file)


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
