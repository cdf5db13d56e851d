"""Files to pixels: the same as open_clip's transform, and upright, flattened and scaled where that loses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PEAK_MEGABYTES
from picture_files import BLUE, GREEN, RED, as_stored, encoded, noise
from PIL import Image, features

from clipcli.cli.startup import lift_pillow_limit
from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.memory import Budget
from clipcli.images.resize import resize
from clipcli.inputs.item import MAX_BYTES
from clipcli.records import Preprocess
from clipcli.stages import load_pixels

EXACT = DecodeOptions(exact=True)


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
from clipcli.images.decode import decode
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
        fast = decode(data, preprocess).astype(int)
        difference = np.abs(fast - decode(data, preprocess, EXACT))
        assert difference.mean() < 0.6, f"{width}x{height}"
        assert difference.max() <= 4, f"{width}x{height}"


def test_a_turned_jpeg_is_not_reduced_more_than_an_upright_one() -> None:
    def error(data: bytes) -> float:
        exact = decode(data, Preprocess((96, 32)), EXACT).astype(int)
        return float(np.abs(decode(data, Preprocess((96, 32))) - exact).mean())

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
    differs = (decode(data, preprocess) != decode(data, preprocess, EXACT)).any()
    assert differs == reduced
    png = encoded(noise(width, height))
    np.testing.assert_array_equal(decode(png, preprocess), decode(png, preprocess, EXACT))


def test_a_truncated_jpeg_is_damaged_at_reduced_size_too() -> None:
    data = smooth_jpeg(1600, 1200)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: len(data) // 2], Preprocess((64, 64)))


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


@pytest.mark.parametrize(("mode", "image_format"), [("P", "PNG"), ("1", "PNG"), ("CMYK", "TIFF")])
def test_colours_are_mixed_not_palette_entries(mode: str, image_format: str) -> None:
    image = noise(9, 9).convert(mode)
    preprocess = Preprocess((21, 21))
    rgb = by_open_clip(image.convert("RGB"), preprocess)
    np.testing.assert_array_equal(decode(encoded(image, image_format), preprocess), rgb)


# --- Formats -------------------------------------------------------------------------------------

FLAT = Image.new("RGB", (16, 16), (200, 90, 30))
FLAT.paste((10, 60, 220), (8, 0, 16, 16))


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("DIB", {}),
        ("TGA", {}),
        ("TGA", {"compression": "tga_rle"}),
        ("ICO", {"sizes": [(16, 16)]}),
        ("JPEG2000", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("PPM", {}),
        ("PCX", {}),
        ("QOI", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_what_was_stored(image_format: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(as_stored(encoded(FLAT, image_format, **options)), np.asarray(FLAT))


def test_a_bitmap_in_an_icon_gives_what_was_stored() -> None:
    data = encoded(FLAT.convert("RGBA"), "ICO", sizes=[(16, 16)], bitmap_format="bmp")
    np.testing.assert_array_equal(as_stored(data), np.asarray(FLAT))


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("AVIF", {"quality": 95}),
        ("WEBP", {"quality": 95}),
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("MPO", {"quality": 95}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_lossy_formats_give_nearly_what_was_stored(image_format: str, options: dict[str, Any]) -> None:
    picture = FLAT.resize((64, 64))
    if image_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    difference = np.abs(as_stored(encoded(picture, image_format, **options)).astype(int) - picture)
    assert difference.mean() < 4


def test_an_arithmetic_coded_jpeg_is_the_same_picture() -> None:
    jpegtran = shutil.which("jpegtran")
    if jpegtran is None:
        pytest.skip("jpegtran (libjpeg-turbo-progs) is not installed")
    plain = encoded(FLAT, "JPEG", quality=95)
    done = subprocess.run([jpegtran, "-arithmetic"], input=plain, capture_output=True, check=True)
    assert b"\xff\xc9" in done.stdout, "SOF9: sequential, arithmetic"
    np.testing.assert_array_equal(as_stored(done.stdout), as_stored(plain))


def test_a_lossless_jpeg_is_exact() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpeg8_encode(np.asarray(noise(24, 16)), lossless=True)
    assert b"\xff\xc3" in data, "SOF3: lossless"
    np.testing.assert_array_equal(as_stored(data), noise(24, 16))


def test_heic_with_the_plug_in_is_read() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = (
        6  # which counts for nothing here (ISO/IEC 23008-12): the file itself says how it is turned
    )
    stored = FLAT.resize((64, 32))
    shown = decode(encoded(stored, "HEIF", quality=95, exif=exif), Preprocess((32, 64), "squash")).astype(int)
    assert np.abs(shown - np.asarray(stored)).mean() < 4


def test_heic_without_the_plug_in_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.images.decode._formats", lambda: ["JPEG", "PNG"])
    with pytest.raises(ImageError, match=r"HEIC needs a plug-in: pip install 'clipcli\[heif\]'"):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", Preprocess())


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
        (b"<html><body>404 Not Found</body></html>", "a web page is not"),
        (b"\r\n<!DOCTYPE html><title>Sign in</title>", "a web page is not"),
        (b"PK\x03\x04 photos.zip", "an archive is not an image; unpack it first"),
        (b"plain text", "not an image file"),
        (encoded(noise(8, 8), "EPS"), "a PostScript file is not"),
        (encoded(noise(8, 8), "SGI"), "not an image file, or a format that is not supported"),
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


@pytest.fixture
def no_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # so that the tests' end restores it
    lift_pillow_limit()


@pytest.mark.usefixtures("no_limit_of_pillow")
def test_a_large_image_is_refused_before_decoding() -> None:
    header = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    data += (5).to_bytes(4, "big") + b"IDAT" + bytes(9)  # were it decoded, it would be called damaged
    with pytest.raises(ImageError, match="too large: 100000x100000 is 10000 megapixels, the limit is 268"):
        decode(data, Preprocess((8, 8)))


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_a_picture_within_an_icon_is_held_to_the_limit() -> None:
    for bitmap_format in ("png", "bmp"):
        data = bytearray(encoded(noise(40, 40), "ICO", sizes=[(40, 40)], bitmap_format=bitmap_format))
        data[6:8] = 8, 8  # the icon's own list says 8 x 8
        assert decode(bytes(data), Preprocess((8, 8)), DecodeOptions(max_pixels=40 * 80)).any()
        with pytest.raises(ImageError, match="too large: 40x"):
            decode(bytes(data), Preprocess((8, 8)), DecodeOptions(max_pixels=40 * 39))


def peak_megabytes(script: str, *arguments: str) -> float:
    """Most memory that a process needed for what comes after its imports."""
    measured = f"""{PEAK_MEGABYTES}
