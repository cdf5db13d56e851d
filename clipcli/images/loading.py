"""Pixels out of an image that is open: all of them, or those that a damaged file still has."""

from __future__ import annotations

import io

from PIL import Image, ImageFile

from clipcli.choices import Truncated
from clipcli.images.complaints import libtiff_complaints
from clipcli.images.tiff_directory import read_as_declared

JPEGS = ("JPEG", "MPO")
"""Formats that are decoded at a fraction of their size, and partly."""

_JPEG_END = b"\xff\xd9"


def load(image: Image.Image, data: bytes, box: tuple[float, ...] | None, truncated: Truncated) -> Image.Image:
    """Decode; of an image that is decoded at a fraction of its size, only `box` is part of the image."""
    try:
        _load_all(image)
    except OSError as error:
        if truncated == "error":
            raise
        _keep_what_was_read(image, data, error)
    if box is None or box[2:] == image.size:
        return image
    whole = round(box[2]), round(box[3])  # the last row or column may lie partly beyond the image
    return image.resize(whole, Image.Resampling.BICUBIC, (box[0], box[1], box[2], box[3]))


def _load_all(image: Image.Image) -> None:
    """Decode, or raise what the decoder had to say; libtiff says it and goes on."""
    if image.format != "TIFF":
        image.load()
        return
    read_as_declared(image)
    with libtiff_complaints() as complaints:
        try:
            image.load()
        except OSError as error:
            raise OSError("; ".join(complaints)) if complaints else error from None
    if complaints:
        raise OSError("; ".join(complaints))


def _keep_what_was_read(image: Image.Image, data: bytes, error: OSError) -> None:
    """After decoding failed, turn the image into the part that was decoded until then.

    Raises:
        OSError: `error`, if that part shows nothing but one colour.
    """
    assert isinstance(image, ImageFile.ImageFile)
    if image.format in JPEGS:
        image.fp = io.BytesIO(data + _JPEG_END)  # gives what there is of a progressive JPEG
    else:
        image.tile = []
    try:
        image.load()
        extrema = image.getextrema()
    except (OSError, ValueError):
        raise error from None
    if all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else (extrema,))):
        raise error
