"""TIFF in the depths and layouts that Pillow refuses or misreads.

Pillow decompresses them as rows of bytes: the file gets another directory that calls each row an 8-bit grey
one of as many pixels as it has bytes. What the bytes mean is then decided here, by TIFF 6.0: any number of
bits, signed and floating-point samples, white or black as zero, palettes, planes, and what the samples beyond
the colours are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcli.images.color import scaled_to_8_bits, value_range
from clipcli.images.tiff_directory import (
    FLOAT,
    PACKBITS,
    SIGNED,
    UNCOMPRESSED,
    UNDEFINED,
    UNSIGNED,
    Directory,
    Tag,
    declared_size,
    long,
    short,
    with_directory,
)
from clipcli.records import Uint8Array

Numbers: TypeAlias = npt.NDArray[Any]

_BYTEWISE = {UNCOMPRESSED, 5, 8, PACKBITS, 32946, 34925, 50000}  # LZW, deflate, PackBits, LZMA, Zstandard
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}  # white is zero, black is zero, RGB, palette, inks
_BYTES_PER_BLOCK = 2**20  # that are made numbers at a time


class Layout(NamedTuple):
    """How the samples of an image lie in its bytes."""

    width: int
    height: int
    bits: int
    samples: int
    kind: int
    photometric: int
    separate: bool
    tile_width: int  # the image's, without tiles
    alpha: tuple[int, str] | None  # the sample, and how Pillow's modes call its kind

    @property
    def shown(self) -> list[int]:
        """The samples that make the result: the colours, and the alpha channel."""
        return [*range(_COLORS[self.photometric]), *(self.alpha[:1] if self.alpha else ())]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.width, self.height

    @property
    def bytes_of_samples(self) -> int:
        """Of the image with its tiles, in the planes that are shown."""
        planes = len(self.shown) if self.separate else 1
        return planes * -(-self.samples_in_row * self.bits // 8) * self.tiles_across * self.height

    @property
    def bytes_needed(self) -> int:
        """Bytes that decoding takes: the file and the samples thrice, and the image in 8 bits and as RGB."""
        return 3 * self.bytes_of_samples + 12 * self.width * self.height

    @property
    def samples_in_row(self) -> int:
        """Of one plane, in one tile's row."""
        return self.tile_width * (1 if self.separate else self.samples)

    @property
    def tiles_across(self) -> int:
        """One, without tiles."""
        return -(-self.width // self.tile_width)


def layout(found: Directory) -> Layout | None:
    """The layout of an image that `decoded` can read, or None."""
    bits, kinds = set(found.values(Tag.BITS, (1,))), set(found.values(Tag.FORMAT, (UNSIGNED,)))
    photometric, samples = found.first(Tag.PHOTOMETRIC), found.first(Tag.SAMPLES, 1)
    if len(bits) != 1 or len(kinds) != 1 or photometric not in _COLORS or samples < _COLORS[photometric]:
        return None
    width, height = declared_size(found)
    read = Layout(
        width,
        height,
        bits.pop(),
        samples,
        UNSIGNED if kinds == {UNDEFINED} else kinds.pop(),
        photometric,
        samples > 1 and found.first(Tag.PLANAR, 1) == 2,
        found.first(Tag.TILE_WIDTH) if Tag.TILE_OFFSETS in found.entries else width,
        _alpha(found, photometric, samples),
    )
    return read if _is_known(found, read) else None


def _alpha(found: Directory, photometric: int, samples: int) -> tuple[int, str] | None:
    """The sample that ExtraSamples calls an alpha channel; without that tag, a single one more is it."""
    if photometric not in (0, 1, 2):
        return None
    beyond = samples - _COLORS[photometric]
    declared = found.values(Tag.EXTRA_SAMPLES, (2,) if beyond == 1 else ())[:beyond]
    kinds = {1: "a", 2: "A"}
    at = next((at for at, kind in enumerate(declared) if kind in kinds), None)
    return None if at is None else (_COLORS[photometric] + at, kinds[declared[at]])


def _is_known(found: Directory, read: Layout) -> bool:
    compression, tiled = found.first(Tag.COMPRESSION, UNCOMPRESSED), Tag.TILE_OFFSETS in found.entries
    if compression not in _BYTEWISE or min(read.width, read.height, read.tile_width) < 1:
        return False
    whole_bytes = read.samples_in_row * read.bits % 8 == 0
    if (tiled or _predictor(found) != 1) and not whole_bytes:
        return False
    return _is_known_depth(read) and (_predictor(found) == 1 or read.bits in (8, 16, 32, 64))


def _is_known_depth(read: Layout) -> bool:
    if read.photometric == 3:
        return read.kind == UNSIGNED and read.bits <= 16
    if read.kind == FLOAT:
        return read.bits in (16, 32, 64)
    if read.kind == SIGNED:
        return read.bits in (8, 16, 32, 64)
    return read.kind == UNSIGNED and (1 <= read.bits <= 16 or read.bits in (24, 32, 64))


def decoded(data: bytes, found: Directory, read: Layout, load: Callable[[bytes], Image.Image]) -> Image.Image:
    """The image in 8 bits: L, La, LA, RGB, RGBa, RGBA or CMYK, with its orientation.

    Args:
        data: the file.
        found: its directory.
        read: what `layout` says of it.
        load: opens and decodes a file whose pixels are the bytes of this one.
    """
    planes = [load(_as_bytes(data, found, read, plane)) for plane in (read.shown if read.separate else [0])]
    packed = [np.asarray(plane) for plane in planes]
    low, high = _range(packed, found, read)
    palette = _palette(found, read)
    mode = _mode(read)
    image = Image.new(mode, (read.width, read.height))
    for top, samples in _blocks(packed, found, read):
        pixels = palette[samples[..., 0]] if palette is not None else _pixels(samples, low, high, read)
        image.paste(_from_array(pixels, mode), (0, top))
    image.getexif()[Tag.ORIENTATION] = found.first(Tag.ORIENTATION, 1)
    return image


def _as_bytes(data: bytes, found: Directory, read: Layout, plane: int) -> bytes:
    """A file whose pixels are the bytes of one plane."""
    bytes_of_tile = -(-read.samples_in_row * read.bits // 8)
    tiled = Tag.TILE_OFFSETS in found.entries
    offsets, lengths = (Tag.TILE_OFFSETS, Tag.TILE_BYTES) if tiled else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
    same = (Tag.COMPRESSION, Tag.FILL_ORDER, Tag.ROWS_PER_STRIP)
    entries: dict[int, tuple[int, bytes]] = {tag: found.entries[tag] for tag in same if tag in found.entries}
    entries |= {
        Tag.WIDTH: long(found, bytes_of_tile * read.tiles_across),
        Tag.HEIGHT: long(found, read.height),
    }
    for tag in (offsets, lengths):
        values = found.values(tag)
        count = len(values) // (read.samples if read.separate else 1)
        if values:
            entries[tag] = long(found, *values[plane * count : (plane + 1) * count])
    if tiled:
        entries |= {
            Tag.TILE_WIDTH: long(found, bytes_of_tile),
            Tag.TILE_HEIGHT: found.entries[Tag.TILE_HEIGHT],
        }
    entries |= {tag: short(found, n) for tag, n in ((Tag.BITS, 8), (Tag.PHOTOMETRIC, 1), (Tag.SAMPLES, 1))}
    return with_directory(data, Directory(found.order, entries))


# --- From bytes to numbers -----------------------------------------------------------------------


def _blocks(packed: list[Uint8Array], found: Directory, read: Layout) -> Iterator[tuple[int, Numbers]]:
    """Some rows at a time, each with its top: samples (rows, W, samples)."""
    rows = max(1, _BYTES_PER_BLOCK // packed[0].shape[1])
    for top in range(0, read.height, rows):
        planes = [_samples(plane[top : top + rows], found, read) for plane in packed]
        yield top, np.concatenate(planes, axis=-1) if read.separate else planes[0][..., read.shown]


def _samples(rows: Uint8Array, found: Directory, read: Layout) -> Numbers:
    """(rows, W, samples of the plane) from the bytes of some rows."""
    height, samples = len(rows), read.samples_in_row // read.tile_width
    tiles = rows.reshape(height * read.tiles_across, -1)
    predictor = _predictor(found)
    if predictor == 3:
        numbers = _float_differences(tiles, samples, read)
    else:
        numbers = _numbers(tiles, found.order, read)
    pixels = numbers.reshape(len(tiles), read.tile_width, samples)
    if predictor == 2:
        whole = pixels.view(f"=u{read.bits // 8}")
        pixels = np.cumsum(whole, axis=1, dtype=whole.dtype).view(pixels.dtype)
    return pixels.reshape(height, -1, samples)[:, : read.width]


def _predictor(found: Directory) -> int:
    """2: differences; 3: of floating-point bytes; 1: none, as in compressions that have no predictor."""
    has_none = found.first(Tag.COMPRESSION, UNCOMPRESSED) in (UNCOMPRESSED, PACKBITS)
    return 1 if has_none else int(found.first(Tag.PREDICTOR, 1))


def _numbers(rows: Uint8Array, order: str, read: Layout) -> Numbers:
    """The numbers in each row of bytes; those that fill no whole bytes begin at the highest bit."""
    if read.bits in (8, 16, 32, 64):
        code = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[read.kind] + str(read.bits // 8)
        return np.ascontiguousarray(rows).view(order + code).astype("=" + code)
    if read.bits == 24:
        parts = rows.reshape(len(rows), -1, 3)[..., :: 1 if order == ">" else -1].astype(np.uint32)
        return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
    bits = np.unpackbits(rows, axis=1, count=read.samples_in_row * read.bits)
    weights = 2 ** np.arange(read.bits - 1, -1, -1)
    return (bits.reshape(len(rows), -1, read.bits) @ weights).astype(np.uint16)


def _float_differences(rows: Uint8Array, samples: int, read: Layout) -> Numbers:
    """Undo predictor 3 (Adobe, TIFF Technical Note 3): bytes by significance, as differences."""
    width = read.bits // 8
    differences = rows.reshape(len(rows), -1, samples)
    bytes_ = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(len(rows), width, -1)
    return np.ascontiguousarray(bytes_.swapaxes(1, 2)).view(f">f{width}").astype(f"=f{width}")[..., 0]


# --- From numbers to colours ---------------------------------------------------------------------


def _range(packed: list[Uint8Array], found: Directory, read: Layout) -> tuple[float, float]:
    """The numbers that are shown as black and as white."""
    largest = max(found.values(Tag.LARGEST_SAMPLE, found.values(Tag.LARGEST)), default=0)
    stated = min(found.values(Tag.LEAST_SAMPLE, (0,))), largest
    whole = read.kind == UNSIGNED and read.bits <= 24
    full = (0.0, 2.0**read.bits - 1)
    if whole and (read.bits <= 8 or not 0 < largest < full[1]):
        return full
    colors = _COLORS[read.photometric]
    low, high = value_range(samples[..., :colors] for _, samples in _blocks(packed, found, read))
    if stated[0] <= low and high <= stated[1]:
        return stated
    if whole:
        return full
    if read.kind == SIGNED and read.bits <= 16 and low >= 0:
        return 0.0, 2.0 ** (read.bits - 1) - 1
    usual = 1.0 if read.kind == FLOAT else 65535.0
    return (0.0, usual) if low >= 0 and high <= usual else (low, high)


def _pixels(samples: Numbers, low: float, high: float, read: Layout) -> Uint8Array:
    """(rows, W, channels of the mode) in 8 bits."""
    colors = _COLORS[read.photometric]
    shown = scaled_to_8_bits(samples[..., :colors], low, high)
    if read.alpha is None:
        return 255 - shown if read.photometric == 0 else shown
    opaque = 1.0 if read.kind == FLOAT else max(high, 1.0)
    alpha = scaled_to_8_bits(samples[..., colors:], 0.0, opaque)
    if read.photometric == 0:
        shown = 255 - shown if read.alpha[1] == "A" else alpha - np.minimum(shown, alpha)
    return np.concatenate([shown, alpha], axis=-1)


def _mode(read: Layout) -> str:
    """The Pillow mode of the result."""
    mode = {0: "L", 1: "L", 2: "RGB", 3: "RGB", 5: "CMYK"}[read.photometric]
    return mode + read.alpha[1] if read.alpha else mode


def _palette(found: Directory, read: Layout) -> Uint8Array | None:
    """(2^bits, 3); colours of 16 bits, but where all are below 256 they are of 8, as libtiff takes them."""
    if read.photometric != 3:
        return None
    colors = np.array(found.values(Tag.COLORMAP), dtype=np.uint16)
    if len(colors) != 3 * 2**read.bits:
        raise OSError("its palette is incomplete")
    shift = 0 if colors.max() < 256 else 8
    return (colors >> shift).astype(np.uint8).reshape(3, -1).T


def _from_array(pixels: Uint8Array, mode: str) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
