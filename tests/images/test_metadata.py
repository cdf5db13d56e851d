"""An image is never lost over its metadata."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from colour_profiles import PROFILE
from image_files_by_hand import PNG_MARK, png_chunk
from picture_files import as_stored, encoded, noise
from PIL import Image, ImageFile, PngImagePlugin

from clipcli.errors import ImageError
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.metadata import without_metadata
from clipcli.records import Preprocess

IMAGE = noise(16, 16)
PIXELS = np.asarray(IMAGE)
PLAIN = encoded(IMAGE)
TEXT = b"x" * 3_000_000


def with_chunk(kind: bytes, content: bytes, behind: bool = False, spoilt: bool = False) -> bytes:
    """A PNG with one more chunk, before the pixels or behind them, perhaps with a wrong checksum."""
    chunk = png_chunk(kind, content)
    chunk = chunk[:-1] + bytes([chunk[-1] ^ spoilt])
    at = PLAIN.index(b"IEND" if behind else b"IDAT") - 4
    return PLAIN[:at] + chunk + PLAIN[at:]


FAULTY_CHUNKS = {
    "compressed text of 3 MB": (b"zTXt", b"Comment\0\0" + zlib.compress(TEXT)),
    "international text of 3 MB": (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(TEXT)),
    "text of 70 MB": (b"tEXt", b"Comment\0" + b"x" * 70_000_000),
    "unknown compression": (b"zTXt", b"Comment\0\7xyz"),
    "damaged profile": (b"iCCP", b"name\0\0" + zlib.compress(TEXT)[:-50]),
    "profile of unknown compression": (b"iCCP", b"name\0\7xyz"),
    "empty profile": (b"iCCP", b""),
    "short gamma": (b"gAMA", b"\0"),
    "short chromaticities": (b"cHRM", b"\0" * 7),
    "empty rendering intent": (b"sRGB", b""),
    "short density": (b"pHYs", b"\0" * 3),
    "animation of no length": (b"acTL", b""),
    "frame beyond the image": (b"fcTL", struct.pack(">5IHHBB", 0, 900, 900, 5, 5, 1, 1, 0, 0)),
    "EXIF that is none": (b"eXIf", b"no TIFF header"),
    "text that is named transparency": (b"tEXt", b"transparency\0yes"),
    "text that is named icc_profile": (b"tEXt", b"icc_profile\0yes"),
    "text that is named interlace": (b"tEXt", b"interlace\0yes"),
    "text that is named bbox": (b"tEXt", b"bbox\0yes"),
    "text that is named exif": (b"tEXt", b"exif\0yes"),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("fault", FAULTY_CHUNKS)
def test_a_png_with_a_faulty_chunk_is_whole(fault: str, behind: bool) -> None:
    np.testing.assert_array_equal(as_stored_16(with_chunk(*FAULTY_CHUNKS[fault], behind)), PIXELS)


def as_stored_16(data: bytes) -> np.ndarray:
    """`as_stored` opens the file with Pillow, which refuses most of these."""
    return decode(data, Preprocess((16, 16)))


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iCCP", b"gAMA", b"eXIf", b"tRNS", b"prVt"])
def test_a_wrong_checksum_in_a_chunk_that_is_not_needed(kind: bytes) -> None:
    data = with_chunk(kind, b"a\0\0" + zlib.compress(b"b" * 40), spoilt=True)
    np.testing.assert_array_equal(as_stored_16(data), PIXELS)


def test_a_wrong_length_of_a_text_is_left_behind() -> None:
    data = bytearray(with_chunk(b"tEXt", b"Comment\0hello"))
    at = data.index(b"tEXt")
    for length in (3, 40, 2**31 - 1):
        data[at - 4 : at] = length.to_bytes(4, "big")
        np.testing.assert_array_equal(as_stored_16(bytes(data)), PIXELS)


def test_a_text_that_is_cut_off_behind_the_pixels() -> None:
    data = with_chunk(b"tEXt", b"Comment\0" + b"x" * 500, behind=True)
    np.testing.assert_array_equal(as_stored_16(data[:-300]), PIXELS)


def test_damaged_pixels_are_damaged_whatever_the_metadata() -> None:
    data = with_chunk(*FAULTY_CHUNKS["compressed text of 3 MB"])
    with pytest.raises(ImageError, match="damaged image"):
        as_stored_16(data[: len(data) - 200])
    with pytest.raises(ImageError, match=r"damaged image: .*IHDR"):
        as_stored_16(PLAIN[:18] + b"\1" + PLAIN[19:])


def test_a_profile_of_more_than_a_megabyte_is_used() -> None:
    image = Image.new("RGB", (16, 16), (60, 180, 75))
    expected = as_stored(encoded(image, icc_profile=PROFILE))[0, 0]
    assert np.abs(expected.astype(int) - (60, 180, 75)).max() > 20
    large = PROFILE + bytes(3_000_000)
    large = len(large).to_bytes(4, "big") + large[4:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = as_stored_16(encoded(image, icc_profile=large))
    np.testing.assert_array_equal(shown[0, 0], expected)


def test_what_decides_about_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(IMAGE, transparency=tuple(map(int, PIXELS[0, 0])), exif=exif)
    at = data.index(b"IDAT") - 4
    data = data[:at] + png_chunk(*FAULTY_CHUNKS["compressed text of 3 MB"]) + data[at:]
    expected = PIXELS.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(as_stored_16(data), expected[::-1, ::-1])


def test_the_settings_of_pillow_are_the_hosts() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    as_stored_16(with_chunk(*FAULTY_CHUNKS["compressed text of 3 MB"]))
    after = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert after == before


# --- Other formats -------------------------------------------------------------------------------


XMP = b"<x:xmpmeta>...</x:xmpmeta>"


def exif() -> Image.Exif:
    about = Image.Exif()
    about[0x010F], about[0x011A], about[0x0128] = "Maker", 300.0, 2
    about.get_ifd(0x8769)[0x9286] = b"a comment"
    return about


def metadata() -> dict[str, object]:
    return {"exif": exif(), "icc_profile": PROFILE, "xmp": XMP}


def spans(data: bytes) -> list[tuple[int, int]]:
    """Where the metadata lies."""
    stored = (exif().tobytes().removeprefix(b"Exif\0\0"), PROFILE, XMP)
    return [
        (data.index(content), data.index(content) + len(content)) for content in stored if content in data
    ]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "MPO"])
def test_an_image_survives_any_bytes_in_its_metadata(image_format: str) -> None:
    if image_format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    options = {"WEBP": {"lossless": True}, "MPO": {"save_all": True, "append_images": [noise(16, 16, 1)]}}
    data = encoded(noise(16, 16), image_format, **metadata(), **options.get(image_format, {}))
    generator = random.Random(0)
    assert spans(data)
    for _ in range(60):
        mutant = bytearray(data)
        start, end = generator.choice(spans(data))
        for _ in range(generator.choice((1, 5, 40))):
            mutant[generator.randrange(start, end)] = generator.choice((0, 255, generator.randrange(256)))
        if image_format == "PNG":
            mutant[:] = with_right_checksums(bytes(mutant))
        assert decode(bytes(mutant), Preprocess((16, 16))).shape == (16, 16, 3)


def with_right_checksums(data: bytes) -> bytes:
    at, fixed = 8, [PNG_MARK]
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        fixed.append(png_chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(fixed)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_tiff_survives_any_bytes_in_tags_about_other_things(compression: str) -> None:
    data = encoded(IMAGE, "TIFF", compression=compression, dpi=(72, 72), description="a text", **metadata())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    places = [directory + 2 + 12 * number for number in range(count)]
    others = [at for at in places if struct.unpack_from("<H", data, at)[0] not in range(256, 280)]
    others += [at for at in places if struct.unpack_from("<H", data, at)[0] in (270,)]
    others = [at for at in others if struct.unpack_from("<H", data, at)[0] not in (284, 317, 34675)]
    generator = random.Random(0)
    assert len(others) >= 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(100):
            mutant, at = bytearray(data), generator.choice(others)
            for place in range(at + 2, at + 12):
                mutant[place] = generator.choice((0, 1, 255, mutant[place], generator.randrange(256)))
            np.testing.assert_array_equal(as_stored_16(bytes(mutant)), as_stored_16(data))


def test_long_comments_of_a_gif_are_no_fault() -> None:
    data = encoded(IMAGE, "GIF", comment=b"x" * 100_000)
    np.testing.assert_array_equal(as_stored_16(data), as_stored_16(encoded(IMAGE, "GIF")))


def test_a_file_without_metadata_is_itself() -> None:
    assert without_metadata(PLAIN) == PLAIN
    assert without_metadata(b"no image at all") == b"no image at all"


def test_the_part_of_a_damaged_image_does_not_depend_on_its_metadata() -> None:
    partial = DecodeOptions(truncated="ok")
    shades = Image.fromarray(np.linspace(40, 250, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8))
    plain = encoded(shades, compress_level=0)
    at = plain.index(b"IDAT") - 4
    data = plain[:at] + png_chunk(*FAULTY_CHUNKS["compressed text of 3 MB"]) + plain[at:]
    shown = decode(data[: len(data) * 3 // 4], Preprocess((96, 96)), partial)
    np.testing.assert_array_equal(shown[:40], np.asarray(shades)[:40])


def test_the_faults_are_faults() -> None:
    """So that the tests before are no tests of nothing."""
    for fault in ("compressed text of 3 MB", "unknown compression", "short gamma"):
        with (
            pytest.raises((ValueError, OSError)),
            Image.open(io.BytesIO(with_chunk(*FAULTY_CHUNKS[fault]))) as image,
        ):
            image.load()
