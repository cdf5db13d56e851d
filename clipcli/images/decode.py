"""Image files to model pixels: decode, orient, flatten, resize, crop.

The result equals open_clip's own transform bit for bit (before normalisation), with five
deliberate differences where that transform loses information: EXIF orientation is applied,
transparency is composited on white, every image becomes RGB *before* resizing, 16-bit grey
is scaled instead of clipped, and colours of an embedded profile other than sRGB become sRGB.
Of images longer than 16 times their width (or the reverse), only the part that the crop shows
is resized, which may round differently.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from clipcli.choices import Truncated
from clipcli.errors import ImageError, UsageError
from clipcli.images.color import to_rgb, to_srgb
from clipcli.records import Jpeg, Preprocess, Uint8Array

MAX_PIXELS = 2**28
"""Larger images are refused before they are decoded: 268 megapixels, some 0.8 GB as RGB."""

PIXELS_VERSION = 2
"""To be raised when the same file gives other pixels, so that the cache forgets what it knew."""

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
_FORMATS = (  # TGA last: it has no mark of its own
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB"),
    *("AVIF", "HEIF", "JPEG2000", "PPM", "QOI", "PCX", "ICO", "TGA"),
)
_NOT_IMAGES = {
    b"%PDF": "a PDF is not a raster image",
    b"%!PS": "a PostScript file is not a raster image",
    b"\xc5\xd0\xd3\xc6": "a PostScript file is not a raster image",
    b"<svg": "an SVG is not a raster image",
    b"<!doctype html": "a web page is not an image",
    b"<html": "a web page is not an image",
    b"PK\x03\x04": "an archive is not an image; unpack it first",
    b"\x1f\x8b": "an archive is not an image; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive is not an image; unpack it first",
    b"Rar!": "an archive is not an image; unpack it first",
}
_LARGEST_FOR_GPU = 2**20  # bytes
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class DecodeOptions:
    """How image files are read.

    Args:
        max_pixels: images with more pixels are refused before decoding.
        exact: decode every image at full size, as open_clip does. Otherwise a JPEG of at least four
            times the size that the model sees is decoded at a half, a quarter or an eighth of its size,
            never below twice what the model sees. That is several times faster, and moves the result by
            less than a change of resampling filter.
        truncated: `ok` uses what can be read of a damaged image, instead of refusing it.
        on_gpu: decode ordinary JPEGs on the GPU that encodes them, see `clipcli.models.nvjpeg`.

    Raises:
        UsageError: a value that cannot be, or two that exclude each other.
    """

    max_pixels: int = MAX_PIXELS
    exact: bool = False
    truncated: Truncated = "error"
    on_gpu: bool = False

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, not {self.max_pixels}")
        if self.truncated not in ("error", "ok"):
            raise UsageError(f"--truncated must be error or ok, not {self.truncated}")
        if self.exact and self.on_gpu:
            raise UsageError("--exact-decode and --gpu-decode exclude each other: a GPU rounds differently")

    @property
    def cache_suffix(self) -> str:
        """What decides which pixels an image has, or whether it has any."""
        limit = "" if self.max_pixels == MAX_PIXELS else f"-max{self.max_pixels}"
        exact, partial = "-exact" if self.exact else "", "-partial" if self.truncated == "ok" else ""
        gpu = "-gpu" if self.on_gpu else ""
        return f"-pixels{PIXELS_VERSION}{exact}{partial}{gpu}{limit}"


DEFAULT = DecodeOptions()


def decode(data: bytes, preprocess: Preprocess, options: DecodeOptions = DEFAULT) -> Uint8Array:
    """Decode an encoded image as the model wants it.

    Args:
        data: the file's content, which decides the format.
        preprocess: the model's recipe.
        options: limits, and how exact.

    Returns:
        (H, W, 3) uint8 RGB of `preprocess.size`.

    Raises:
        ImageError: it is truncated, damaged, too large or not an image.
    """
    with _as_image_errors(data):
        image = _open(data, options.max_pixels)
        profile, mode, size = image.info.get("icc_profile"), image.mode, image.size
        box = None if options.exact else _draft(image, preprocess)
        with _BUDGET.of(image.width * image.height):
            loaded = _load(image, data, box, options.truncated)
            upright = _upright(loaded)
            full_size = size if box else loaded.size
            turned = upright.size != loaded.size
            resized = resize(to_rgb(upright, profile), preprocess, full_size[::-1] if turned else full_size)
        return np.asarray(to_srgb(resized, profile, mode))


def decode_whole(data: bytes, preprocess: Preprocess, options: DecodeOptions = DEFAULT) -> Image.Image:
    """Decode an encoded image without resizing it: upright, RGB, sRGB; errors as in `decode`.

    Unless `options.exact`, a large JPEG is a reduced copy, never below twice what the model sees.
    """
    with _as_image_errors(data):
        image = _open(data, options.max_pixels)
        profile, mode = image.info.get("icc_profile"), image.mode
        box = None if options.exact else _draft(image, preprocess)
        with _BUDGET.of(image.width * image.height):
            rgb = to_rgb(_upright(_load(image, data, box, options.truncated)), profile)
        return to_srgb(rgb, profile, mode)


def ordinary_jpeg(data: bytes, options: DecodeOptions = DEFAULT) -> Jpeg | None:
    """The file if it is a whole JPEG, grey or of the usual colours, of a usual size and shape; else None.

    What is left out is inks, colours stored as RGB, several images in one file, all that `decode`
    refuses by its first bytes, and files above 1 MB: many of them would wait for the GPU in memory, and
    reduced decoding on the CPU suits them better.
    """
    if len(data) > _LARGEST_FOR_GPU or not (data.startswith(_JPEG_START) and data.endswith(_JPEG_END)):
        return None
    try:
        image = _open(data, options.max_pixels)
    except Exception:  # `decode` says what is wrong
        return None
    usual_colours = image.mode in ("L", "RGB") and image.info.get("adobe_transform", 1) == 1
    if image.format != "JPEG" or not usual_colours or _component_names(image) == b"RGB":
        return None
    if max(image.size) > _EXTREME_ASPECT * min(image.size):
        return None
    return Jpeg(data, math.prod(image.size), image.mode, image.info.get("icc_profile"))


def _component_names(image: Image.Image) -> bytes:
    """What a JPEG calls its channels: 1, 2, 3 in most, RGB where the colours were left as they are."""
    return bytes(name for name, *_ in getattr(image, "layer", ()))


@contextlib.contextmanager
def _as_image_errors(data: bytes) -> Iterator[None]:
    """Whatever goes wrong with this image becomes an `ImageError` with its reason."""
    if not data:
        raise ImageError("empty file")
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(_unidentified_reason(data)) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise ImageError(f"damaged image: {error or type(error).__name__}") from None


class _Budget:
    """Lets threads share an amount; more than all of it is granted when nobody else holds any."""

    def __init__(self, amount: int) -> None:
        self._amount, self._held = amount, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, amount: int) -> Iterator[None]:
        """Wait until this much is free, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + amount <= self._amount)
            self._held += amount
        try:
            yield
        finally:
            with self._changed:
                self._held -= amount
                self._changed.notify_all()


