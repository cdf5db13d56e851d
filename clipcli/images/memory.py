"""How large an image says it is, and how much memory decoding it takes."""

from __future__ import annotations

import contextlib
import math
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.tiff_directory import Sliceable

DECODE_MEMORY = 4 * 2**30
"""Bytes that all threads of a process together take for decoding, unless a single image needs more."""

BYTES_PER_PIXEL = {  # the decoder's own copies, the image as stored, turned, and as RGB
    **dict.fromkeys(("JPEG", "MPO"), 12),
    **dict.fromkeys(("HEIF", "ICO"), 24),
    "AVIF": 20,
    "PPM": 20,
    "WEBP": 26,
    "JPEG2000": 32,
}
USUAL_BYTES_PER_PIXEL = 16
"""What formats take that `BYTES_PER_PIXEL` does not name."""


def bytes_needed(image_format: str, size: tuple[int, int]) -> int:
    """Bytes that decoding an image and converting it to RGB takes at most, the file's not counted."""
    return math.prod(size) * BYTES_PER_PIXEL.get(image_format, USUAL_BYTES_PER_PIXEL)


def bytes_needed_by(image: Image.Image, full_size: tuple[int, int]) -> int:
    """The same of an image that is open and may be told to be decoded at a fraction of `full_size`.

    Of a progressive JPEG, all coefficients are collected before the first pixel: two bytes each.
    """
    progressive = "progressive" in image.info
    coefficients = 2 * len(image.getbands()) * math.prod(full_size) if progressive else 0
    return bytes_needed(image.format or "", image.size) + coefficients


class Budget:
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


BUDGET = Budget(DECODE_MEMORY)
"""What the threads of this process share."""


class Declared(NamedTuple):
    """What the first bytes of a file say, before any plug-in reads it."""

    image_format: str
    size: tuple[int, int]


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse an image of too many pixels."""
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width}x{height} is {width * height / 1e6:.0f} megapixels,"
            f" the limit is {max_pixels / 1e6:.0f}"
        )


def size_before_opening(data: bytes) -> Declared | None:
    """The size that a plug-in of Pillow would allocate while it opens the file; None of the others' files."""
    kind, read = next(((kind, read) for mark, kind, read in _ALLOCATING if data.startswith(mark)), ("", None))
    if read is None:
        return None
    try:
        size = max(read(data), key=math.prod, default=None)
    except (struct.error, IndexError):
        return None
    return Declared(kind, size) if size else None


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes in the headers of an icon's images; the icon's own list of sizes may state smaller ones."""
    (count,) = struct.unpack_from("<H", data, 4)
    count = min(count, (len(data) - 6) // 16)
    for (offset,) in struct.iter_unpack("<12xI", data[6 : 6 + 16 * count]):
        part = data[offset : offset + 24]
        if part.startswith(b"\x89PNG") and len(part) == 24:
            yield struct.unpack_from(">II", part, 16)
        elif len(part) == 24:
            width, height = struct.unpack_from("<ii", part, 4)
            yield abs(width), abs(height)


def _webp_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """RFC 9649: of the canvas, or else of the only image."""
    kind, content = data[12:16], data[20:30].ljust(10, b"\0")
    if data[8:12] != b"WEBP":
        return
    if kind == b"VP8X":
        yield tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))  # type: ignore[misc]
    elif kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 6)
        yield width & 0x3FFF, height & 0x3FFF


def gif_sizes(data: Sliceable, every_image: bool = False) -> Iterator[tuple[int, int]]:
    """Of the screen, and enlarged if the first image reaches beyond it; or once for every image."""
    width, height, flags = struct.unpack("<HHB", data[6:11])
    yield width, height
    at = 13 + _palette_bytes(flags)
    while (mark := data[at : at + 1]) in (b"\x21", b"\x2c"):  # an extension, an image
        if mark == b"\x21":
            at = _behind_blocks(data, at + 2)
            continue
        left, top, across, down, flags = struct.unpack("<HHHHB", data[at + 1 : at + 10])
        yield max(width, left + across), max(height, top + down)
        if not every_image:
            return
        at = _behind_blocks(data, at + 11 + _palette_bytes(flags))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: Sliceable, at: int) -> int:
    """Where blocks end that begin with their sizes; the last one is empty."""
    while size := data[at : at + 1].strip(b"\0"):
        at += 1 + size[0]
    return at + 1


_ALLOCATING: tuple[tuple[bytes, str, Callable[[bytes], Iterator[tuple[int, int]]]], ...] = (
    (b"GIF8", "GIF", gif_sizes),
    (b"RIFF", "WEBP", _webp_sizes),
    (b"\0\0\1\0", "ICO", _icon_sizes),
)
