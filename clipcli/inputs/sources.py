"""What one argument of the user names, and the images that it holds."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Protocol, cast

from clipcli.errors import UsageError
from clipcli.inputs.addresses import Address
from clipcli.inputs.item import FileItem
from clipcli.inputs.lists import PathList
from clipcli.inputs.opening import item_named
from clipcli.inputs.tables import table_format
from clipcli.inputs.walk import Search, expand, images_of, matches_nothing
from clipcli.records import ImageFailure, Item
from clipcli.remote.addresses import is_remote


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
    if is_remote(path):
        return Remote(path)
    return StandardInput() if path == "-" else Files(path)


def images_in(item: Item, search: Search) -> Iterator[Item | ImageFailure]:
    """The images that a file holds: itself, or what is in it."""
    yield item


class StandardInput:
    """A list of names on standard input."""

    columns: Mapping[str, type] = {}

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """What the list names, once."""
        yield from map(item_named, PathList(cast(BufferedReader, sys.stdin.buffer), "-").names())


class Remote:
    """An image on a web server, or an object, a folder or a glob in a bucket.

    Args:
        url: its address; errors as in `Address`.
    """

    columns: Mapping[str, type] = {}

    def __init__(self, url: str) -> None:
        self._address = Address(url)

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images; what cannot be listed is an `ImageFailure`."""
        for found in self._address.items(search):
            if isinstance(found, ImageFailure):
                yield found
            else:
                yield from images_in(found, search)


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
