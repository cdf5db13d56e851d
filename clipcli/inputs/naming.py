"""The image of a name, as lists and tables have it: a file, or what lies within one."""

from __future__ import annotations

import os

from clipcli.inputs.extras import unread
from clipcli.inputs.formats import holder_of, kind_of, member_of
from clipcli.inputs.frames.parts import part_named, part_of
from clipcli.inputs.item import FileItem
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item
from clipcli.remote.addresses import is_remote


def file_named(name: str, columns: Columns = NO_COLUMNS) -> Item | ImageFailure:
    """The image of this name, unread: a file's path, an address, a member of an archive (`scans.zip!/a.png`)
    or a part of one of them (`clip.mp4#t=3.0`).

    Args:
        name: what a list or a table calls it.
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
    member = member_of(name)
    if member is not None and not os.path.lexists(name):
        from clipcli.inputs.archives.items import NamedMember

        return NamedMember(name, *member, columns)
    return file_at(name, columns)


def file_at(place: str, columns: Columns = NO_COLUMNS) -> Item:
    """The file of a path, or the object at an address."""
    if not is_remote(place):
        return FileItem(place, columns)
    from clipcli.inputs.remote import remote_item

    return remote_item(place, columns)


def is_within(name: str) -> bool:
    """Whether this names an image within a file that is there, such as a member of an archive."""
    holder = holder_of(name)
    return holder is not None and os.path.isfile(holder) and not os.path.lexists(name)
