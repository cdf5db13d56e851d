"""TIFFs of every depth: scaled by what they declare, whatever zero means, with the alpha that they have."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import PIL
import pytest
import tifffile
from colour_profiles import PROFILE
from picture_files import as_stored, encoded, needs_packed_bits, noise
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.decode import DecodeOptions, decode
from clipcli.records import Preprocess

RAMP = np.arange(64, dtype=np.uint16).reshape(4, 16)  # 0 to 63


def written(samples: np.ndarray, tags: dict[int, tuple[int, Any]] | None = None, **options: Any) -> bytes:
    """As tifffile writes it, with further tags: number, type and value."""
    stream = io.BytesIO()
    options["extratags"] = [(tag, kind, 1, value, True) for tag, (kind, value) in (tags or {}).items()]
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(stream, samples, metadata=None, **options)
    return stream.getvalue()


def by_hand(entries: dict[int, list[int]], pixels: bytes, order: str = "<") -> bytes:
    """A TIFF with these numbers in its directory, and the offset of its only strip."""
    entries = {**entries, 273: [0], 278: entries[257], 279: [len(pixels)]}
    table, values = b"", b""
    start = 8 + 2 + 12 * len(entries) + 4
    pixels_at = start + sum(4 * len(numbers) for numbers in entries.values() if len(numbers) > 1)
    entries[273] = [pixels_at]
    for tag, numbers in sorted(entries.items()):
        field = struct.pack(f"{order}{len(numbers)}I", *numbers)
        place = struct.pack(f"{order}I", start + len(values))
        table += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + (place if len(field) > 4 else field)
        values += field if len(field) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + table + bytes(4) + values + pixels


@needs_packed_bits
@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_the_bits_of_a_sample_decide_the_scale(photometric: str, bits: int) -> None:
    values = RAMP * (2**bits - 1) // 63
    data = written(values, photometric=photometric, bitspersample=bits)
    expected = values / (2**bits - 1) * 255
    shown = as_stored_by_tifffile(data)
    assert np.abs(shown[..., 0] - (255 - expected if photometric == "miniswhite" else expected)).max() <= 0.5


def as_stored_by_tifffile(data: bytes) -> np.ndarray:
    height, width = tifffile.imread(io.BytesIO(data)).shape[:2]
    return decode(data, Preprocess((height, width), "squash"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_packed_samples_begin_at_the_highest_bit_in_either_byte_order(order: str) -> None:
    pixels = bytes([0x00, 0x0F, 0xFF, 0x80, 0x0F, 0xFF])  # 0x000, 0xFFF, 0x800, 0xFFF
    data = by_hand({256: [4], 257: [1], 258: [12], 259: [1], 262: [1], 277: [1]}, pixels, order)
    shown = decode(data, Preprocess((1, 4), "squash"))
    np.testing.assert_array_equal(shown[0, :, 0], [0, 255, 128, 255])


@pytest.mark.parametrize(
    ("tags", "dtype", "white"),
    [
        ({281: (3, 4095)}, np.uint16, 4095),  # MaxSampleValue
        ({341: (3, 1023)}, np.uint16, 1023),  # SMaxSampleValue
        ({341: (3, 255), 281: (3, 4095)}, np.uint16, 255),
        ({341: (4, 2**20)}, np.uint32, 2**20),
        ({341: (11, 4.0)}, np.float32, 4),
        ({340: (3, 0), 341: (3, 4000)}, np.uint16, 4000),
    ],
)
def test_a_stated_maximum_decides_the_scale(
    tags: dict[int, tuple[int, Any]], dtype: type, white: float
) -> None:
    values = (RAMP / 63 * white * 0.8).astype(dtype)
    shown = as_stored_by_tifffile(written(values, tags))[..., 0]
    assert np.abs(shown - values / white * 255).max() <= 0.5


def test_a_stated_maximum_that_is_exceeded_is_none() -> None:
    shown = as_stored_by_tifffile(written(RAMP * 1000, {281: (3, 4095)}))[..., 0]
    assert np.abs(shown - RAMP * 1000 / 65535 * 255).max() <= 0.5


def test_a_range_that_is_not_stated_is_that_of_the_container() -> None:
    """10 bits in 16: what cannot be known is scaled as it is declared."""
    shown = as_stored_by_tifffile(written(RAMP * 16))[..., 0]
    assert shown.max() == 4


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_signed_integers(dtype: type) -> None:
    top = np.iinfo(dtype).max
    positive = (RAMP / 63 * top).astype(dtype)
    assert np.abs(as_stored_by_tifffile(written(positive))[..., 0] - positive / top * 255).max() <= 0.5
    both = (RAMP - 32.0).astype(dtype)
    assert np.abs(as_stored_by_tifffile(written(both))[..., 0] - (both + 32) / 63 * 255).max() <= 0.5


def test_large_unsigned_integers_are_not_negative() -> None:
    values = np.array([[0, 2**31, 2**32 - 1]], dtype=np.uint32)
    np.testing.assert_array_equal(as_stored_by_tifffile(written(values))[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("extra", [1, 2])
def test_alpha_of_deep_samples(extra: int, dtype: type) -> None:
    top = 1 if dtype == np.float32 else 65535
    samples = np.zeros((1, 3, 4), dtype=dtype)
    samples[0] = np.array([[1, 0, 0, 1], [0.5, 0, 0, 0.5], [0, 0, 0, 0]]) * top
    shown = as_stored_by_tifffile(written(samples, photometric="rgb", extrasamples=[extra]))[0]
    middle = [255, 127, 127] if extra == 1 else [191, 127, 127]
    assert np.abs(shown.astype(int) - [[255, 0, 0], middle, [255, 255, 255]]).max() <= 1


def test_associated_alpha_of_grey() -> None:
    samples = np.array([[[200, 255], [100, 128], [0, 0]]], dtype=np.uint8)
    shown = as_stored_by_tifffile(written(samples, extrasamples=[1]))[0, :, 0]
    assert np.abs(shown.astype(int) - [200, 227, 255]).max() <= 1


@pytest.mark.parametrize("extra", [None, [0]])
def test_a_fourth_sample_that_nobody_filled_is_no_alpha(extra: list[int] | None) -> None:
    samples = np.dstack([np.asarray(noise(8, 8)), np.zeros((8, 8), dtype=np.uint8)])
    entries = {256: [8], 257: [8], 258: [8, 8, 8, 8], 259: [1], 262: [2], 277: [4]}
    data = by_hand({**entries, **({338: extra} if extra else {})}, samples.tobytes())
    np.testing.assert_array_equal(as_stored(data), np.asarray(noise(8, 8)))


def test_an_image_that_is_declared_transparent_everywhere_is_white() -> None:
    samples = np.dstack([np.asarray(noise(8, 8)), np.zeros((8, 8), dtype=np.uint8)])
    data = written(samples, photometric="rgb", extrasamples=[2])
    assert (as_stored(data) == 255).all()


@pytest.mark.parametrize("factor", [1, 257])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_palettes_of_8_and_of_16_bits(bits: int, factor: int) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (3, 2**bits), dtype=np.uint16)
    indexes = np.array([[0, 1, 2, 2**bits - 1]])
    pixels = {4: b"\x01\x2f", 8: b"\x00\x01\x02\xff", 16: struct.pack("<4H", 0, 1, 2, 65535)}[bits]
    entries = {256: [4], 257: [1], 258: [bits], 259: [1], 262: [3], 277: [1]}
    data = by_hand({**entries, 320: [int(n) * factor for n in palette.flat]}, pixels)
    np.testing.assert_array_equal(decode(data, Preprocess((1, 4), "squash"))[0], palette[:, indexes[0]].T)


@pytest.mark.skipif(PIL.__version__ < "13", reason="Pillow takes it for a truncated image")
def test_uncompressed_ycbcr_of_half_the_resolution() -> None:
    image = Image.new("RGB", (32, 32), (200, 90, 30))
    luma, blue, red = (channel.getpixel((0, 0)) for channel in image.convert("YCbCr").split())
    units = bytes([luma, luma, luma, luma, blue, red]) * (16 * 16)
    entries = {256: [32], 257: [32], 258: [8, 8, 8], 259: [1], 262: [6], 277: [3], 530: [2, 2]}
    assert np.abs(as_stored(by_hand(entries, units)).astype(int) - (200, 90, 30)).max() <= 3


def test_inks_and_lab_of_any_depth() -> None:
    inks = np.zeros((1, 2, 4), dtype=np.uint16)
    inks[0, 1] = 65535, 0, 0, 0
    data = written(inks, photometric="separated")
    np.testing.assert_array_equal(as_stored_by_tifffile(data)[0], [[255, 255, 255], [0, 255, 255]])
    lab = encoded(noise(8, 8).convert("LAB"), "TIFF")
    assert np.abs(as_stored(lab).astype(int) - np.asarray(noise(8, 8))).mean() < 12, "colours beyond sRGB"


def test_a_deep_tiff_keeps_its_orientation_and_its_profile() -> None:
    values = np.zeros((2, 3, 3), dtype=np.uint16)
    values[..., :] = np.array((60, 180, 75)) * 257
    values[0, 0] = 0
    data = written(values, {274: (3, 6)}, photometric="rgb", iccprofile=PROFILE)
    shown = decode(data, Preprocess((3, 2), "squash"))
    assert shown[0, 1].max() == 0, "turned to the right"
    plain = as_stored(encoded(Image.new("RGB", (1, 1), (60, 180, 75)), icc_profile=PROFILE))[0, 0]
    assert np.abs(shown[2, 0].astype(int) - plain).max() <= 1


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_a_truncated_deep_tiff_is_damaged(compression: str | None) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (96, 96), dtype=np.uint16)
    data = written(values, compression=compression, rowsperstrip=8)
    decode(data, Preprocess())
    for kept in (len(data) // 2, len(data) - 50):
        with pytest.raises(ImageError, match=r"damaged image|TIFF"):
            decode(data[:kept], Preprocess())
    part = decode(data[: len(data) * 3 // 4], Preprocess((96, 96)), DecodeOptions(truncated="ok"))
    np.testing.assert_array_equal(part[:48], decode(data, Preprocess((96, 96)))[:48])


def test_a_kind_that_is_not_read_is_told() -> None:
    entries = {256: [4], 257: [1], 258: [5, 6, 5], 259: [1], 262: [2], 277: [3]}
    with pytest.raises(
        ImageError, match=r"a TIFF with bits 5\+6\+5, 3 samples a pixel, photometric interpretation 2"
    ):
        decode(by_hand(entries, bytes(8)), Preprocess())


def test_the_limit_of_pixels_holds_for_deep_tiffs() -> None:
    entries = {256: [60_000], 257: [60_000], 258: [12], 259: [1], 262: [1], 277: [1]}
    with pytest.raises(ImageError, match="too large: 60000x60000"):
        decode(by_hand(entries, bytes(8)), Preprocess())


@pytest.mark.parametrize(
    "entries", [{277: [60_000], 338: [0]}, {322: [2**30], 323: [16], 324: [8], 325: [9]}]
)
def test_samples_and_tiles_without_end_are_refused(entries: dict[int, list[int]]) -> None:
    about = {256: [4000], 257: [4000], 258: [16], 259: [8], 262: [1], 277: [1]}
    with pytest.raises(ImageError, match=r"too large: its samples take \d+\.\d GB"):
        decode(by_hand({**about, **entries}, bytes(8)), Preprocess())


def test_more_samples_than_pillow_takes_are_no_line_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    entries = {256: [4], 257: [1], 258: [8], 259: [7], 262: [1], 277: [12]}
    with pytest.raises(ImageError, match="not supported: a TIFF with bits 8, 12 samples a pixel"):
        decode(by_hand(entries, bytes(100)), Preprocess())
    assert caplog.records == []
