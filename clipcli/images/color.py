"""Any kind of pixels to 8-bit sRGB: transparency, inks, deep grey, and colour profiles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_PIXELS_PER_PART = 2**20  # pixels converted at a time where that takes several copies
_SPACES = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "PA": "RGB", "L": "GRAY", "LA": "GRAY", "CMYK": "CMYK"}
_INPUTS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # the mode that a transform from a space takes


def to_rgb(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Any mode to RGB: deep grey scaled to 8 bits, transparency composited on white.

    Inks go through their profile, if there is one; colours stay in the space they are in, see `to_srgb`.
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
    """From the colours of an embedded ICC profile to sRGB; RGB in, RGB out.

    Args:
        image: what `to_rgb` made, resized or not.
        profile: the file's own, if it has one. A damaged one, or one for other modes, is ignored.
        mode: the mode that the file was stored in.
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
    """To sRGB with the intent that browsers use, or None where there is nothing to convert."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != space:
            return None
        if "sRGB" in (source.profile.profile_description or ""):
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, _INPUTS[space], "RGB", ImageCms.Intent.PERCEPTUAL)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None for conversions in place only
    return converted


def _composited_on_white(image: Image.Image) -> Image.Image:
    rgb = Image.new("RGB", image.size)
    for place, part in _parts(image):
        rgba = part.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        rgb.paste(Image.alpha_composite(white, rgba).convert("RGB"), place)
    return rgb


def _deep_grey_to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit by its full range, floats within 0..1 by 255; other ranges from lowest to highest value.

    What is not finite (no value at this pixel, say) is black, or white for +inf.
    """
    low, high = _finite_range(image)
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    grey = Image.new("L", image.size)
    for place, part in _parts(image):
        values = np.asarray(part).astype(np.float64)
        known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        scaled = (known - low) * (255.0 / max(high - low, 1e-12))
        grey.paste(Image.fromarray(np.rint(scaled).astype(np.uint8)), place)
    return grey


def _finite_range(image: Image.Image) -> tuple[float, float]:
    """(lowest, highest) finite value, or zeros where there is none."""
    parts = (np.asarray(part) for _, part in _parts(image))
    finite = (values[np.isfinite(values)] for values in parts)
    ranges = [(float(values.min()), float(values.max())) for values in finite if values.size]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 0.0)


def _parts(image: Image.Image) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """(left and top, part), row by row: with copies of the whole, a large image would take gigabytes."""
    width = min(image.width, _PIXELS_PER_PART)
    height = max(1, _PIXELS_PER_PART // width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            box = (left, top, min(left + width, image.width), min(top + height, image.height))
            yield (left, top), image.crop(box)
