"""What one argument of the user names, and the images that it holds."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader
from typing import Protocol, cast

from clipcli.errors import UsageError
from clipcli.inputs import animation, document, video
from clipcli.inputs.extras import missing_for, unread
from clipcli.inputs.formats import kind_of
from clipcli.inputs.item import FileItem
from clipcli.inputs.lists import PathList
from clipcli.inputs.opening import item_named
from clipcli.inputs.parts import PartItem, part_of
from clipcli.inputs.tables import table_format
from clipcli.inputs.walk import Search, expand, images_of, matches_nothing
from clipcli.records import ImageFailure, Item


class Source(Protocol):
    """What one argument names; iterable any number of times, unless it is a pipe.

    Its constructor raises a `UsageError` if there is no such thing.
    """

    @property
    def columns(self) -> Mapping[str, type]:
        """Cells that its images bring along, in order, with their types."""

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images, in order; what cannot be listed is an `ImageFailure`."""


def source_of(path: str) -> Source:
    """The source that an argument names.

    Raises:
        UsageError: there is no such thing, or it is none of images.
    """
    return StandardInput() if path == "-" else Files(path)


def images_in(item: Item, search: Search) -> Iterator[Item | ImageFailure]:
    """The images that a file holds: itself, or what is in it."""
    kind = kind_of(item.name)
    if (failure := unread(item)) is not None:
        yield failure
    elif kind == "raw":
        yield part_of(item, "raw")
    elif kind == "video":
        yield from video.frames_of(item, search.reading)
    elif kind == "document":
        yield from document.pages_of(item)
    elif search.reading.all_frames:
        yield from animation.frames_of(item)
    else:
        yield animation.first_frame(item, search.left_out.first_pages)


def listed(names: Iterable[str], search: Search) -> Iterator[Item | ImageFailure]:
    """The images of files, and parts of files, that are named one by one."""
    return each_opened(map(item_named, names), search)


def each_opened(items: Iterable[Item | ImageFailure], search: Search) -> Iterator[Item | ImageFailure]:
    """The images that files hold, one file after the other; an image of a file is itself."""
    for item in items:
        yield from (item,) if isinstance(item, ImageFailure | PartItem) else images_in(item, search)


class StandardInput:
    """A list of names on standard input."""

    columns: Mapping[str, type] = {}

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """What the list names, once."""
        yield from listed(PathList(cast(BufferedReader, sys.stdin.buffer), "-").names(), search)


class Files:
    """A file, a folder with all that it holds, or a glob.

    Args:
        path: its name.

    Raises:
        UsageError: it does not exist, the glob matches nothing, or it is a table.
    """

    columns: Mapping[str, type] = {}

    def __init__(self, path: str) -> None:
        self._path = path
        if not os.path.lexists(path) and matches_nothing(path):
            raise UsageError(*_missing(path))
        if table_format(path) and os.path.isfile(path):
            raise UsageError(f"{path} is a table, not an image", f"Use `from_file` {path}.")
        if (missing := missing_for(path)) is not None and not os.path.isdir(path):
            raise UsageError(f"{path}: {missing[0]}", f"{missing[1]}.")

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The file, or the files in it; a folder that cannot be listed is an `ImageFailure`."""
        for found in self._paths(search):
            if isinstance(found, ImageFailure):
                yield found
            else:
                yield from images_in(FileItem(found), search)

    def _paths(self, search: Search) -> Iterator[str | ImageFailure]:
        if os.path.lexists(self._path) or not glob.has_magic(self._path):  # gone since: still a row
            return images_of(self._path, search)
        return expand(self._path, search)


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