_BUDGET = _Budget(MAX_PIXELS)  # pixels decoded at a time, by all threads together


# --- Opening and decoding ------------------------------------------------------------------------


@lru_cache
def _formats() -> list[str]:
    """The formats of `_FORMATS` that this machine's Pillow can read, with those of its plug-ins."""
    Image.init()
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return [name for name in _FORMATS if name in Image.OPEN]


def _open(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_formats())
    sizes = [image.size, *(_icon_sizes(data) if image.format == "ICO" else ())]
    width, height = max(sizes, key=math.prod)
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width}x{height} is {width * height / 1e6:.0f} megapixels,"
            f" the limit is {max_pixels / 1e6:.0f}"
        )
    return image


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes that the images in an icon give themselves; its own list of them may say less."""
    (count,) = struct.unpack_from("<H", data, 4)
    for (offset,) in struct.iter_unpack("<12xI", data[6 : 6 + 16 * count]):
        part = data[offset : offset + 24]
        if part.startswith(b"\x89PNG") and len(part) == 24:
            yield struct.unpack_from(">II", part, 16)
        elif len(part) == 24:
            width, height = struct.unpack_from("<ii", part, 4)
            yield abs(width), abs(height)


def _draft(image: Image.Image, preprocess: Preprocess) -> tuple[float, ...] | None:
    """Let a JPEG be decoded at a fraction of its size; returns the part that holds the image."""
    drafted = image.draft(None, _least_size(image.size, preprocess))
    return drafted[1] if drafted else None


def _load(
    image: Image.Image, data: bytes, box: tuple[float, ...] | None, truncated: Truncated
) -> Image.Image:
    """Decode; what is left of an image decoded at a fraction of its size is `box`."""
    try:
        image.load()
    except OSError as error:
        if truncated == "error":
            raise
        _keep_what_was_read(image, data, error)
    if box is None or box[2:] == image.size:
        return image
    whole = round(box[2]), round(box[3])  # of a last row or column, a part lies beyond the image
    return image.resize(whole, Image.Resampling.BICUBIC, (box[0], box[1], box[2], box[3]))


def _keep_what_was_read(image: Image.Image, data: bytes, error: OSError) -> None:
    """After decoding failed, make the image what was decoded until then.

    Raises:
        OSError: the error given, where that is nothing but one colour.
    """
    assert isinstance(image, ImageFile.ImageFile)
    if image.format in ("JPEG", "MPO"):
        image.fp = io.BytesIO(data + _JPEG_END)  # the decoder then gives what it has of a progressive JPEG
    else:
        image.tile = []
    try:
        image.load()
        extrema = image.getextrema()
    except (OSError, ValueError):
        raise error from None
    if all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else (extrema,))):
        raise error


def _least_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The (width, height) below which an image of this size, turned or not, may not be decoded."""
    height, width = preprocess.size
    pick = max if preprocess.resize_mode == "longest" else min
    upright = pick(size[0] / width, size[1] / height)
    turned = pick(size[0] / height, size[1] / width)  # as EXIF may say, once it is decoded
    ratio = max(1.0, min(upright, turned) / 2)
    return math.ceil(size[0] / ratio), math.ceil(size[1] / ratio)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF is no reason to lose the image."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as in `decode`
        return image
    method = _TRANSPOSITIONS.get(orientation or 1)
    return image if method is None else image.transpose(method)


