"""Small valid images of every format, and the same images damaged in ways that a seed decides."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageCms

Mutation: TypeAlias = Callable[[random.Random, bytearray], None]

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0x01000000)


def seeds() -> dict[str, bytes]:
    """Name -> a valid image of 40 x 24 pixels or so."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    rgb = coarse.resize((40, 24), Image.Resampling.BICUBIC)
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    colours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    about: dict[str, Any] = {"exif": exif, "icc_profile": colours}
    rgba = rgb.copy()
    rgba.putalpha(128)
    deep = Image.fromarray(generator.integers(0, 65536, (24, 40), dtype=np.uint16))
    recipes: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg": (rgb, "JPEG", about),
        "jpeg-progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg-cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "jpeg-large": (rgb.resize((400, 240)), "JPEG", {}),
        "mpo": (rgb, "MPO", frames),
        "png": (rgb, "PNG", about),
        "png-palette": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "png-alpha": (rgba, "PNG", {}),
        "png-deep": (deep, "PNG", {}),
        "apng": (rgb, "PNG", frames),
        "gif": (rgb.quantize(16), "GIF", {}),
        "gif-animated": (rgb, "GIF", frames),
        "webp": (rgb, "WEBP", about),
        "webp-lossless": (rgba, "WEBP", {"lossless": True}),
        "webp-animated": (rgb, "WEBP", frames),
        "tiff": (rgb, "TIFF", about),
        "tiff-pages": (rgb, "TIFF", frames),
        "tiff-deep": (deep, "TIFF", {}),
        "tiff-float": (deep.convert("F"), "TIFF", {}),
        **{
            f"tiff-{name}": (rgb, "TIFF", {"compression": name})
            for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd")
        },
        "tiff-fax": (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        "bmp": (rgb, "BMP", {}),
        "bmp-palette": (rgb.quantize(16), "BMP", {}),
        "dib": (rgb, "DIB", {}),
        "tga": (rgb, "TGA", {}),
        "tga-rle": (rgba, "TGA", {"compression": "tga_rle"}),
        "ico": (rgba, "ICO", {"sizes": [(16, 16), (32, 32)]}),
        "jpeg2000": (rgb, "JPEG2000", {}),
        "j2k": (rgb, "JPEG2000", {"no_jp2": True}),
        "avif": (rgb, "AVIF", about),
        "avif-animated": (rgb, "AVIF", frames),
        "ppm": (rgb, "PPM", {}),
        "pgm-deep": (deep, "PPM", {}),
        "pcx": (rgb, "PCX", {}),
        "qoi": (rgb, "QOI", {}),
    }
    return {name: _saved(*recipe) for name, recipe in recipes.items()}


def _saved(image: Image.Image, image_format: str, options: dict[str, Any]) -> bytes:
    """Copies are saved, because saving a JPEG leaves its options on the image itself."""
    stream = io.BytesIO()
    others = {"append_images": [frame.copy() for frame in options.get("append_images", ())]}
    image.copy().save(stream, image_format, **(options | others))
    return stream.getvalue()


def mutated(data: bytes, seed: str) -> bytes:
    """The same damage for the same seed: one to four mutations, most of them near the beginning."""
    generator = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        if len(damaged) > 4:
            generator.choice(_MUTATIONS)(generator, damaged)
    if damaged.startswith(b"\x89PNG") and generator.random() < 0.5:
        _repair_png(damaged)
    return bytes(damaged)


def _repair_png(data: bytearray) -> None:
    """Make the checksums right, so that the damage gets past them."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def _place(generator: random.Random, data: bytearray) -> int:
    """Headers are short, and where most decisions are made."""
    end = min(len(data), generator.choice((32, 128, 1024, len(data))))
    return generator.randrange(end)


def _flip(generator: random.Random, data: bytearray) -> None:
    data[_place(generator, data)] ^= 1 << generator.randrange(8)


def _overwrite(generator: random.Random, data: bytearray) -> None:
    data[_place(generator, data)] = generator.randrange(256)


def _extreme(generator: random.Random, data: bytearray) -> None:
    """A number of one, two or four bytes, in either order, becomes an extreme one."""
    at, width = _place(generator, data), generator.choice((1, 2, 4))
    value = generator.choice(_EXTREMES) % 256**width
    data[at : at + width] = value.to_bytes(width, generator.choice(("big", "little")))


def _truncate(generator: random.Random, data: bytearray) -> None:
    del data[_place(generator, data) + 1 :]


def _piece(generator: random.Random, data: bytearray) -> tuple[int, int]:
    start = _place(generator, data)
    return start, min(len(data), start + generator.choice((1, 4, 12, 100, 1000)))


def _remove(generator: random.Random, data: bytearray) -> None:
    start, end = _piece(generator, data)
    del data[start:end]
    data.extend(b"\0" * (not data))


def _duplicate(generator: random.Random, data: bytearray) -> None:
    start, end = _piece(generator, data)
    at = _place(generator, data)
    data[at:at] = data[start:end] * generator.choice((1, 1, 2, 50))


def _swap(generator: random.Random, data: bytearray) -> None:
    start, end = _piece(generator, data)
    at = _place(generator, data)
    piece = data[start:end]
    del data[start:end]
    data[at:at] = piece


def _blank(generator: random.Random, data: bytearray) -> None:
    start, end = _piece(generator, data)
    data[start:end] = bytes([generator.choice((0, 255))]) * (end - start)


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _overwrite,
    _extreme,
    _extreme,
    _truncate,
    _remove,
    _duplicate,
    _swap,
    _blank,
)
