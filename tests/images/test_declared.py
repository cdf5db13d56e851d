"""Fourth channels that nobody filled, transparency that is easily missed, depths below 8 bits."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files_by_hand import bmp32, icon, png, tga
from picture_files import as_stored, encoded, noise
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.decode import decode
from clipcli.records import Preprocess

COLORS = np.asarray(noise(8, 8))
ZERO, SOME = np.zeros((8, 8), dtype=np.uint8), np.full((8, 8), 51, dtype=np.uint8)
MIXED = np.rint(COLORS * 0.2 + 204.0)


@pytest.mark.parametrize("run_length", [False, True])
@pytest.mark.parametrize("attributes", [0, 8])
def test_a_targa_s_unused_fourth_byte_is_no_transparency(attributes: int, run_length: bool) -> None:
    np.testing.assert_array_equal(as_stored(tga(COLORS, ZERO, attributes, run_length)), COLORS)


def test_a_targa_has_as_many_bits_of_alpha_as_it_says() -> None:
    assert np.abs(as_stored(tga(COLORS, SOME, 8)) - MIXED).max() <= 1
    np.testing.assert_array_equal(as_stored(tga(COLORS, SOME, 0)), COLORS)


@pytest.mark.parametrize(("kind", "used"), [(0, False), (1, False), (2, False), (3, True)])
def test_the_extension_area_of_a_targa_says_what_its_attributes_are(kind: int, used: bool) -> None:
    data = tga(COLORS, SOME, 8)
    area = bytes(494) + bytes([kind])
    data += area + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"
    assert np.abs(as_stored(data) - (MIXED if used else COLORS)).max() <= 1


@pytest.mark.parametrize("header", [40, 108, 124])
def test_a_bitmap_s_unused_fourth_byte_is_no_transparency(header: int) -> None:
    for masked in (False, True):
        np.testing.assert_array_equal(as_stored(bmp32(COLORS, ZERO, header, masked)), COLORS)
    np.testing.assert_array_equal(as_stored(bmp32(COLORS, SOME, header, False)), COLORS)


@pytest.mark.parametrize("header", [108, 124])
def test_a_bitmap_with_a_mask_for_alpha_has_alpha(header: int) -> None:
    assert np.abs(as_stored(bmp32(COLORS, SOME, header, True)) - MIXED).max() <= 1


def test_a_bitmap_without_the_header_of_a_file() -> None:
    np.testing.assert_array_equal(as_stored(bmp32(COLORS, ZERO, 108, True)[14:]), COLORS)


def test_the_unused_fourth_byte_of_an_icon_s_bitmap_is_no_transparency() -> None:
    rgba = Image.fromarray(np.dstack([COLORS, ZERO]), "RGBA")
    bitmap = bytearray(encoded(rgba, "DIB"))
    bitmap[8:12] = struct.pack("<i", 16)  # of colours and mask together
    np.testing.assert_array_equal(as_stored(icon(bytes(bitmap) + bytes(32), 8)), COLORS)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "ICO", "QOI"])
def test_what_is_declared_transparent_everywhere_is_white(image_format: str) -> None:
    rgba = Image.fromarray(np.dstack([COLORS, ZERO]), "RGBA")
    options = {"WEBP": {"lossless": True, "exact": True}, "ICO": {"sizes": [(8, 8)]}}.get(image_format, {})
    assert (as_stored(encoded(rgba, image_format, **options)) == 255).all()


def test_an_image_in_memory_is_what_it_says() -> None:
    for mode, alpha, white in (("RGBA", ZERO, True), ("RGBa", ZERO, True), ("RGBX", ZERO, False)):
        image = Image.frombytes(mode, (8, 8), np.dstack([COLORS * (not white), alpha]).tobytes())
        shown = decode(image, Preprocess((8, 8)))
        np.testing.assert_array_equal(shown, 255 if white else COLORS)
    for mode in ("La", "LA"):
        grey = Image.frombytes(mode, (8, 8), np.dstack([ZERO, SOME]).tobytes())
        assert np.abs(decode(grey, Preprocess((8, 8))).astype(int) - 204).max() <= 1


# --- PNG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth(depth: int) -> None:
    samples = np.array([[0, 1] * 4])[..., None] * (2**depth - 1)
    for transparent, expected in ((0, [255, 255]), (2**depth - 1, [0, 255])):
        data = png(samples, depth, 0, struct.pack(">H", transparent))
        np.testing.assert_array_equal(as_stored(data)[0, :2, 0], expected)


def test_a_transparent_grey_of_16_bits_is_that_value_alone() -> None:
    data = png(np.array([[[256], [257], [258], [512]]]), 16, 0, struct.pack(">H", 257))
    np.testing.assert_array_equal(as_stored(data)[0, :, 0], [1, 255, 1, 2])


def test_a_transparent_colour_of_16_bits_is_that_value_alone() -> None:
    samples = np.array([[[256, 0, 0], [257, 0, 0], [257, 0, 1]]])
    data = png(samples, 16, 2, struct.pack(">HHH", 257, 0, 0))
    np.testing.assert_array_equal(as_stored(data)[0], [[1, 0, 0], [255, 255, 255], [1, 0, 0]])


# --- Depths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_jpeg_2000_of_few_bits_has_black_and_white(bits: int, channels: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = (np.arange(64).reshape(8, 8) * (2**bits - 1) // 63).astype(np.uint8)
    samples = values if channels == 1 else np.stack([values] * 3, axis=-1)
    data = imagecodecs.jpeg2k_encode(samples, bitspersample=bits, reversible=True, level=0)
    assert np.abs(as_stored(data)[..., 0] - values / (2**bits - 1) * 255).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_grey_jpeg_2000_of_many_bits(bits: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = (np.arange(64).reshape(8, 8) * (2**bits - 1) // 63).astype(np.uint16)
    data = imagecodecs.jpeg2k_encode(values, bitspersample=bits, reversible=True, level=0)
    assert np.abs(as_stored(data)[..., 0] - values / (2**bits - 1) * 255).max() <= 1


@pytest.mark.parametrize("largest", [1, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P2", b"P3", b"P5", b"P6"])
def test_the_largest_value_of_a_portable_map_is_white(kind: bytes, largest: int) -> None:
    values = np.array([0, largest // 2, largest])
    samples = np.repeat(values, 3 if kind in (b"P3", b"P6") else 1)
    binary = samples.astype(">u2" if largest > 255 else "u1").tobytes()
    content = binary if kind in (b"P5", b"P6") else " ".join(map(str, samples)).encode()
    shown = as_stored(kind + b" 3 1 %d\n" % largest + content)
    assert np.abs(shown[0, :, 0] - values / largest * 255).max() <= 1


def test_the_files_made_by_hand_are_files() -> None:
    for data in (tga(COLORS, SOME, 8), bmp32(COLORS, SOME, 124, True), png(COLORS, 8, 2)):
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (8, 8)


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_deep_colours_of_jpeg_2000_are_refused_because_white_would_be_black(bits: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    white = np.full((64, 64, 3), 2**bits - 1, dtype=np.uint16)
    data = imagecodecs.jpeg2k_encode(white, bitspersample=bits, reversible=True, level=0)
    with pytest.raises(ImageError, match=f"JPEG 2000 colours of {bits} bits cannot be decoded"):
        decode(data, Preprocess())
