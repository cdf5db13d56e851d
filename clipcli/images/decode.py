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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from clipcli.choices import Truncated
from clipcli.errors import ImageError, UsageError
from clipcli.images import tiff
from clipcli.images.color import to_rgb, to_srgb
from clipcli.images.declared import as_declared
from clipcli.images.loading import JPEGS, load
from clipcli.images.memory import BUDGET, bytes_needed, bytes_needed_by, check_size, size_before_opening
from clipcli.images.metadata import check_properties, large_profile, without_metadata
from clipcli.images.reasons import as_image_errors
from clipcli.images.resize import EXTREME_ASPECT, enlarges, resize
from clipcli.images.tiff_directory import (
    BIG_ENDIAN_BIG_TIFF,
    check_samples,
    directory,
    is_usual,
    stored_profile,
    without_other_tags,
)
from clipcli.libraries import pixel_libraries
from clipcli.records import Jpeg, Preprocess, Uint8Array

MAX_PIXELS = 2**28
"""Larger images are refused before they are decoded: see `clipcli.images.memory`."""

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
_LARGEST_FOR_GPU = 2**20  # bytes
_MOST_BYTES_PER_PIXEL = 32  # four samples of 64 bits
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_HUFFMAN_TABLES = b"\xff\xc4"  # the marker of their segment


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
        gpu = "-gpu2" if self.on_gpu else ""  # before, images that are enlarged were decoded there too
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
        with _decoded(content, preprocess, options) as (image, full_size, profile, mode):
            resized = resize(image, preprocess, full_size)
        return np.asarray(to_srgb(resized, profile, mode))
    with as_image_errors():
        check_size(content.size, options.max_pixels)
        profile = content.info.get("icc_profile")
        resized = resize(to_rgb(_upright(content), profile), preprocess)
        return np.asarray(to_srgb(resized, profile, content.mode))


def decode_whole(
    content: bytes | Image.Image, preprocess: Preprocess, options: DecodeOptions = DEFAULT
) -> Image.Image:
    """Decode an image as `decode` does, upright and in sRGB, but do not resize it.

    Unless `options.exact`, a large JPEG is decoded at reduced size, but never below twice the size that the
    model sees.
    """
    if isinstance(content, bytes):
        with _decoded(content, preprocess, options) as (image, _, profile, mode):
            return to_srgb(image, profile, mode)
    with as_image_errors():
        check_size(content.size, options.max_pixels)
        profile = content.info.get("icc_profile")
        return to_srgb(to_rgb(_upright(content), profile), profile, content.mode)


def ordinary_jpeg(data: bytes, preprocess: Preprocess, options: DecodeOptions = DEFAULT) -> Jpeg | None:
    """The file as a `Jpeg` if it is complete and ordinary enough for a GPU to decode, else None.

    Not ordinary are CMYK, colours stored as RGB, several images in one file, extreme shapes, whatever
    `decode` refuses by its first bytes, images that the model sees enlarged (a GPU's coarser colours would
    show, and a CPU is fast with them), and files above 1 MB: many of them would wait for the GPU in
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
    if not getattr(image, "quantization", None) or _HUFFMAN_TABLES not in data:
        return None  # a GPU takes tables from elsewhere and says nothing
    if max(image.size) > EXTREME_ASPECT * min(image.size) or enlarges(image.size, preprocess):
        return None
    return Jpeg(data, math.prod(image.size), image.mode, image.info.get("icc_profile"))


def _component_names(image: Image.Image) -> bytes:
    """The names of a JPEG's channels: 1, 2, 3 in most files, RGB if the colours were not converted."""
    return bytes(name for name, *_ in getattr(image, "layer", ()))


# --- Opening and decoding ------------------------------------------------------------------------


