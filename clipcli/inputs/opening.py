"""One image by its name, as outputs have it; and a file's content as a stream."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, cast

from clipcli.inputs.extras import unread
from clipcli.inputs.formats import kind_of
from clipcli.inputs.item import FileItem, open_file
from clipcli.inputs.parts import part_named, part_of
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item


def item_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: a file's path, or the name of a part of a file.

    Args:
        name: what a list, a table or an output calls it.
        columns: cells that travel with it.

    Returns:
        The item, or why there can be none of that name. Whether it exists shows when it is read.
    """
    part = None if os.path.lexists(name) else part_named(name)
    if part is None:
        item = _whole(name, columns)
        if isinstance(item, ImageFailure):
            return item
        return unread(item) or (part_of(item, "raw") if kind_of(name) == "raw" else item)
    whole = _whole(part.whole, columns)
    if isinstance(whole, ImageFailure):
        return whole
    return unread(whole) or part_of(whole, part.kind, part.position)


def _whole(name: str, columns: Columns) -> Item | ImageFailure:
    """What is no part of a file."""
    return FileItem(name, columns)


def opened(item: Item) -> BinaryIO:
    """An item's content as a stream that can be searched; of a file, without reading all of it.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return open_file(item.location)
    return io.BytesIO(cast(bytes, item.read()))
