"""From an image file to the pixels that a model expects: decode, turn upright, convert to sRGB, resize, crop.

The result equals that of open_clip's own transform, bit for bit (before normalisation), with five
deliberate differences where that transform loses information: EXIF orientation is applied, transparency
is composited on white, every image becomes RGB *before* it is resized, 16-bit grey is scaled instead of
clipped, and colours of an embedded profile other than sRGB are converted to sRGB. Of an image that is more
than 16 times as long as wide (or the reverse), only the part that the crop shows is resized, which may
round differently.
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
from clipcli.images.resize import EXTREME_ASPECT, resize
from clipcli.libraries import pixel_libraries
from clipcli.records import Jpeg, Preprocess, Uint8Array

MAX_PIXELS = 2**28
"""Larger images are refused before they are decoded: 268 megapixels, some 0.8 GB as RGB."""

PIXELS_VERSION = 3
"""Increase it when the same file gives other pixels, so that features in the cache are not used any more."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
            but never below twice the size that the model sees. That is several times faster, and changes
            the result less than another resampling filter would.
        truncated: `ok` uses the part of a damaged image that can be read, instead of refusing the image.
        on_gpu: decode ordinary JPEGs on the GPU that encodes them; see `clipcli.models.nvjpeg`.

    Raises:
        UsageError: a value is out of range, or two options exclude each other.
    """

    max_pixels: int = MAX_PIXELS
    exact: bool = False
    truncated: Truncated = "error"
    on_gpu: bool = False

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"`max_pixels` must be at least 1, not {self.max_pixels}")
        if self.truncated not in ("error", "ok"):
            raise UsageError(f"`truncated` must be error or ok, not {self.truncated}")
        if self.exact and self.on_gpu:
            raise UsageError("`exact` and `on_gpu` exclude each other: a GPU rounds differently")

    @property
    def cache_suffix(self) -> str:
        """Tells apart, in the cache, options that can give an image other pixels or make it unreadable."""
        limit = "" if self.max_pixels == MAX_PIXELS else f"-max{self.max_pixels}"
        exact, partial = "-exact" if self.exact else "", "-partial" if self.truncated == "ok" else ""
        gpu = "-gpu" if self.on_gpu else ""
        return f"-pixels{PIXELS_VERSION}-{pixel_libraries()}{exact}{partial}{gpu}{limit}"


DEFAULT = DecodeOptions()


def decode(
    content: bytes | Image.Image, preprocess: Preprocess, options: DecodeOptions = DEFAULT
) -> Uint8Array:
    """Decode an encoded image as the model wants it.

    Args:
        content: a file's content, which decides the format; or an image that is decoded already.
        preprocess: the model's recipe.
        options: limits, and how exact.

    Returns:
        (H, W, 3) uint8 RGB of `preprocess.size`.

    Raises:
        ImageError: it is truncated, damaged, too large or not an image.
    """
    if isinstance(content, bytes):
        return _decode_bytes(content, preprocess, options)
    with _as_image_errors():
        _check_size([content.size], options.max_pixels)
        profile = content.info.get("icc_profile")
        resized = resize(to_rgb(_upright(content), profile), preprocess)
        return np.asarray(to_srgb(resized, profile, content.mode))


def _decode_bytes(data: bytes, preprocess: Preprocess, options: DecodeOptions) -> Uint8Array:
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
    """Decode an encoded image as `decode` does, upright and in sRGB, but do not resize it.

    Unless `options.exact`, a large JPEG is decoded at reduced size, but never below twice the size that the
    model sees.
    """
    with _as_image_errors(data):
        image = _open(data, options.max_pixels)
        profile, mode = image.info.get("icc_profile"), image.mode
        box = None if options.exact else _draft(image, preprocess)
        with _BUDGET.of(image.width * image.height):
            rgb = to_rgb(_upright(_load(image, data, box, options.truncated)), profile)
        return to_srgb(rgb, profile, mode)


def ordinary_jpeg(data: bytes, options: DecodeOptions = DEFAULT) -> Jpeg | None:
    """The file as a `Jpeg` if it is complete and ordinary enough for a GPU to decode, else None.

    Not ordinary are CMYK, colours stored as RGB, several images in one file, extreme shapes, whatever
    `decode` refuses by its first bytes, and files above 1 MB: many of them would wait for the GPU in
    memory, and decoding them at reduced size on the CPU is the better way.
    """
    if len(data) > _LARGEST_FOR_GPU or not (data.startswith(_JPEG_START) and data.endswith(_JPEG_END)):
        return None
    try:
        image = _open(data, options.max_pixels)
    except Exception:  # `decode` will say what is wrong
        return None
    usual_colours = image.mode in ("L", "RGB") and image.info.get("adobe_transform", 1) == 1
    if image.format != "JPEG" or not usual_colours or _component_names(image) == b"RGB":
        return None
    if max(image.size) > EXTREME_ASPECT * min(image.size):
        return None
    return Jpeg(data, math.prod(image.size), image.mode, image.info.get("icc_profile"))


def _component_names(image: Image.Image) -> bytes:
    """The names of a JPEG's channels: 1, 2, 3 in most files, RGB if the colours were not converted."""
    return bytes(name for name, *_ in getattr(image, "layer", ()))