def _unidentified_reason(data: bytes) -> str:
    head = data[:1024].lstrip().lower()
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIC needs a plug-in: pip install 'clipcli[heif]'"
    for mark, reason in _NOT_IMAGES.items():
        if head.startswith(mark.lower()) or (head.startswith(b"<?xml") and mark in head):
            return reason
    return "not an image file, or a format that is not supported"


# --- Size ----------------------------------------------------------------------------------------


def resize(image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None) -> Image.Image:
    """Resize and crop or pad an RGB image to `preprocess.size`, as `open_clip.transform` does.

    Where `image` is a reduced copy of the image, `size` is (width, height) of the image itself.
    """
    target = preprocess.size[1], preprocess.size[0]
    fitted = fitted_size(size or image.size, preprocess)
    resampling = resampling_of(preprocess)
    if preprocess.resize_mode == "shortest" and max(image.size) > _EXTREME_ASPECT * min(image.size):
        return image.resize(target, resampling, box=_crop_box(image.size, fitted, target))
    resized = image.resize(fitted, resampling)
    if preprocess.resize_mode == "longest":
        return _pad(resized, target, preprocess.fill_color)
    left, top = crop_offset(fitted, target)
    return resized.crop((left, top, left + target[0], top + target[1]))


def resize_part(
    image: Image.Image, box: tuple[float, float, float, float], preprocess: Preprocess
) -> Image.Image:
    """Bring the part `box` (left, top, right, bottom) of an RGB image to `preprocess.size`, for training.

    As torchvision's `RandomResizedCrop` the part is stretched to the size; a model that sees whole
    images on a canvas (`longest`) gets the part on a canvas, in its proportions.
    """
    if preprocess.resize_mode == "longest":
        left, top, right, bottom = map(round, box)
        return resize(image.crop((left, top, max(right, left + 1), max(bottom, top + 1))), preprocess)
    target = preprocess.size[1], preprocess.size[0]
    return image.resize(target, resampling_of(preprocess), box=box)


def resampling_of(preprocess: Preprocess) -> Image.Resampling:
    """open_clip's choice: bicubic, or bilinear, which `shortest` ignores where the target is not square."""
    square = preprocess.size[0] == preprocess.size[1]
    if preprocess.interpolation == "bilinear" and (square or preprocess.resize_mode != "shortest"):
        return Image.Resampling.BILINEAR
    return Image.Resampling.BICUBIC


def fitted_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
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


def crop_offset(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """(left, top) of a centred crop; rounding as torchvision does."""
    return round((size[0] - crop[0]) / 2.0), round((size[1] - crop[1]) / 2.0)


def _crop_box(
    size: tuple[int, int], fitted: tuple[int, int], crop: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of the source that the centre crop shows: (left, top, right, bottom)."""
    left, top = crop_offset(fitted, crop)
    across, down = size[0] / fitted[0], size[1] / fitted[1]
    return left * across, top * down, (left + crop[0]) * across, (top + crop[1]) * down


def _pad(image: Image.Image, target: tuple[int, int], fill_color: int) -> Image.Image:
    """Centre the image on a canvas of one colour."""
    canvas = Image.new("RGB", target, (fill_color,) * 3)
    canvas.paste(image, ((target[0] - image.width) // 2, (target[1] - image.height) // 2))
    return canvas
