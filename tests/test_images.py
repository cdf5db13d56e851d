"""Files to pixels: the same as open_clip's transform, and upright, flattened and scaled where that loses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images import MAX_BYTES, decode, load_pixels, resize
from clipcli.records import Preprocess

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def as_stored(data: bytes) -> np.ndarray:
    """Decode at the image's own size, so that no pixel is interpolated."""
    with Image.open(io.BytesIO(data)) as image:
        size = image.height, image.width
    return decode(data, Preprocess(size=size, resize_mode="squash"))


# --- The same pixels as open_clip ----------------------------------------------------------------

SIZES = [
    (64, 48),
    (48, 64),
    (33, 33),
    (5, 7),
    (7, 5),
    (1, 1),
    (11, 3),
    (31, 448),
    (301, 200),
    (223, 225),
    (24, 40),
]


def by_open_clip(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import ToTensor

    config = PreprocessCfg(
        size=preprocess.size,
        interpolation=preprocess.interpolation,
        resize_mode=preprocess.resize_mode,
        fill_color=preprocess.fill_color,
    )
    for step in image_transform_v2(config, is_train=False).transforms:
        if isinstance(step, ToTensor):
            break
        image = step(image)
    return np.asarray(image)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (37, 37), (24, 40), (40, 24)])
@pytest.mark.parametrize(("resize_mode", "fill_color"), [("shortest", 0), ("squash", 0), ("longest", 255)])
def test_pixels_equal_open_clip(
    resize_mode: str, fill_color: int, size: tuple[int, int], interpolation: str
) -> None:
    preprocess = Preprocess(size, resize_mode, interpolation, fill_color=fill_color)
    for width, height in SIZES:
        image = noise(width, height)
        ours = decode(encoded(image), preprocess)
        np.testing.assert_array_equal(ours, by_open_clip(image, preprocess), f"{width}x{height}")


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize(("width", "height"), [(20, 700), (700, 20), (3, 100), (2001, 31)])
def test_long_strips_differ_from_open_clip_by_rounding_only(
    width: int, height: int, size: tuple[int, int]
) -> None:
    coarse = noise(max(2, width // 20), max(2, height // 20))
    smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
    preprocess = Preprocess(size)
    difference = np.asarray(resize(smooth, preprocess)).astype(int) - by_open_clip(smooth, preprocess)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize(("width", "height"), [(1, 30_000), (30_000, 1)])
def test_extreme_strips_fit_the_model(width: int, height: int, resize_mode: str) -> None:
    pixels = decode(encoded(Image.new("RGB", (width, height), RED)), Preprocess((24, 40), resize_mode))
    shown = 24 * 40 if resize_mode != "longest" else {30_000: 24, 1: 40}[height]
    assert pixels.shape == (24, 40, 3)
    assert (pixels == RED).all(axis=-1).sum() == shown


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's size from /proc")
def test_an_extreme_strip_needs_little_memory() -> None:
    script = """
import io, resource
from PIL import Image
from clipcli.images import decode
from clipcli.records import Preprocess
stream = io.BytesIO()
Image.new("RGB", (1, 30_000)).save(stream, "PNG")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
print(decode(stream.getvalue(), Preprocess()).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "(224, 224, 3)\n", done.stderr


def test_load_pixels_reads_a_file_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    image = noise(8, 6)
    image.save(path, "PNG")
    pixels = load_pixels(str(path), Preprocess((6, 8), "squash"))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image))


# --- JPEGs at reduced size -----------------------------------------------------------------------


def smooth_jpeg(width: int, height: int, orientation: int = 1, coarse: tuple[int, int] = (12, 9)) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = noise(*coarse).resize((width, height), Image.Resampling.BICUBIC)
    return encoded(picture, "JPEG", quality=95, exif=exif)


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(64, 64), (96, 32)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_at_reduced_size_looks_the_same(
    orientation: int, size: tuple[int, int], resize_mode: str
) -> None:
    preprocess = Preprocess(size, resize_mode)
    for width, height in ((1600, 1200), (1201, 803), (3001, 300), (400, 1600)):
        data = smooth_jpeg(width, height, orientation)
        fast = decode(data, preprocess, exact=False).astype(int)
        difference = np.abs(fast - decode(data, preprocess))
        assert difference.mean() < 0.6, f"{width}x{height}"
        assert difference.max() <= 4, f"{width}x{height}"


def test_a_turned_jpeg_is_not_reduced_more_than_an_upright_one() -> None:
    def error(data: bytes) -> float:
        exact = decode(data, Preprocess((96, 32))).astype(int)
        return float(np.abs(decode(data, Preprocess((96, 32)), exact=False) - exact).mean())

    upright, turned = smooth_jpeg(1600, 400, 1, (200, 50)), smooth_jpeg(400, 1600, 6, (50, 200))
    assert error(turned) < 1.25 * error(upright)


@pytest.mark.parametrize(
    ("width", "height", "resize_mode", "reduced"),
    [
        (255, 255, "shortest", False),
        (256, 256, "shortest", True),
        (2000, 255, "shortest", False),
        (2000, 255, "squash", False),
        (2000, 255, "longest", True),
    ],
)
def test_only_a_jpeg_of_four_times_the_size_is_reduced(
    width: int, height: int, resize_mode: str, reduced: bool
) -> None:
    preprocess = Preprocess((64, 64), resize_mode)
    data = encoded(noise(width, height), "JPEG")
    differs = (decode(data, preprocess, exact=False) != decode(data, preprocess)).any()
    assert differs == reduced
    png = encoded(noise(width, height))
    np.testing.assert_array_equal(decode(png, preprocess, exact=False), decode(png, preprocess))


def test_a_truncated_jpeg_is_damaged_at_reduced_size_too() -> None:
    data = smooth_jpeg(1600, 1200)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: len(data) // 2], Preprocess((64, 64)), exact=False)


# --- Orientation ---------------------------------------------------------------------------------

UPRIGHT = np.array([[RED, GREEN], [BLUE, (255, 255, 0)], [(0, 255, 255), (9, 9, 9)]], dtype=np.uint8)
STORED = {  # EXIF 2.32, tag 0x0112: at which side of the picture row 0 and column 0 of the file lie
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: UPRIGHT[:, ::-1].swapaxes(0, 1),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: UPRIGHT[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("image_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_orientation_is_applied_once(image_format: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    data = encoded(stored, image_format, exif=exif, **options)
    np.testing.assert_array_equal(decode(data, Preprocess((3, 2), "squash")), UPRIGHT)


def test_orientation_of_a_jpeg_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (40, 20), RED), "JPEG", exif=exif)
    padded = decode(data, Preprocess((40, 40), "longest", fill_color=255))
    assert (padded[:, 0] == 255).all(), "a portrait, so the sides are filled"
    assert (padded[0, 20] < (255, 10, 10)).all()


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(UPRIGHT), exif=exif)
    np.testing.assert_array_equal(as_stored(data), UPRIGHT)


def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = encoded(Image.fromarray(UPRIGHT), exif=b"Exif\0\0no TIFF header")
    np.testing.assert_array_equal(as_stored(data), UPRIGHT)


# --- Colours and transparency --------------------------------------------------------------------


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


@pytest.mark.parametrize(("mode", "image_format"), [("P", "PNG"), ("1", "PNG"), ("CMYK", "TIFF")])
def test_colours_are_mixed_not_palette_entries(mode: str, image_format: str) -> None:
    image = noise(9, 9).convert(mode)
    preprocess = Preprocess((21, 21))
    rgb = by_open_clip(image.convert("RGB"), preprocess)
    np.testing.assert_array_equal(decode(encoded(image, image_format), preprocess), rgb)


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


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_its_first_frame(image_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)
    first = as_stored(data).astype(int)
    assert np.abs(first - RED).max() <= 10


# --- What cannot be read -------------------------------------------------------------------------

JPEG, PNG = encoded(noise(64, 64), "JPEG"), encoded(noise(64, 64))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (JPEG[: len(JPEG) // 2], "damaged image: .*truncated"),
        (PNG[: len(PNG) // 2], "damaged image: .*truncated"),
        (PNG[:2000] + bytes(2000) + PNG[4000:], "damaged image"),
        (b"GIF89a", "not an image file"),
        (b"<html><body>404 Not Found</body></html>", "not an image file"),
        (b"%PDF-1.7\n...", "a PDF is not"),
        (b" \n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG is not"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "an SVG is not"),
        (b"<?xml version='1.0'?>\n<feed/>", "not an image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "a PostScript file is not"),
    ],
)
def test_what_is_no_image_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data, Preprocess((8, 8)))


def test_a_large_image_is_refused_before_decoding() -> None:
    header = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    data += (5).to_bytes(4, "big") + b"IDAT" + bytes(9)  # were it decoded, it would be called damaged
    with pytest.raises(ImageError, match="too large: 100000x100000 is 10000 megapixels, the limit is 268"):
        decode(data, Preprocess((8, 8)))


def test_the_limit_itself_is_allowed() -> None:
    preprocess = Preprocess((8, 8))
    assert decode(encoded(noise(10, 10)), preprocess, max_pixels=100).shape == (8, 8, 3)
    with pytest.raises(ImageError, match="too large: 10x10"):
        decode(encoded(noise(10, 10)), preprocess, max_pixels=99)


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.jpg"
    path.touch()
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"too large: 2\.1 GB"):
        load_pixels(str(path), Preprocess((8, 8)))


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="not a regular file"):
        load_pixels(str(pipe), Preprocess((8, 8)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("", "not a regular file"),
        ("folder", "not a regular file"),
        ("folder/loop.jpg", "[Ss]ymbolic link"),
        ("x" * 300, "[Nn]ame too long"),
        ("nul\0.jpg", "null"),
    ],
)
def test_a_path_that_cannot_be_read_says_why(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(ImageError, match=reason):
        load_pixels(name, Preprocess((8, 8)))