@contextlib.contextmanager
def _as_image_errors(data: bytes | None = None) -> Iterator[None]:
    """Whatever goes wrong with an image, or with the file of this content, becomes an `ImageError`."""
    if data == b"":
        raise ImageError("empty file")
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(_unidentified_reason(data or b"")) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise ImageError(f"damaged image: {error or type(error).__name__}") from None


class _Budget:
    """An amount that threads share. A thread that needs more than all of it waits until no other has any."""

    def __init__(self, amount: int) -> None:
        self._amount, self._held = amount, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, amount: int) -> Iterator[None]:
        """Wait until this much is free, and keep it within the context."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + amount <= self._amount)
            self._held += amount
        try:
            yield
        finally:
            with self._changed:
                self._held -= amount
                self._changed.notify_all()


_BUDGET = _Budget(MAX_PIXELS)  # pixels that all threads together decode at a time


# --- Opening and decoding ------------------------------------------------------------------------


@lru_cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that Pillow can read here, with its plug-ins."""
    Image.init()
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return [name for name in _FORMATS if name in Image.OPEN]


def _open(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_formats())
    _check_size([image.size, *(_icon_sizes(data) if image.format == "ICO" else ())], max_pixels)
    return image


def _check_size(sizes: list[tuple[int, int]], max_pixels: int) -> None:
    width, height = max(sizes, key=math.prod)
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width}x{height} is {width * height / 1e6:.0f} megapixels,"
            f" the limit is {max_pixels / 1e6:.0f}"
        )


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes in the headers of an icon's images; the icon's own list of sizes may state smaller ones."""
    (count,) = struct.unpack_from("<H", data, 4)
    for (offset,) in struct.iter_unpack("<12xI", data[6 : 6 + 16 * count]):
        part = data[offset : offset + 24]
        if part.startswith(b"\x89PNG") and len(part) == 24:
            yield struct.unpack_from(">II", part, 16)
        elif len(part) == 24:
            width, height = struct.unpack_from("<ii", part, 4)
            yield abs(width), abs(height)


def _draft(image: Image.Image, preprocess: Preprocess) -> tuple[float, ...] | None:
    """Have a JPEG decoded at a fraction of its size, if possible; returns the box that will hold it."""
    drafted = image.draft(None, _least_size(image.size, preprocess))
    return drafted[1] if drafted else None


def _load(
    image: Image.Image, data: bytes, box: tuple[float, ...] | None, truncated: Truncated
) -> Image.Image:
    """Decode; of an image that is decoded at a fraction of its size, only `box` is part of the image."""
    try:
        image.load()
    except OSError as error:
        if truncated == "error":
            raise
        _keep_what_was_read(image, data, error)
    if box is None or box[2:] == image.size:
        return image
    whole = round(box[2]), round(box[3])  # the last row or column may lie partly beyond the image
    return image.resize(whole, Image.Resampling.BICUBIC, (box[0], box[1], box[2], box[3]))


def _keep_what_was_read(image: Image.Image, data: bytes, error: OSError) -> None:
    """After decoding failed, turn the image into the part that was decoded until then.

    Raises:
        OSError: `error`, if that part shows nothing but one colour.
    """
    assert isinstance(image, ImageFile.ImageFile)
    if image.format in ("JPEG", "MPO"):
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


def _least_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The smallest (width, height) at which an image of this size may be decoded, turned or not."""
    height, width = preprocess.size
    pick = max if preprocess.resize_mode == "longest" else min
    upright = pick(size[0] / width, size[1] / height)
    turned = pick(size[0] / height, size[1] / width)  # EXIF may ask for this once the image is decoded
    ratio = max(1.0, min(upright, turned) / 2)
    return math.ceil(size[0] / ratio), math.ceil(size[1] / ratio)


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. Damaged EXIF is ignored."""
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
