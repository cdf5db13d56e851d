"""What one argument of the user names, and the images that it holds."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from io import BufferedReader
from typing import TYPE_CHECKING, Protocol, cast

from clipcli.errors import UsageError
from clipcli.inputs.braces import names_of
from clipcli.inputs.dataset_folders import Metadata, dataset_tables, metadata_of
from clipcli.inputs.extras import missing_for, unread
from clipcli.inputs.formats import kind_of, member_of
from clipcli.inputs.frames import animation
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.item import FileItem
from clipcli.inputs.lists import PathList
from clipcli.inputs.naming import file_at, is_within
from clipcli.inputs.opening import item_named
from clipcli.inputs.tables.recognise import is_columnar, is_row, table_format
from clipcli.inputs.walk import ALL_PATHS, PathFilter, Search, expand, images_of, matches_nothing
from clipcli.records import ImageFailure, Item
from clipcli.remote.addresses import is_remote

if TYPE_CHECKING:
    from clipcli.inputs.hub_datasets import HubDataset


class Source(Protocol):
    """What one argument names; iterable any number of times, unless it is a pipe.

    Its constructor raises a `UsageError` if there is no such thing.
    """

    @property
    def is_table(self) -> bool:
        """Whether its images are rows of tables, whose column of images can be named."""

    @property
    def columns(self) -> Mapping[str, type]:
        """Cells that its images bring along, in order, with their types.

        Inputs with several sources, or of which only some columns are wanted, see to it that all items have
        the same ones.
        """

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images, in order; what cannot be listed is an `ImageFailure`."""


def sources_of(
    path: str, path_filter: PathFilter = ALL_PATHS, image_column: str | None = None
) -> Iterator[Source]:
    """The sources that an argument names: several, if it has braces or is a glob of tables.

    Args:
        path: the argument.
        path_filter: what the user wants of the files in folders.
        image_column: that of tables; None finds it.

    Raises:
        UsageError: as in `source_of`.
    """
    if "\0" in path and not is_remote(path):  # no file is called so, and glob would raise a ValueError
        raise UsageError(*_missing(path))
    for one in names_of(path):
        if is_row(one):
            yield OneImage(one)
            continue
        if (dataset := _hub_dataset(one, path_filter, image_column)) is not None:
            yield dataset
            continue
        is_folder = one != "-" and os.path.isdir(one)
        tables = dataset_tables(one, path_filter, image_column) if is_folder else tables_of_glob(one)
        yield from (Rows(name, image_column) for name in tables)
        if is_folder and tables:
            yield Files(one, tables)
        elif not tables:
            yield source_of(one, image_column)


def _hub_dataset(name: str, path_filter: PathFilter, image_column: str | None) -> HubDataset | None:
    if not name.startswith("hf://"):
        return None
    from clipcli.inputs.hub_datasets import HubDataset, address_of

    address = address_of(name)
    if address is None or kind_of(name) == "image":
        return None
    return HubDataset(address, path_filter, image_column)


def source_of(path: str, image_column: str | None = None) -> Source:
    """The source that a name stands for.

    Args:
        path: the name.
        image_column: that of a table; None finds it.

    Raises:
        UsageError: there is no such thing, or it is none of images.
    """
    if path == "-":
        return StandardInput()
    if is_remote(path):
        return _remote_source(path)
    if is_within(path):
        return OneImage(path)
    if is_columnar(path) and os.path.isfile(path):
        return Rows(path, image_column)
    if os.path.isdir(path) and (metadata := metadata_of(path)):
        return ImageFolder(path, metadata)
    return Archive(path) if kind_of(path) == "archive" and os.path.isfile(path) else Files(path)


def _remote_source(url: str) -> Source:
    if kind_of(url) == "archive" and not glob.has_magic(url):
        return Archive(url)
    return OneImage(url) if member_of(url) else Remote(url)


def images_in(item: Item, search: Search) -> Iterator[Item | ImageFailure]:
    """The images that a file holds: itself, or what is in it."""
    kind = kind_of(item.name)
    if kind == "archive":
        yield from _images_of_archive(item, search)
    elif (failure := unread(item)) is not None:
        yield failure
    elif kind == "raw":
        yield part_of(item, "raw")
    elif kind == "video":
        from clipcli.inputs.frames import video

        yield from video.frames_of(item, search.reading)
    elif kind == "document":
        from clipcli.inputs.frames import document

        yield from document.pages_of(item)
    elif search.reading.all_frames:
        yield from animation.frames_of(item)
    else:
        yield animation.first_frame(item, search.left_out.first_pages)


