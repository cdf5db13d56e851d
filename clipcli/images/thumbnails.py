"""Small copies of images, for people to look at."""

from __future__ import annotations

from PIL import Image

from clipcli.images.decode import MAX_PIXELS, DecodeOptions, decode_whole
from clipcli.records import Preprocess


def small_copy(content: bytes | Image.Image, side: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image upright, in sRGB and without metadata, its longer side at most `side` pixels, never enlarged.

    Of a truncated image, what can be read.

    Raises:
        ImageError: it cannot be decoded.
    """
    recipe = Preprocess(size=(side, side), resize_mode="longest")
    image = decode_whole(content, recipe, DecodeOptions(max_pixels, truncated="ok"))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.info.clear()
    return image
