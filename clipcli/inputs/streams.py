"""An item's content as a stream."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from clipcli.inputs.item import FileItem, open_file
from clipcli.records import Item


def opened(item: Item) -> BinaryIO:
    """An item's content as a stream that can be searched; of a file or an object in a bucket, without reading
    all of it.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(item, FileItem):
        return open_file(item.location)
    from clipcli.inputs.remote import RemoteItem, as_image_errors

    if isinstance(item, RemoteItem):
        from clipcli.remote import objects

        with as_image_errors():
            return objects.opened(item.location)
    return io.BytesIO(cast(bytes, item.read()))