def _images_of_archive(
    archive: Item, search: Search, columns: Mapping[str, type] | None = None
) -> Iterator[Item | ImageFailure]:
    """The images of its members; of a shard of samples with these columns."""
    from clipcli.inputs.archives.members import members

    for found in members(archive, search, columns):
        yield from [found] if isinstance(found, ImageFailure) else images_in(found, search)


def listed(names: Iterable[str], search: Search) -> Iterator[Item | ImageFailure]:
    """The images of files, and parts of files, that are named one by one."""
    return each_opened(map(item_named, names), search)


def each_opened(items: Iterable[Item | ImageFailure], search: Search) -> Iterator[Item | ImageFailure]:
    """The images that files hold, one file after the other; an image of a file is itself."""
    for item in items:
        yield from (item,) if isinstance(item, ImageFailure | PartItem) else images_in(item, search)


class StandardInput:
    """A list of names on standard input."""

    is_table = False
    columns: Mapping[str, type] = {}

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """What the list names, once."""
        yield from listed(PathList(cast(BufferedReader, sys.stdin.buffer), "-").names(), search)


class Rows:
    """A Parquet or Arrow file with images, or their paths, in a column.

    Args:
        path: the file.
        image_column: the column; None finds it.

    Raises:
        UsageError: it cannot be read, or has no such column.
    """

    is_table = True

    def __init__(self, path: str, image_column: str | None = None) -> None:
        from clipcli.inputs.tables.table import Table

        self.table = Table(path, image_column)
        self.columns: Mapping[str, type] = self.table.columns

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """An image for each row."""
        return self.table.images(self.columns if search.columns is None else search.columns)


class OneImage:
    """An image within a file, by its name, such as `scans.zip!/a.png` or `train.parquet#17`."""

    is_table = False
    columns: Mapping[str, type] = {}

    def __init__(self, name: str) -> None:
        self._name = name

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The image."""
        yield item_named(self._name)


class Archive:
    """An archive that the user named; of a shard of samples, with what belongs to each image as columns.

    Args:
        path: its name.
    """

    is_table = False

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def columns(self) -> Mapping[str, type]:
        """What the first samples of a shard have beside their images."""
        from clipcli.inputs.archives.samples import columns_of

        return columns_of(self._path)

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images in it."""
        yield from _images_of_archive(file_at(self._path), search, self._wanted(search))

    def _wanted(self, search: Search) -> dict[str, type] | None:
        """The columns that are to be brought along; None if this is no shard."""
        if not self.columns or search.columns is None:
            return dict(self.columns) or None
        return {name: kind for name, kind in self.columns.items() if name in search.columns}


class Remote:
    """An image on a web server, or an object, a folder or a glob in a bucket.

    Args:
        url: its address; errors as in `Address`.
    """

    is_table = False
    columns: Mapping[str, type] = {}

    def __init__(self, url: str) -> None:
        from clipcli.inputs.addresses import Address

        self._address = Address(url)

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images; what cannot be listed is an `ImageFailure`."""
        yield from each_opened(self._address.items(search), search)


class Files:
    """A file, a folder with all that it holds, or a glob.

    Args:
        path: its name.
        tables: files in the folder that are sources of their own.

    Raises:
        UsageError: it does not exist, the glob matches nothing, or it is a table that can hold only paths.
    """

    is_table = False
    columns: Mapping[str, type] = {}

    def __init__(self, path: str, tables: Sequence[str] = ()) -> None:
        self._path, self._tables = path, tables
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
            elif kind_of(found) == "image" and not search.reading.all_frames:  # most files, and a million
                yield animation.first_frame(FileItem(found), search.left_out.first_pages)
            else:
                yield from images_in(FileItem(found), search)
        for table in self._tables:
            search.left_out.take_back(table)

    def _paths(self, search: Search) -> Iterator[str | ImageFailure]:
        if os.path.lexists(self._path) or not glob.has_magic(self._path):  # gone since: still a row
            return images_of(self._path, search)
        return expand(self._path, search)


class ImageFolder(Files):
    """A folder whose images have cells in metadata files, as `datasets` lays it out.

    Args:
        path: the folder.
        metadata: what the files say.
    """

    def __init__(self, path: str, metadata: Metadata) -> None:
        super().__init__(path)
        self._metadata = metadata
        self.columns: Mapping[str, type] = metadata.columns

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images with their cells; then what the metadata name and there is not."""
        for item in super().items(search):
            yield item if isinstance(item, ImageFailure) else self._metadata.with_cells(item)
        yield from self._metadata.missing()


def tables_of_glob(pattern: str) -> list[str]:
    """The files that match a glob, if all of them are Parquet or Arrow files; otherwise none."""
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        return []
    found = sorted(glob.iglob(pattern))
    return found if all(is_columnar(path) and os.path.isfile(path) for path in found) else []


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