@lru_cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that Pillow can read here, with its plug-ins."""
    Image.init()
    with contextlib.suppress(Exception):  # that a plug-in cannot be loaded is said where an image needs it
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return [name for name in _FORMATS if name in Image.OPEN]


class _Stored(NamedTuple):
    """An image as its file has it, decoded, with its size before it was reduced."""

    image: Image.Image
    image_format: str | None
    mode: str
    full_size: tuple[int, int]


class _Decoded(NamedTuple):
    """An upright image, RGB but for its profile, with its size before it was reduced and its stored mode."""

    image: Image.Image
    full_size: tuple[int, int]
    profile: bytes | None
    mode: str


@contextlib.contextmanager
def _decoded(data: bytes, preprocess: Preprocess, options: DecodeOptions) -> Iterator[_Decoded]:
    """An image and, within the context, the memory that it needs.

    What fails is tried again without its metadata, unless it is too large.
    """
    with as_image_errors(data, _formats()), contextlib.ExitStack() as memory:
        try:
            decoded = _decode_file(data, preprocess, options, memory)
        except (ImageError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception:
            bare = without_metadata(data)
            if bare == data:
                raise
            memory.close()
            decoded = _decode_file(bare, preprocess, options, memory)
            decoded = decoded._replace(profile=decoded.profile or large_profile(data))
        yield decoded


def _decode_file(
    data: bytes, preprocess: Preprocess, options: DecodeOptions, memory: contextlib.ExitStack
) -> _Decoded:
    if data.startswith(BIG_ENDIAN_BIG_TIFF):  # which Pillow cannot open
        data = without_other_tags(data)
    stored = _deep_tiff(data, options, memory) or _by_pillow(data, preprocess, options, memory)
    check_properties(stored.image, stored.image_format)
    image = as_declared(stored.image, stored.image_format, data)
    profile = stored_profile(data) or image.info.get("icc_profile")
    upright = _upright(image)
    full_size = stored.full_size[::-1] if upright.size != image.size else stored.full_size
    return _Decoded(to_rgb(upright, profile), full_size, profile, stored.mode)


def _by_pillow(
    data: bytes, preprocess: Preprocess, options: DecodeOptions, memory: contextlib.ExitStack
) -> _Stored:
    declared = size_before_opening(data)
    if declared is not None:
        check_size(declared.size, options.max_pixels)
        memory.enter_context(BUDGET.of(bytes_needed(*declared)))
    image = _open(data, options.max_pixels)
    mode, size = image.mode, image.size
    box = None if options.exact else _draft(image, preprocess)
    if declared is None:
        memory.enter_context(BUDGET.of(bytes_needed_by(image, size)))
    loaded = load(image, data, box, options.truncated)
    return _Stored(loaded, image.format, mode, size if box else loaded.size)


def _deep_tiff(data: bytes, options: DecodeOptions, memory: contextlib.ExitStack) -> _Stored | None:
    """A TIFF that Pillow would refuse or misread; None for all other files."""
    found = directory(data)
    layout = None if found is None or is_usual(found) else tiff.layout(found)
    if found is None or layout is None:
        check_samples(found)
        return None
    check_size(layout.size, options.max_pixels)
    if layout.bytes_of_samples > _MOST_BYTES_PER_PIXEL * options.max_pixels:  # a tile or samples without end
        raise ImageError(f"too large: its samples take {layout.bytes_of_samples / 1e9:.1f} GB")
    memory.enter_context(BUDGET.of(layout.bytes_needed))

    def load_bytes(file: bytes) -> Image.Image:
        return load(Image.open(io.BytesIO(file), formats=["TIFF"]), file, None, options.truncated)

    image = tiff.decoded(data, found, layout, load_bytes)
    return _Stored(image, "TIFF", image.mode, image.size)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_formats())
    check_size(image.size, max_pixels)
    return image


def _draft(image: Image.Image, preprocess: Preprocess) -> tuple[float, ...] | None:
    """Have a JPEG decoded at a fraction of its size, if possible; returns the box that will hold it."""
    if image.format not in JPEGS:  # a HEIC would be replaced by its thumbnail
        return None
    drafted = image.draft(None, _least_size(image.size, preprocess))
    return drafted[1] if drafted else None


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
