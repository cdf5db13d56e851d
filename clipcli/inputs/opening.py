"""One image by its name, as outputs have it; and a file's content as a stream."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from clipcli.errors import ImageError
from clipcli.inputs.archives.items import NamedMember
from clipcli.inputs.formats import holder_of, member_of
from clipcli.inputs.item import FileItem, open_file
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item

if TYPE_CHECKING:
    from PIL import Image


def item_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: a file's path, or a member of an archive (`scans.zip!/a.png`).

    Args:
        name: what a list, a table or an output calls it.
        columns: cells that travel with it.

    Returns:
        The item, or why there can be none of that name. Whether it exists shows when it is read.
    """
    member = member_of(name)
    if member is None or os.path.lexists(name):
        return FileItem(name, columns)
    return NamedMember(name, *member, columns)


def is_within(name: str) -> bool:
    """Whether this names an image within a file that is there, such as a member of an archive."""
    holder = holder_of(name)
    return holder is not None and os.path.isfile(holder) and not os.path.lexists(name)


def read_named(name: str) -> bytes | Image.Image:
    """The image of this name: encoded, or decoded already.

    Raises:
        ImageError: there is none, or it cannot be read.
    """
    item = item_named(name)
    if isinstance(item, ImageFailure):
        raise ImageError(item.reason)
    return item.read()


def opened(item: Item) -> BinaryIO:
    """An item's content as a stream that can be searched; of a file, without reading all of it.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return open_file(item.location)
    return io.BytesIO(cast(bytes, item.read()))
