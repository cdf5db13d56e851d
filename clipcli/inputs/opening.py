"""One image by its name, as outputs have it; and a file's content as a stream."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from clipcli.errors import ImageError
from clipcli.inputs.item import FileItem, open_file
from clipcli.inputs.remote import RemoteItem, as_image_errors, remote_item
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item
from clipcli.remote import objects
from clipcli.remote.addresses import is_remote


def item_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: a file's path, or an address.

    Args:
        name: what a list, a table or an output calls it.
        columns: cells that travel with it.

    Returns:
        The item, or why there can be none of that name. Whether it exists shows when it is read.
    """
    if is_remote(name):
        return remote_item(name, columns)
    return FileItem(name, columns)


def opened(item: Item) -> BinaryIO:
    """An item's content as a stream that can be searched; of a file or an object in a bucket, without
    reading all of it.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return open_file(item.location)
    if isinstance(item, RemoteItem):
        with as_image_errors():
            return objects.opened(item.location)
    return io.BytesIO(cast(bytes, item.read()))


def content_of(name: str) -> bytes:
    """The encoded image of a name.

    Raises:
        ImageError: there is none of that name, or it cannot be read.
    """
    item = item_named(name)
    if isinstance(item, ImageFailure):
        raise ImageError(item.reason)
    return cast(bytes, item.read())
