"""The thumbnails in a workbook: small JPEGs in the cells that name the images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from clipcli.errors import ImageError
from clipcli.output.xlsx.cells import without_controls
from clipcli.prefetch import available_cores, prefetch_map

SIDE = 96
"""Pixels of the longer side; smaller images stay as they are."""

MOST = 2_000
"""Thumbnails in a workbook, some 6 MB: Excel becomes slow with more."""

ROW_HEIGHT = SIDE + 26
"""Pixels of a row with a thumbnail, below which the name stands."""

_GAP = 3
_QUALITY = 80
_PREFETCH = 8  # for each thread
_MOST_DESCRIPTION = 255


class Place(NamedTuple):
    """A cell that is to have the thumbnail of an image file."""

    sheet: Any
    row: int
    image: str


def insert_thumbnails(places: Sequence[Place]) -> None:
    """Make the thumbnails, in threads, and put them into their cells; images that cannot be read have none.

    They move, and are hidden, with their rows.
    """
    for place, jpeg in zip(places, _jpegs([place.image for place in places]), strict=True):
        if jpeg is not None:
            options = {
                "image_data": io.BytesIO(jpeg),
                "object_position": 1,
                "x_offset": _GAP,
                "y_offset": _GAP,
                "description": without_controls(place.image.encode("utf-8", "replace").decode())[
                    :_MOST_DESCRIPTION
                ],
            }
            place.sheet.insert_image(place.row, 0, "thumbnail.jpg", options)


def _jpegs(paths: Sequence[str]) -> Iterator[bytes | None]:
    threads = available_cores()
    return (packed or None for packed in prefetch_map(_jpeg, paths, threads, threads * _PREFETCH))


def _jpeg(path: str) -> bytes:
    """A thumbnail, or nothing."""
    from clipcli.images.thumbnails import small_copy
    from clipcli.inputs.opening import content_of

    packed = io.BytesIO()
    try:
        small_copy(content_of(path), SIDE).save(packed, "JPEG", quality=_QUALITY)
    except ImageError:
        return b""
    return packed.getvalue()
