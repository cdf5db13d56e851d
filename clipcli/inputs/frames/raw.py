"""Camera RAW files, through LibRaw: the image that the camera put into them, or one made of their data."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from clipcli.errors import ImageError
from clipcli.images.decode import MAX_PIXELS
from clipcli.images.memory import check_size
from clipcli.inputs.frames.parts import PartItem
from clipcli.inputs.item import MAX_BYTES, FileItem
from clipcli.inputs.streams import opened
from clipcli.records import Item

if TYPE_CHECKING:
    from PIL import Image

_LEAST_SIDE = 448  # pixels: what the largest models see. A smaller preview would be enlarged for them
_SRGB_GAMMA = (2.4, 12.92)
_ORIENTATION = 274  # the tag of EXIF and TIFF
_EXIF_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # of LibRaw's flips 0 to 7
_SWAPPING = (5, 6, 7, 8)  # orientations that swap width and height
_APPLICATION_MARKERS = (*range(0xE0, 0xF0), 0xFE)
_BYTES = re.compile("[\udc80-\udcff]")  # as Python keeps those that are no text
_DEMOSAICS = threading.BoundedSemaphore(4)  # at once: each takes some hundred megabytes


def read_part(part: PartItem) -> bytes | Image.Image:
    """The image of a RAW file: its embedded preview, or else its data, made an image at half the size.

    The preview is used if its shorter side has at least 448 pixels, as many as the largest models see: it is
    what the camera's maker or the photographer made of the data.

    Raises:
        ImageError: it is damaged, or of a kind that LibRaw cannot read.
    """
    with _opened(part.whole) as raw:
        preview = _preview(raw)
        return _developed(raw) if preview is None else preview


# --- Previews ------------------------------------------------------------------------------------


def _preview(raw: Any) -> bytes | Image.Image | None:
    """The largest preview in a RAW file, with its orientation as EXIF; None if it is not large enough."""
    import rawpy

    try:
        found = raw.extract_thumb()
    except rawpy.LibRawError:  # there is none, or it cannot be read; then the data tell whether the file can
        return None
    if found.format == rawpy.ThumbFormat.JPEG:
        return _jpeg_preview(found.data, raw)
    return _bitmap_preview(found.data, raw) if found.format == rawpy.ThumbFormat.BITMAP else None


def _jpeg_preview(data: bytes, raw: Any) -> bytes | None:
    """As it is, unless its own orientation is missing or wrong."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "MPO"]) as image:
            size, stated = image.size, image.getexif().get(_ORIENTATION)
    except Exception:  # whatever Pillow raises of a damaged file
        return None
    if min(size) < _LEAST_SIDE:
        return None
    orientation = _orientation(size, raw, stated)
    return data if orientation == (stated or 1) else with_orientation(data, orientation)


def _bitmap_preview(pixels: Any, raw: Any) -> Image.Image | None:
    from PIL import Image

    image = Image.fromarray(pixels)
    if min(image.size) < _LEAST_SIDE:
        return None
    image.getexif()[_ORIENTATION] = _orientation(image.size, raw, None)
    return image


def _orientation(size: tuple[int, int], raw: Any, stated: int | None) -> int:
    """How a preview is to be turned, as EXIF says it: as it states, else as the RAW file does.

    LibRaw gives the RAW file's orientation to a preview that states none, though the camera may have turned
    it already; and some state that they are upright, though they are not. So the result must lie as the RAW
    image does, across or upright.
    """
    own = _EXIF_ORIENTATIONS[raw.sizes.flip]
    choices = [*([stated] if stated and stated in range(1, 9) else []), own, 1]
    across = _lies_across((raw.sizes.width, raw.sizes.height), own)
    fitting = (one for one in choices if across is None or _lies_across(size, one) == across)
    return next(fitting, choices[0])


def _lies_across(size: tuple[int, int], orientation: int) -> bool | None:
    """Whether an image is wider than high once it is turned; None of a square."""
    width, height = size[::-1] if orientation in _SWAPPING else size
    return None if width == height else width > height


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with this orientation as its only EXIF data."""
    from PIL import Image

    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    content = exif.tobytes()
    kept, at = [jpeg[:2], b"\xff\xe1", (len(content) + 2).to_bytes(2, "big"), content], 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1] in _APPLICATION_MARKERS:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 4 : at + 8] != b"Exif":
            kept.append(jpeg[at:end])
        at = end
    return b"".join([*kept, jpeg[at:]])


# --- Data ----------------------------------------------------------------------------------------


def _developed(raw: Any) -> Image.Image:
    """The data in sRGB with the camera's white balance, upright; at half the size where that is enough."""
    from PIL import Image
    from rawpy import ColorSpace

    width, height = raw.sizes.width, raw.sizes.height
    check_size((width, height), MAX_PIXELS)
    with _DEMOSAICS:
        pixels = raw.postprocess(
            half_size=min(width, height) >= 2 * _LEAST_SIDE,
            use_camera_wb=True,
            output_color=ColorSpace.sRGB,
            gamma=_SRGB_GAMMA,
            output_bps=8,
        )
    return Image.fromarray(pixels.squeeze())


# --- Opening -------------------------------------------------------------------------------------


@contextmanager
def _opened(item: Item) -> Iterator[Any]:
    """A file as LibRaw has it; what it raises becomes an `ImageError`."""
    import rawpy

    try:
        with closing(opened(item)) as file:
            _check_bytes(file)
            with rawpy.imread(_path(item) or file) as raw:
                yield raw
    except rawpy.LibRawFileUnsupportedError:
        raise ImageError("not a RAW file, or one that LibRaw cannot read") from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise ImageError(f"damaged RAW file: {_words(error)}") from None


def _check_bytes(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise ImageError("empty file")
    if size > MAX_BYTES:
        raise ImageError(f"too large: {size / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB")


def _path(item: Item) -> str | None:
    """The path of a file that can be named to LibRaw, which then reads no more of it than it needs."""
    if isinstance(item, FileItem) and not _BYTES.search(item.location):
        return item.location
    return None


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
