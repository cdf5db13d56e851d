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
        exact: if False, a JPEG of at least four times the size that the model sees is decoded at a
            half, a quarter or an eighth of its size, never below twice what the model sees. That is
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
        image, size = _load(_open(data, max_pixels), preprocess, exact)
        upright = _upright(image)
        turned = upright.size != image.size
        return np.asarray(resize(to_rgb(upright), preprocess, size[::-1] if turned else size))
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


def _load(image: Image.Image, preprocess: Preprocess, exact: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, unless `exact` with a JPEG at a fraction of its size; returns the whole picture's size too.

    The fraction leaves at least twice what the model sees of the picture.
    """
    size = image.size
    drafted = None if exact else image.draft(None, _least_size(size, preprocess))
    image.load()
    box = drafted[1] if drafted else (0, 0, *image.size)
    if box[2:] == image.size:
        return image, size if drafted else image.size
    whole = round(box[2]), round(box[3])  # of a last row or column, a part lies beyond the picture
    return image.resize(whole, Image.Resampling.BICUBIC, box), size


def _least_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The (width, height) below which an image of this size, turned or not, may not be decoded."""
    height, width = preprocess.size
    pick = max if preprocess.resize_mode == "longest" else min
    upright = pick(size[0] / width, size[1] / height)
    turned = pick(size[0] / height, size[1] / width)  # as EXIF may say, once it is decoded
    ratio = max(1.0, min(upright, turned) / 2)
    return math.ceil(size[0] / ratio), math.ceil(size[1] / ratio)


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


def resize(image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None) -> Image.Image:
    """Resize and crop or pad an RGB image to `preprocess.size`, as `open_clip.transform` does.

    Where `image` is a reduced copy of the picture, `size` is (width, height) of the picture itself.
    """
    target = preprocess.size[1], preprocess.size[0]
    fitted = _fitted_size(size or image.size, preprocess)
    resampling = _resampling(preprocess)
    if preprocess.resize_mode == "shortest" and max(image.size) > _EXTREME_ASPECT * min(image.size):
        return image.resize(target, resampling, box=_crop_box(image.size, fitted, target))
    resized = image.resize(fitted, resampling)
    if preprocess.resize_mode == "longest":
        return _pad(resized, target, preprocess.fill_color)
    left, top = _crop_offset(fitted, target)
    return resized.crop((left, top, left + target[0], top + target[1]))


def _resampling(preprocess: Preprocess) -> Image.Resampling:
    """open_clip's choice: bicubic, or bilinear, which `shortest` ignores where the target is not square."""
    square = preprocess.size[0] == preprocess.size[1]
    if preprocess.interpolation == "bilinear" and (square or preprocess.resize_mode != "shortest"):
        return Image.Resampling.BILINEAR
    return Image.Resampling.BICUBIC


def _fitted_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """(width, height) before cropping or padding; rounding as torchvision and open_clip do."""
    height, width = preprocess.size
    if preprocess.resize_mode == "squash":
        return width, height
    if preprocess.resize_mode == "longest":
        ratio = max(size[1] / height, size[0] / width)
        return max(1, round(size[0] / ratio)), max(1, round(size[1] / ratio))
    if height == width:
        short, long = sorted(size)
        fitted = (width, int(width * long / short))
        return fitted if size[0] <= size[1] else (fitted[1], fitted[0])
    ratio = min(size[1] / height, size[0] / width)
    return round(size[0] / ratio), round(size[1] / ratio)


def _crop_offset(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """(left, top) of a centred crop; rounding as torchvision does."""
    return round((size[0] - crop[0]) / 2.0), round((size[1] - crop[1]) / 2.0)


def _crop_box(
    size: tuple[int, int], fitted: tuple[int, int], crop: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of the source that the centre crop shows: (left, top, right, bottom)."""
    left, top = _crop_offset(fitted, crop)
    across, down = size[0] / fitted[0], size[1] / fitted[1]
    return left * across, top * down, (left + crop[0]) * across, (top + crop[1]) * down


def _pad(image: Image.Image, target: tuple[int, int], fill_color: int) -> Image.Image:
    """Centre the picture on a canvas of one colour."""
    canvas = Image.new("RGB", target, (fill_color,) * 3)
    canvas.paste(image, ((target[0] - image.width) // 2, (target[1] - image.height) // 2))
    return canvas
