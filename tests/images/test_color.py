"""Transparency, inks, deep grey and colour profiles, as the colours that a model sees."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from colour_profiles import D50, P3_TO_D50, PROFILE, gamma_curve, icc_profile, rgb_profile
from picture_files import BLUE, GREEN, RED, as_stored, encoded, noise
from PIL import Image

from clipcli.images.decode import decode
from clipcli.records import Preprocess

# --- Transparency, palettes and grey -------------------------------------------------------------


def test_transparency_is_composited_on_white() -> None:
    rgba = Image.new("RGBA", (4, 1))
    rgba.putdata([(255, 0, 0, 128), (0, 0, 0, 0), (0, 0, 255, 255), (0, 0, 0, 51)])
    expected = [[(255, 127, 127), (255, 255, 255), (0, 0, 255), (204, 204, 204)]]
    np.testing.assert_array_equal(as_stored(encoded(rgba)), expected)


def test_grey_with_alpha_is_composited_on_white() -> None:
    grey = Image.new("LA", (3, 1))
    grey.putdata([(0, 128), (77, 0), (77, 255)])
    np.testing.assert_array_equal(as_stored(encoded(grey))[0, :, 0], [127, 255, 77])


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    return image


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (palette_image(), {"transparency": 1}, [RED, (255, 255, 255), BLUE]),
        (palette_image(), {"transparency": b"\xff\x80\x00"}, [RED, (127, 255, 127), (255, 255, 255)]),
        (palette_image().convert("RGB"), {"transparency": GREEN}, [RED, (255, 255, 255), BLUE]),
    ],
)
def test_transparent_colours_become_white(
    image: Image.Image, options: dict[str, Any], expected: list[tuple[int, int, int]]
) -> None:
    np.testing.assert_array_equal(as_stored(encoded(image, **options)), [expected])


def test_a_transparent_gif_is_composited_on_white() -> None:
    data = encoded(palette_image(), "GIF", transparency=0)
    np.testing.assert_array_equal(as_stored(data), [[(255, 255, 255), GREEN, BLUE]])


def test_palette_grey_and_one_bit_become_rgb() -> None:
    bits = Image.new("1", (2, 1))
    bits.putdata([0, 255])
    grey = Image.new("L", (2, 1))
    grey.putdata([0, 200])
    np.testing.assert_array_equal(as_stored(encoded(palette_image())), [[RED, GREEN, BLUE]])
    np.testing.assert_array_equal(as_stored(encoded(bits)), [[(0, 0, 0), (255, 255, 255)]])
    np.testing.assert_array_equal(as_stored(encoded(grey)), [[(0, 0, 0), (200, 200, 200)]])


def test_inks_become_light() -> None:
    inks = Image.new("CMYK", (3, 1))
    inks.putdata([(255, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)])
    expected = [[(0, 255, 255), (0, 0, 0), (255, 255, 255)]]
    np.testing.assert_array_equal(as_stored(encoded(inks, "TIFF")), expected)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(image_format: str) -> None:
    for values, expected in (([0, 257, 65535], [0, 1, 255]), ([257, 32768], [1, 128])):
        deep = Image.fromarray(np.array([values], dtype=np.uint16))
        np.testing.assert_array_equal(as_stored(encoded(deep, image_format))[0, :, 2], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 1.0], [0, 64, 255]),
        ([0.0, 0.5, 0.25], [0, 128, 64]),
        ([-10.0, 0.0, 30.0], [0, 64, 255]),
        ([1000.0, np.nan, 1010.0, 1005.0], [0, 0, 255, 128]),
        ([-np.inf, 2.0, 4.0, np.inf], [0, 0, 255, 255]),
        ([np.nan, np.nan], [0, 0]),
        ([7.0, 7.0], [0, 0]),
    ],
)
def test_floats_are_scaled(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    np.testing.assert_array_equal(as_stored(encoded(image, "TIFF"))[0, :, 0], expected)


def test_32_bit_integers_are_scaled_from_lowest_to_highest() -> None:
    image = Image.fromarray(np.array([[-100, 0, 100_000]], dtype=np.int32))
    np.testing.assert_array_equal(as_stored(encoded(image, "TIFF"))[0, :, 0], [0, 0, 255])


# --- Inks ----------------------------------------------------------------------------------------


def test_inverted_inks_of_an_adobe_jpeg_become_light() -> None:
    cyan = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    black = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG", quality=95)
    assert b"Adobe" in cyan, "which is why the values in the file are inverted"
    assert np.abs(as_stored(cyan).astype(int) - (0, 255, 255)).max() <= 2
    assert as_stored(black).max() <= 2


# --- Colour profiles -----------------------------------------------------------------------------

SRGB_TO_D50 = np.array(  # lindbloom.com, sRGB adapted to D50 by Bradford
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


def in_srgb(colour: tuple[int, int, int], to_d50: np.ndarray, gamma: float) -> np.ndarray:
    """The formulas of IEC 61966-2-1, not the library that clipcli uses."""
    linear = np.linalg.inv(SRGB_TO_D50) @ to_d50 @ ((np.array(colour) / 255) ** gamma)
    linear = linear.clip(0, 1)
    encoded_ = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded_)


COLOURS = [(200, 100, 50), (255, 0, 0), (60, 180, 75), (128, 128, 128), (255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_a_wide_gamut_becomes_srgb(image_format: str, colour: tuple[int, int, int]) -> None:
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(Image.new("RGB", (4, 4), colour), image_format, icc_profile=PROFILE, **options)
    expected = in_srgb(colour, P3_TO_D50, 2.2)
    assert np.abs(as_stored(data).astype(int) - expected).max() <= 2, expected


def test_a_wide_gamut_looks_different_without_its_profile() -> None:
    """So that the test before is no test of nothing."""
    assert np.abs(in_srgb((60, 180, 75), P3_TO_D50, 2.2) - (60, 180, 75)).max() > 20


def test_a_jpeg_of_a_phone_decoded_at_reduced_size_becomes_srgb() -> None:
    data = encoded(Image.new("RGB", (800, 600), (60, 180, 75)), "JPEG", quality=95, icc_profile=PROFILE)
    shown = decode(data, Preprocess((32, 32))).astype(int)
    assert np.abs(shown - in_srgb((60, 180, 75), P3_TO_D50, 2.2)).max() <= 3


def test_transparency_and_palettes_keep_their_profile() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([60, 180, 75])
    clear = Image.new("RGBA", (2, 1), (60, 180, 75, 255))
    clear.putpixel((1, 0), (9, 9, 9, 0))
    expected = in_srgb((60, 180, 75), P3_TO_D50, 2.2)
    assert np.abs(as_stored(encoded(palette, icc_profile=PROFILE)).astype(int) - expected).max() <= 2
    shown = as_stored(encoded(clear, icc_profile=PROFILE)).astype(int)
    assert np.abs(shown[0, 0] - expected).max() <= 2
    assert shown[0, 1].tolist() == [255, 255, 255]


def test_grey_of_another_gamma_becomes_srgb() -> None:
    profile = icc_profile(b"GRAY", {b"kTRC": gamma_curve(1.0)})
    shown = as_stored(encoded(Image.new("L", (4, 4), 128), icc_profile=profile)).astype(int)
    assert np.abs(shown - 188).max() <= 1, "linear light of 0.502"


def from_lab(lightness: float, a: float, b: float) -> np.ndarray:
    """CIE 1976 L*a*b* at D50 to sRGB, by its definition."""
    middle = (lightness + 16) / 116
    roots = np.array([middle + a / 500, middle, middle - b / 200])
    values = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * D50
    linear = (np.linalg.inv(SRGB_TO_D50) @ values).clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def test_inks_go_through_their_profile() -> None:
    """A printer whose magenta is Lab 50 40 20; Pillow alone would make it (255, 0, 255)."""
    white, black, magenta = bytes([255, 128, 128]), bytes([0, 128, 128]), bytes([128, 168, 148])
    mixtures = [white, black, black, black, magenta] + 11 * [black]  # of C, M, Y and K, the last fastest
    straight = bytes(range(256))
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int) * 65536).flat)
    )
    table += 4 * straight + b"".join(mixtures) + 3 * straight
    profile = icc_profile(b"CMYK", {b"A2B0": table})
    for inks, expected in (((0, 255, 0, 0), from_lab(50, 40, 20)), ((0, 0, 0, 0), [255] * 3)):
        data = encoded(Image.new("CMYK", (4, 4), inks), "TIFF", icc_profile=profile)
        assert np.abs(as_stored(data).astype(int) - expected).max() <= 3, inks


@pytest.mark.parametrize(
    "profile",
    [
        rgb_profile(P3_TO_D50, 2.2, b"sRGB IEC61966-2.1"),  # called sRGB: what it is nearly always
        PROFILE[: len(PROFILE) // 2],
        b"no profile",
        icc_profile(b"GRAY", {b"kTRC": gamma_curve(1.0)}),  # not for colours
        icc_profile(b"RGB ", {}),  # says nothing
    ],
)
def test_a_profile_that_cannot_serve_changes_nothing(profile: bytes) -> None:
    data = encoded(Image.new("RGB", (4, 4), (60, 180, 75)), icc_profile=profile)
    assert (as_stored(data) == (60, 180, 75)).all()


def test_one_profile_serves_many_threads() -> None:
    data = [encoded(noise(64, 64, seed), icc_profile=PROFILE) for seed in range(40)]
    alone = [as_stored(each) for each in data]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(as_stored, data * 5))
    for index, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[index % len(data)])
