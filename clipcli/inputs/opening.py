"""One image by its name, as outputs have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.naming import file_named
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item

if TYPE_CHECKING:
    from PIL import Image


def item_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: the row of a table (`train.parquet#17`), or as in `file_named`.

    Args:
        name: what a list, a table or an output calls it.
        columns: cells that travel with it.

    Returns:
        The item, or why there can be none of that name. Whether it exists shows when it is read.
    """
    return (_row_named(name, columns) if "#" in name else None) or file_named(name, columns)


def _row_named(name: str, columns: Columns) -> Item | ImageFailure | None:
    from clipcli.inputs.hub_datasets import hub_row_named
    from clipcli.inputs.tables.table import row_named

    try:
        return hub_row_named(name, columns) or row_named(name, columns)
    except UsageError as error:
        return ImageFailure(name, error.message, columns)


def read_named(name: str) -> bytes | Image.Image:
    """The image of this name: encoded, or decoded already.

    Raises:
        ImageError: there is none, or it cannot be read.
    """
    item = item_named(name)
    if isinstance(item, ImageFailure):
        raise ImageError(item.reason)
    return item.read()