import sys
from clipcli.cli.startup import lift_pillow_limit
from clipcli.images.decode import *
from clipcli.records import Preprocess
from clipcli.stages import load_pixels
before = peak_megabytes()
{script}
print(peak_megabytes() - before)
"""
    command = [sys.executable, "-c", measured, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_a_bomb_of_400_megapixels_costs_next_to_nothing(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png", compress_level=1)
    script = """
try:
    load_pixels(sys.argv[1], Preprocess())
except ImageError as error:
    assert str(error) == "too large: 20000x20000 is 400 megapixels, the limit is 268", error
"""
    assert peak_megabytes("lift_pillow_limit()" + script, str(tmp_path / "bomb.png")) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
@pytest.mark.parametrize("size", [(6000, 6000), (36_000_000, 1)])
def test_a_large_picture_needs_no_more_than_a_few_copies(
    size: tuple[int, int], mode: str, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    Image.new(mode, size, 99).save(path, compress_level=1)
    needed = peak_megabytes("load_pixels(sys.argv[1], Preprocess())", str(path))
    assert needed < 36 * 13, "36 megapixels as stored, and as RGB, each in 4 bytes, and lines of one row"


def test_pillow_s_own_limit_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"too large: Image size \(64 pixels\) exceeds limit"):
        decode(encoded(noise(8, 8)), Preprocess())


def test_pillow_s_own_limit_is_left_alone_by_the_library() -> None:
    script = "import PIL.Image, clipcli.api; print(PIL.Image.MAX_IMAGE_PIXELS is not None)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_threads_together_stay_within_the_budget() -> None:
    budget, held, most = Budget(100), [], []

    def work(amount: int) -> None:
        with budget.of(amount):
            held.append(amount)
            most.append(sum(held))
            time.sleep(0.002)
            held.remove(amount)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [10, 60, 250, 30, 50, 90, 10, 100] * 4))
    assert not held
    assert max(most) == 250, "an amount beyond the budget is granted when nobody holds any"
    assert max(total for total in most if total != 250) <= 100


def test_the_limit_itself_is_allowed() -> None:
    preprocess = Preprocess((8, 8))
    assert decode(encoded(noise(10, 10)), preprocess, DecodeOptions(max_pixels=100)).shape == (8, 8, 3)
    with pytest.raises(ImageError, match="too large: 10x10"):
        decode(encoded(noise(10, 10)), preprocess, DecodeOptions(max_pixels=99))


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


def test_a_file_without_permission_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unprivileged: Callable[[], AbstractContextManager[None]],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.png").write_bytes(PNG)
    Path("secret.png").chmod(0)
    with unprivileged(), pytest.raises(ImageError, match="Permission denied"):
        load_pixels("secret.png", Preprocess((8, 8)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("", "a folder, not an image"),
        ("folder", "a folder, not an image"),
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


# --- What is left of a damaged picture -----------------------------------------------------------

PARTIAL = DecodeOptions(truncated="ok")
SHADES = Image.fromarray(np.linspace(40, 250, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8))
DAMAGED = {
    "JPEG": ("JPEG", {"quality": 90}),
    "progressive JPEG": ("JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("PNG", {"compress_level": 0}),
    "BMP": ("BMP", {}),
    "WebP": ("WEBP", {"quality": 90}),
    "GIF": ("GIF", {}),
    "TIFF": ("TIFF", {}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_truncated_picture_is_refused(kind: str) -> None:
    image_format, options = DAMAGED[kind]
    data = encoded(SHADES, image_format, **options)
    decode(data, Preprocess((8, 8)))
    for kept in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            decode(data[: int(len(data) * kept)], Preprocess((8, 8)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_what_can_be_read_is_used_when_asked_for(kind: str) -> None:
    image_format, options = DAMAGED[kind]
    data = encoded(SHADES, image_format, **options)
    whole, part = as_stored(data), decode(data[: len(data) * 3 // 4], Preprocess((96, 96)), PARTIAL)
    rows = slice(48, 96) if kind == "BMP" else slice(0, 48)  # BMP begins at the bottom
    np.testing.assert_array_equal(part[rows], whole[rows])
    assert (part != whole).any()


def test_of_a_progressive_jpeg_a_rougher_picture_is_left() -> None:
    data = encoded(SHADES, "JPEG", quality=90, progressive=True)
    part = decode(data[: len(data) // 2], Preprocess((96, 96)), PARTIAL).astype(int)
    assert np.abs(part - as_stored(data)).mean() < 12


def test_what_is_left_at_reduced_size() -> None:
    data = smooth_jpeg(1600, 1200)
    part = decode(data[: len(data) * 3 // 4], Preprocess((64, 64)), PARTIAL).astype(int)
    assert np.abs(part - decode(data, Preprocess((64, 64))))[:32].max() <= 1


@pytest.mark.parametrize("kind", DAMAGED)
def test_nothing_left_is_still_a_failure(kind: str) -> None:
    image_format, options = DAMAGED[kind]
    data = encoded(SHADES, image_format, **options)
    with pytest.raises(ImageError):
        decode(data[:100], Preprocess((8, 8)), PARTIAL)


def test_intact_pictures_are_the_same_either_way() -> None:
    for image_format, options in DAMAGED.values():
        data = encoded(SHADES, image_format, **options)
        np.testing.assert_array_equal(decode(data, Preprocess(), PARTIAL), decode(data, Preprocess()))


def test_options_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="`max_pixels` must be at least 1, not 0"):
        DecodeOptions(max_pixels=0)
    with pytest.raises(UsageError, match="`truncated` must be error or ok, not maybe"):
        DecodeOptions(truncated="maybe")  # type: ignore[arg-type]


def test_every_option_has_its_own_place_in_the_cache() -> None:
    options = [DecodeOptions(), EXACT, PARTIAL, DecodeOptions(max_pixels=9)]
    assert len({each.cache_suffix for each in options}) == 4
