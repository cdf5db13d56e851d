"""Converts any kind of pixels to 8-bit sRGB: transparency, CMYK, 16-bit grey, and colour profiles."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcli.records import Uint8Array

if TYPE_CHECKING:
    from PIL import ImageCms

_PIXELS_PER_PART = 2**20  # converted at a time where the conversion needs several copies
_SPACES = {  # the colour space of each Pillow mode
    **dict.fromkeys(("RGB", "RGBA", "RGBa", "P", "PA"), "RGB"),
    **dict.fromkeys(("1", "L", "LA", "La", "I", "I;16"), "GRAY"),
    "CMYK": "CMYK",
}
_INPUTS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # the Pillow mode of each colour space


def to_rgb(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Convert any mode to RGB: deep grey is scaled to 8 bits, transparency is composited on white.

    CMYK goes through its profile, if there is one. RGB and grey stay in their colour space; see `to_srgb`.
    """
    if image.mode.startswith(("I", "F")):
        return _deep_grey_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        return _composited_on_white(image)
    if image.mode == "CMYK" and profile:
        transform = _transform(profile, "CMYK")
        if transform is not None:
            return _applied(transform, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """Convert an RGB image from the colour space of an embedded ICC profile to sRGB.

    Args:
        image: the result of `to_rgb`, resized or not.
        profile: the file's own, if it has one. It is ignored if it is damaged or made for another mode.
        mode: the Pillow mode in which the file was stored.
    """
    space = _SPACES.get(mode)
    if not profile or space not in ("RGB", "GRAY"):
        return image
    transform = _transform(profile, space)
    if transform is None:
        return image
    return _applied(transform, image.getchannel(0) if space == "GRAY" else image)


@lru_cache(maxsize=64)
def _transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform | None:
    """A transform to sRGB with the intent that browsers use, or None if nothing is to be converted."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != space:
            return None
        if "sRGB" in (source.profile.profile_description or ""):
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, _INPUTS[space], "RGB", ImageCms.Intent.PERCEPTUAL)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only when converting in place
    return converted


def _composited_on_white(image: Image.Image) -> Image.Image:
    rgb = Image.new("RGB", image.size)
    for place, part in parts(image):
        rgba = (part.convert("LA") if part.mode == "La" else part).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        rgb.paste(Image.alpha_composite(white, rgba).convert("RGB"), place)
    return rgb


def _deep_grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit values by their full range, and floats within 0..1 by 255.

    Any other range is stretched from its lowest to its highest value. Values that are not finite become
    black, but +inf becomes white, and so does a value that the file calls transparent.
    """
    low, high = value_range(np.asarray(part) for _, part in parts(image))
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    transparent = image.info.get("transparency")
    grey = Image.new("L", image.size)
    for place, part in parts(image):
        values = np.asarray(part)
        shown = scaled_to_8_bits(values, low, high)
        if isinstance(transparent, int):
            shown[values == transparent] = 255
        grey.paste(Image.fromarray(shown), place)
    return grey


def value_range(arrays: Iterable[npt.NDArray[Any]]) -> tuple[float, float]:
    """The lowest and the highest finite value of some arrays, or zeros if there is none."""
    finite = (values[np.isfinite(values)] for values in arrays)
    ranges = [(float(values.min()), float(values.max())) for values in finite if values.size]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 0.0)


def scaled_to_8_bits(values: npt.NDArray[Any], low: float, high: float) -> Uint8Array:
    """Numbers of any type scaled linearly: `low` and below become 0, `high` and above 255, NaN 0."""
    if values.dtype in (np.uint8, np.uint16) and values.size > 2**16:
        every: Uint8Array = scaled_to_8_bits(np.arange(np.iinfo(values.dtype).max + 1), low, high)
        return every.take(values)
    known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (known - low) * (255.0 / max(high - low, 1e-12))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def parts(image: Image.Image) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """Parts of an image, each with its (left, top): copies of a whole large image would take gigabytes."""
    width = min(image.width, _PIXELS_PER_PART)
    height = max(1, _PIXELS_PER_PART // width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            box = (left, top, min(left + width, image.width), min(top + height, image.height))
            yield (left, top), image.crop(box)
