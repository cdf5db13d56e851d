"""Pages of TIFF files: where they are, and one of them as a file of its own.

A page is taken out as it is stored, so that it is decoded as if it had been saved by itself, and no other
page is read for it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import BinaryIO

from clipcli.errors import ImageError
from clipcli.images.tiff_directory import (
    MARKS,
    Directory,
    Sliceable,
    Tag,
    directory_at,
    first_directory,
    long,
    with_directory,
)
from clipcli.inputs.item import MAX_BYTES

_STORED = {Tag.STRIP_OFFSETS: Tag.STRIP_BYTES, Tag.TILE_OFFSETS: Tag.TILE_BYTES}
_REDUCED_OR_MASK = 1 | 4  # of `Tag.SUBFILE`: smaller copies of a page, and what is transparent in it
_OLD_JPEG = 6  # a compression whose tables lie anywhere


class FileBytes:
    """A file whose bytes are read when a slice is asked for.

    Args:
        file: open, and nobody else's for the time being.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._length)
        self._file.seek(start)
        return self._file.read(max(stop - start, 0))


def has_more_pages(data: bytes) -> bool:
    """Whether a file is a TIFF of several pages."""
    return next(islice(page_offsets(data), 1, None), None) is not None


def page_offsets(data: Sliceable) -> Iterator[int]:
    """Where the directories of a TIFF's pages are; none of other files, and none behind damage.

    The first directory is always that of a page; others are not if they are of a smaller copy or a mask.
    """
    if data[:4] not in MARKS:
        return
    seen: set[int] = set()
    try:
        at = first_directory(data)
        while at and at not in seen:
            found, following = directory_at(data, at)
            if not seen or not found.first(Tag.SUBFILE) & _REDUCED_OR_MASK:
                yield at
            seen.add(at)
            at = following
    except (struct.error, KeyError):
        return


def page_at(data: Sliceable, at: int) -> bytes:
    """The page of a TIFF whose directory is there, as a file of its own.

    Raises:
        ImageError: its directory is damaged, or it is too large.
    """
    try:
        found, _ = directory_at(data, at)
        places = next((tag for tag in _STORED if {tag, _STORED[tag]} <= set(found.entries)), None)
        if (
            places is None
            or _STORED[places] not in found.entries
            or found.first(Tag.COMPRESSION) == _OLD_JPEG
        ):
            return with_directory(data[: len(data)], found)
        return _taken_out(data, found, places)
    except (struct.error, KeyError) as error:
        raise ImageError(f"damaged image: {error}") from None


def _taken_out(data: Sliceable, found: Directory, places: Tag) -> bytes:
    """The directory with its strips or tiles, one after the other."""
    offsets, sizes = found.values(places), found.values(_STORED[places])
    if sum(sizes) > MAX_BYTES:
        raise ImageError(f"too large: {sum(sizes) / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB")
    stored = [data[start : start + size] for start, size in zip(offsets, sizes, strict=False)]
    starts = list(accumulate(map(len, stored), initial=0))[:-1]
    entries = {**found.entries, int(places): long(found, *starts)}
    return with_directory(b"".join(stored), Directory(found.order, entries))
