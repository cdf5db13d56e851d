"""One image by its name, as outputs have it; and a file's content as a stream."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from clipcli.errors import UsageError
from clipcli.inputs.hub_datasets import hub_row_named
from clipcli.inputs.item import FileItem, open_file
from clipcli.inputs.tables.table import row_named
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item


def item_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: a file's path, or the row of a table (`train.parquet#17`).

    Args:
        name: what a list, a table or an output calls it.
        columns: cells that travel with it.

    Returns:
        The item, or why there can be none of that name. Whether it exists shows when it is read.
    """
    try:
        found = hub_row_named(name, columns) or row_named(name, columns)
    except UsageError as error:
        return ImageFailure(name, error.message, columns)
    return found or FileItem(name, columns)


def opened(item: Item) -> BinaryIO:
    """An item's content as a stream that can be searched; of a file, without reading all of it.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return open_file(item.location)
    return io.BytesIO(cast(bytes, item.read()))
