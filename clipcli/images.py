"""Image files to model pixels: decode, orient, flatten, resize, crop.

The result equals open_clip's own transform bit for bit (before normalisation), with four
deliberate differences where that transform loses information: EXIF orientation is applied,
transparency is composited on white, every image becomes RGB *before* resizing, and 16-bit grey
is scaled instead of clipped. Of images longer than 16 times their width (or the reverse), only the
part that the crop shows is resized, which may round differently.
"""

from __future__ import annotations

import io
import math
import stat
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from clipcli.errors import ImageError
from clipcli.records import Preprocess, Uint8Array

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"}
)
"""What a folder is searched for. A file named by the user is tried whatever its suffix."""

MAX_PIXELS = 2**28
"""Larger images are refused before they are decoded: 268 megapixels, some 0.8 GB as RGB."""

MAX_BYTES = 2**31
"""Larger files are refused before they are read: 2.1 GB, more than `MAX_PIXELS` take up uncompressed."""

Image.MAX_IMAGE_PIXELS = None  # `_open` checks MAX_PIXELS itself, and says so in the image's row

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXTREME_ASPECT = 16  # beyond, resizing the whole image first would cost gigabytes
_NOT_RASTER = {b"%PDF": "a PDF is not a raster image", b"<svg": "an SVG is not a raster image"}
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # Pillow would run Ghostscript on it


def load_pixels(
    path: str, preprocess: Preprocess, max_pixels: int = MAX_PIXELS, exact: bool = True
) -> Uint8Array:
    """Read one image file as the model wants it.

    Args:
        path: the file; its content decides the format, not its suffix.
        preprocess: the model's recipe.
        max_pixels: images with more pixels are refused before decoding.
        exact: if False, a JPEG of at least twice the size that the model sees is decoded at a half,
            a quarter or an eighth of its size, never below twice what the model sees. That is
            several times faster, and moves the result by less than a change of resampling filter.

    Returns:
        (H, W, 3) uint8 RGB of `preprocess.size`.

    Raises:
        ImageError: the file is missing, unreadable, truncated, too large or not an image.
    """
    return decode(read_file(path), preprocess, max_pixels, exact)


def read_file(path: str) -> bytes:
    """Read a regular file; a pipe or device is refused, because reading one may never end."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"too large: {status.st_size / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB"
            )
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(getattr(error, "strerror", None) or str(error)) from None


def decode(
    data: bytes, preprocess: Preprocess, max_pixels: int = MAX_PIXELS, exact: bool = True
) -> Uint8Array:
    """Decode an encoded image; arguments, result and errors as in `load_pixels`."""
    if not data:
        raise ImageError("empty file")
    if data.startswith(_POSTSCRIPT):
        raise ImageError("a PostScript file is not a raster image")
    try:
        image = _open(data, max_pixels)
        if not exact:
            _reduce(image, preprocess)
        image.load()
        return np.asarray(resize(to_rgb(_upright(image)), preprocess))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(_unidentified_reason(data)) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise ImageError(f"damaged image: {error or type(error).__name__}") from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > max_pixels:
        megapixels = image.width * image.height / 1e6
        raise ImageError(
            f"too large: {image.width}x{image.height} is {megapixels:.0f} megapixels,"
            f" the limit is {max_pixels / 1e6:.0f}"
        )
    return image


def _reduce(image: Image.Image, preprocess: Preprocess) -> None:
    """Let a JPEG decode itself at a fraction of its size, at least twice that of the picture in the crop."""
    height, width = preprocess.size
    pick = max if preprocess.resize_mode == "longest" else min
    ratio = pick(image.width / width, image.height / height) / 2
    if ratio >= 2:
        image.draft(None, (math.ceil(image.width / ratio), math.ceil(image.height / ratio)))


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF is no reason to lose the picture."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as in `decode`
        return image
    method = _TRANSPOSITIONS.get(orientation or 1)
    return image if method is None else image.transpose(method)


def _unidentified_reason(data: bytes) -> str:
    head = data[:1024].lstrip()
    for mark, reason in _NOT_RASTER.items():
        if head.startswith(mark) or (head.startswith(b"<?xml") and mark in head):
            return reason
    return "not an image file, or a format that is not supported"


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: deep grey scaled to 8 bits, transparency composited on white."""
    if image.mode.startswith(("I", "F")):
        return _deep_grey_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit by its full range, floats within 0..1 by 255; other ranges from lowest to highest value.

    What is not finite (no value at this pixel, say) is black, or white for +inf.
    """
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (known - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def resize(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Resize and crop or pad an RGB image to `preprocess.size`, as `open_clip.transform` does."""
    height, width = preprocess.size
    resampling = _resampling(preprocess)
    if preprocess.resize_mode == "squash":
        return image.resize((width, height), resampling)
    if preprocess.resize_mode == "longest":
        return _resize_longest(image, preprocess)
    if max(image.size) > _EXTREME_ASPECT * min(image.size):
        return image.resize((width, height), resampling, box=_crop_box(image, preprocess))
    return _center_crop(image.resize(_shortest_size(image, preprocess), resampling), (width, height))


def _resampling(preprocess: Preprocess) -> Image.Resampling:
    """open_clip's choice: bicubic, or bilinear, which `shortest` ignores where the target is not square."""
    square = preprocess.size[0] == preprocess.size[1]
    if preprocess.interpolation == "bilinear" and (square or preprocess.resize_mode != "shortest"):
        return Image.Resampling.BILINEAR
    return Image.Resampling.BICUBIC


def _shortest_size(image: Image.Image, preprocess: Preprocess) -> tuple[int, int]:
    """Size (width, height) at which the shortest edge fits; rounding as torchvision and open_clip do."""
    height, width = preprocess.size
    if height == width:
        short, long = sorted(image.size)
        fitted = (width, int(width * long / short))
        return fitted if image.width <= image.height else (fitted[1], fitted[0])
    ratio = min(image.height / height, image.width / width)
    return round(image.width / ratio), round(image.height / ratio)


def _center_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, top = _crop_offset(image.size, size)
    return image.crop((left, top, left + size[0], top + size[1]))


def _crop_offset(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """(left, top) of a centred crop, both sizes as (width, height); rounding as torchvision does."""
    return round((size[0] - crop[0]) / 2.0), round((size[1] - crop[1]) / 2.0)


def _crop_box(image: Image.Image, preprocess: Preprocess) -> tuple[float, float, float, float]:
    """The part of the source that the centre crop shows: (left, top, right, bottom)."""
    height, width = preprocess.size
    fitted = _shortest_size(image, preprocess)
    left, top = _crop_offset(fitted, (width, height))
    across, down = image.width / fitted[0], image.height / fitted[1]
    return left * across, top * down, (left + width) * across, (top + height) * down


def _resize_longest(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Fit the longest edge and centre the picture on `fill_color`."""
    height, width = preprocess.size
    ratio = max(image.height / height, image.width / width)
    size = max(1, round(image.width / ratio)), max(1, round(image.height / ratio))
    fitted = image.resize(size, _resampling(preprocess))
    if size == (width, height):
        return fitted
    fill = (preprocess.fill_color,) * 3
    canvas = Image.new("RGB", (width, height), fill)
    canvas.paste(fitted, ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas
