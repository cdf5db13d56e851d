"""What a TIFF says about its pixels: its first directory, read, and written anew without anything else.

It is read here and not by Pillow, so that no tag about other things can make an image unreadable.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from PIL import Image, ImageFile

from clipcli.errors import ImageError

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins: in either byte order, the last two with offsets of 64 bits."""

BIG_ENDIAN_BIG_TIFF = MARKS[3]

_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_TYPES |= {16: "Q", 17: "q", 18: "Q", 5: "II", 10: "ii"}
_ABOUT_PIXELS = {254, *range(256, 260), 262, 266, 273, 274, *range(277, 282), 284, 292, 293, 317, 320}
_ABOUT_PIXELS |= {*range(322, 326), 332, *range(338, 342), 347, *range(512, 522), *range(529, 533), 34675}
_OFFSETS = {273, 324, 513, 519, 520, 521}  # of strips and tiles, and of the parts of an old-style JPEG
UNCOMPRESSED, PACKBITS = 1, 32773
"""Values of `Tag.COMPRESSION`."""

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
"""Values of `Tag.FORMAT`."""

_PALETTE = 3


class Tag(IntEnum):
    """The tags that decide what pixels mean, as TIFF 6.0 numbers them; the names of some are plainer here."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    LARGEST = 281
    PLANAR = 284
    PREDICTOR = 317
    COLORMAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    FORMAT = 339
    LEAST_SAMPLE = 340
    LARGEST_SAMPLE = 341
    PROFILE = 34675


class Sliceable(Protocol):
    """Bytes, or what reads them from a file when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Directory(NamedTuple):
    """What the first directory of a file says about its pixels; `entries` has types and bytes as stored."""

    order: str
    entries: dict[int, tuple[int, bytes]]

    def values(self, tag: int, default: tuple[float, ...] = ()) -> tuple[Any, ...]:
        """The numbers of a tag."""
        if tag not in self.entries:
            return default
        kind, stored = self.entries[tag]
        code = _TYPES[kind]
        numbers = tuple(n for some in struct.iter_unpack(self.order + code, stored) for n in some)
        return numbers or default

    def first(self, tag: int, default: float = 0) -> Any:
        """The first number of a tag."""
        return self.values(tag, (default,))[0]


def directory(data: bytes) -> Directory | None:
    """The first directory of a TIFF; None for other files, and where it cannot be read."""
    if data[:4] not in MARKS:
        return None
    try:
        return directory_at(data, first_directory(data))[0]
    except (struct.error, KeyError, IndexError):
        return None


def first_directory(data: Sliceable) -> int:
    """Where the first directory of a TIFF is; `struct.error` if the file is cut off."""
    number, at = ("Q", 8) if b"+" in data[2:4] else ("I", 4)
    (first,) = _unpacked(data, _order(data) + number, at)
    return int(first)


def directory_at(data: Sliceable, at: int) -> tuple[Directory, int]:
    """A directory of a TIFF, and where the next one is, 0 behind the last.

    Raises:
        struct.error: it is cut off.
    """
    order, large = _order(data), b"+" in data[2:4]
    number, count_code, entry = ("Q", "Q", "HHQ8s") if large else ("I", "H", "HHI4s")
    (count,) = _unpacked(data, order + count_code, at)
    size = struct.calcsize("=" + entry)
    start = at + struct.calcsize("=" + count_code)
    end = start + count * size
    if end > len(data):
        raise struct.error("the directory is cut off")
    entries = {}
    for tag, kind, length, field in struct.iter_unpack(order + entry, data[start:end]):
        if tag in _ABOUT_PIXELS and kind in _TYPES:
            stored = length * struct.calcsize("=" + _TYPES[kind])
            place = struct.unpack(order + number, field)[0] if stored > len(field) else 0
            value = data[place : place + stored] if place else field[:stored]
            if len(value) == stored:
                entries[tag] = kind, value
    following = data[end : end + struct.calcsize("=" + number)]
    is_whole = len(following) == struct.calcsize("=" + number)
    return Directory(order, entries), struct.unpack(order + number, following)[0] if is_whole else 0


def _order(data: Sliceable) -> str:
    return "<" if data[:1] == b"I" else ">"


def _unpacked(data: Sliceable, code: str, at: int) -> tuple[Any, ...]:
    return struct.unpack(code, data[at : at + struct.calcsize("=" + code[1:])])


def without_other_tags(data: bytes) -> bytes:
    """The same file with a directory that says nothing but how its pixels lie, and in which colours."""
    found = directory(data)
    return data if found is None else with_directory(data, found)


def with_directory(data: bytes, contents: Directory) -> bytes:
    """The file with this directory before it, as a classic TIFF.

    Behind it, the directory would be taken for pixels that a truncated file lacks.
    """
    order = contents.order
    start_of_values = 8 + 2 + 12 * len(contents.entries) + 4
    entries = {tag: _as_classic(contents, tag) for tag in sorted(contents.entries)}
    shift = start_of_values + sum(len(stored) for _, _, stored in entries.values() if len(stored) > 4)
    table, values = [struct.pack(order + "H", len(entries))], b""
    for tag, (kind, count, stored) in entries.items():
        moved = [offset + shift for offset in contents.values(tag)] if tag in _OFFSETS else []
        field = struct.pack(f"{order}{count}I", *moved) if moved else stored
        place = struct.pack(order + "I", start_of_values + len(values))
        table.append(struct.pack(order + "HHI", tag, kind, count) + (place if len(field) > 4 else field))
        values += field if len(field) > 4 else b""
    mark = MARKS[0] if order == "<" else MARKS[1]
    return b"".join([mark, struct.pack(order + "I", 8), *table, bytes(4), values, data])


def _as_classic(contents: Directory, tag: int) -> tuple[int, int, bytes]:
    """Type, count and bytes of an entry, in an even number of bytes from 4 on; 64-bit numbers are halved."""
    kind, stored = contents.entries[tag]
    if kind in (16, 17, 18) or tag in _OFFSETS:
        numbers = contents.values(tag)
        stored, kind = struct.pack(f"{contents.order}{len(numbers)}I", *numbers), 4
    count = len(stored) // struct.calcsize("=" + _TYPES[kind])
    return kind, count, stored.ljust(4, b"\0") + b"\0" * (max(4, len(stored)) % 2)


def is_usual(found: Directory) -> bool:
    """Whether Pillow reads an image rightly: up to 8 bits a sample, in a combination that it knows."""
    bits, samples = found.values(Tag.BITS, (1,)), found.first(Tag.SAMPLES, 1)
    bits = bits * samples if len(bits) == 1 and samples < 16 else bits
    if max(bits) > 8 or set(found.values(Tag.FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        return False
    uncompressed = found.first(Tag.COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED
    if found.first(Tag.PLANAR, 1) == 2 and (uncompressed or samples > 1):
        return False
    colormap = found.values(Tag.COLORMAP, (0,))
    if (
        found.first(Tag.PHOTOMETRIC) == _PALETTE and 0 < max(colormap) < 256
    ):  # 8-bit colours, which are black to Pillow
        return False
    from PIL import TiffImagePlugin

    order = b"II" if found.order == "<" else b"MM"
    about = order, found.first(Tag.PHOTOMETRIC), (1,), found.first(Tag.FILL_ORDER, 1), bits
    return (*about, found.values(Tag.EXTRA_SAMPLES)) in TiffImagePlugin.OPEN_INFO


def long(found: Directory, *values: int) -> tuple[int, bytes]:
    """An entry of 32-bit numbers."""
    return 4, struct.pack(f"{found.order}{len(values)}I", *values)


def short(found: Directory, value: int) -> tuple[int, bytes]:
    """An entry of one 16-bit number."""
    return 3, struct.pack(found.order + "H", value)


def stored_profile(data: bytes) -> bytes | None:
    """The colour profile of a TIFF, which Pillow skips where other tags claim too many bytes."""
    found = directory(data)
    return found.entries[Tag.PROFILE][1] if found and Tag.PROFILE in found.entries else None


def kind_of(found: Directory) -> str:
    """What a TIFF that cannot be read is, for people."""
    bits = "+".join(map(str, found.values(Tag.BITS, (1,))[:8]))
    return (
        f"bits {bits}, {found.first(Tag.SAMPLES, 1)} samples a pixel,"
        f" photometric interpretation {found.first(Tag.PHOTOMETRIC)},"
        f" compression {found.first(Tag.COMPRESSION, 1)}"
    )


def declared_size(found: Directory) -> tuple[int, int]:
    """(width, height), as stored."""
    return found.first(Tag.WIDTH), found.first(Tag.HEIGHT)


def declares_alpha(found: Directory) -> bool:
    """Whether the file says that a sample beyond the colours is an alpha channel."""
    return bool({1, 2} & set(found.values(Tag.EXTRA_SAMPLES)))


def check_samples(found: Directory | None) -> None:
    """Refuse what Pillow would refuse with a line in its log, which a program may show."""
    if not found:
        return
    from PIL import TiffImagePlugin

    if found.first(Tag.SAMPLES, 1) > TiffImagePlugin.MAX_SAMPLESPERPIXEL:
        raise ImageError(f"not supported: a TIFF with {kind_of(found)}")


def read_as_declared(image: Image.Image) -> None:
    """Have uncompressed YCbCr decoded by libtiff: Pillow itself takes it for three values a pixel."""
    if image.format != "TIFF":
        return
    from PIL import TiffImagePlugin

    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.mode == "YCbCr"
        and not image.use_load_libtiff
    ):
        image._mode, image.use_load_libtiff = "RGB", True
        arguments = ("RGBX", False, image.tag_v2.offset)
        image.tile = [ImageFile._Tile("libtiff", (0, 0, *image._tile_size), 0, arguments)]
