"""What decoding takes is counted, and nothing is allocated for an image that is too large."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from picture_files import encoded, noise
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.decode import MAX_PIXELS, DecodeOptions, decode
from clipcli.images.memory import BYTES_PER_PIXEL, DECODE_MEMORY, USUAL_BYTES_PER_PIXEL, size_before_opening
from clipcli.records import Preprocess

SIDE = 2000
SMALLEST_GIF = (
    b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"!\xf9\x04\x09\0\0\0\0\0"
    b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\x44\0;"
)

LIMITED = """
import os, resource, sys, warnings
from pathlib import Path
from clipcli.cli.startup import lift_pillow_limit
from clipcli.errors import ImageError
from clipcli.images.decode import DecodeOptions, _formats, decode
from clipcli.records import Preprocess
from PIL import Image
warnings.simplefilter("ignore")
lift_pillow_limit()
_formats()
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # decoders with a thread a core: a stack for each

def outcome(path, most_bytes, options):
    data = path.read_bytes()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + most_bytes,) * 2)
        try:
            result = str(decode(data, Preprocess(), options).shape)
        except ImageError as error:
            result = error.message
        os.write(writing, result.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    result = os.read(reading, 1000).decode()
    os.close(reading)
    return result

for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, outcome(path, int(path.name.split("-")[0]), DecodeOptions(int(sys.argv[2]), exact=True)))
"""


def limited(folder: Path, max_pixels: int) -> dict[str, str]:
    """Decode files in processes that may use as many bytes more as each one's name begins with."""
    command = [sys.executable, "-c", LIMITED, folder, str(max_pixels)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def images() -> dict[str, bytes]:
    """Name of the format and of the variant -> a file of `SIDE` x `SIDE` pixels."""
    rgb = noise(20, 20).resize((SIDE, SIDE))
    rgba = rgb.copy()
    rgba.putalpha(rgb.getchannel(0))
    grey = rgb.convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6
    recipes = {
        "JPEG-turned": (rgb, {"exif": turned}),
        "JPEG-progressive": (rgb, {"progressive": True, "subsampling": 0, "exif": turned}),
        "JPEG-inks": (rgb.convert("CMYK"), {"progressive": True}),
        "PNG-turned": (rgba, {"exif": turned, "compress_level": 1}),
        "PNG-grey": (Image.merge("LA", (grey, grey)), {"compress_level": 1}),
        "WEBP-lossy": (rgb, {"method": 0}),
        "WEBP-alpha": (rgba, {"method": 0, "exif": turned}),
        "GIF-transparent": (rgb.quantize(16), {"transparency": 3, "disposal": 2}),
        "TIFF-lzw": (rgba, {"compression": "tiff_lzw"}),
        "TIFF-float": (grey.convert("F"), {}),
        "BMP-alpha": (rgba, {}),
        "TGA-rle": (rgba, {"compression": "tga_rle"}),
        "AVIF-alpha": (rgba, {"speed": 10}),
        "JPEG2000-alpha": (rgba, {"quality_layers": [20]}),
        "PPM-grey": (grey, {}),
        "PCX-rgb": (rgb, {}),
        "QOI-flat": (Image.new("RGB", (SIDE, SIDE), "red"), {}),
    }
    files = {
        name: encoded(image, name.split("-")[0], **options) for name, (image, options) in recipes.items()
    }
    files["PPM-12-bit"] = b"P5 %d %d 4095\n" % (SIDE, SIDE) + bytes(2 * SIDE * SIDE)
    return files


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.long
def test_decoding_takes_no_more_than_is_counted(tmp_path: Path) -> None:
    for name, data in images().items():
        counted = BYTES_PER_PIXEL.get(name.split("-")[0], USUAL_BYTES_PER_PIXEL) + 8 * (
            "prog" in name or "inks" in name
        )
        counted = 24 if name == "TIFF-float" else counted
        most = counted * SIDE * SIDE + 2 * len(data) + 12 * 2**20
        (tmp_path / f"{most}-{name}").write_bytes(data)
    outcomes = limited(tmp_path, MAX_PIXELS)
    assert len(outcomes) == len(images())
    assert {name: one for name, one in outcomes.items() if one != "(224, 224, 3)"} == {}


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_nothing_is_allocated_for_an_image_that_is_too_large(tmp_path: Path) -> None:
    most = 2**24
    flat = Image.new("RGBA", (3000, 3000), "red")
    for image_format in ("PNG", "WEBP", "GIF", "JPEG", "JPEG2000", "AVIF", "QOI", "PCX", "TGA"):
        options = {"WEBP": {"lossless": True}, "TGA": {"compression": "tga_rle"}}.get(image_format, {})
        image = flat if image_format in ("PNG", "WEBP", "QOI", "TGA") else flat.convert("RGB")
        (tmp_path / f"{most}-{image_format}").write_bytes(encoded(image, image_format, **options))
    png = encoded(flat)
    (tmp_path / f"{most}-ICO").write_bytes(
        struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png
    )
    (tmp_path / f"{most}-GIF-43").write_bytes(SMALLEST_GIF)
    outcomes = limited(tmp_path, 10**6)
    assert len(outcomes) == 11
    assert {name: one for name, one in outcomes.items() if not one.startswith("too large: ")} == {}


def test_the_limit_holds_for_each_part_of_a_gif() -> None:
    gif = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    assert size_before_opening(bytes(gif)) == ("GIF", (8, 8))
    at = gif.index(b",", 13)
    gif[at + 1 : at + 9] = struct.pack("<4H", 100, 0, 60_000, 60_000)
    with pytest.raises(ImageError, match="too large: 60100x60000"):
        decode(bytes(gif), Preprocess((8, 8)))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "ICO"])
def test_the_size_is_known_before_opening(image_format: str) -> None:
    for image, options in (
        (Image.new("RGB", (40, 24)), {}),
        (noise(40, 24), {"lossless": True}),
        (Image.new("RGBA", (40, 24)), {"exact": True}),
    ):
        more = {"sizes": [(40, 24)]} if image_format == "ICO" else options
        data = encoded(image, image_format, **more)
        assert size_before_opening(data) == (image_format, (40, 24))
        for length in range(len(data) // 2):
            size_before_opening(data[:length])


def test_the_sums_that_the_documentation_states() -> None:
    assert DECODE_MEMORY == 4 * 2**30
    largest = max(BYTES_PER_PIXEL.values()) * MAX_PIXELS
    assert largest / 2**30 == 8
    assert BYTES_PER_PIXEL["WEBP"] * MAX_PIXELS / 1e9 < 7
    assert DecodeOptions().max_pixels == MAX_PIXELS
