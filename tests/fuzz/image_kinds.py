"""Images of every depth, photometric interpretation and kind of alpha, and the colours that they show.

TIFFs are written by tifffile and imagecodecs, which also read them back; the others are simple enough to be
written here.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import tifffile
from image_files_by_hand import png_file, png_rows

SIZE = (13, 16)  # rows and columns; 16 so that samples of any depth fill whole bytes


class Kind(NamedTuple):
    """An image file, and the 8-bit RGB that it shows on white."""

    name: str
    data: bytes
    expected: np.ndarray


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((values.astype(np.float64) - low) / (high - low) * 255).clip(0, 255)


def on_white(colors: np.ndarray, alpha: np.ndarray | None, associated: bool) -> np.ndarray:
    if alpha is not None:
        share = alpha[..., None] / 255
        colors = colors + (1 - share) * 255 if associated else colors * share + (1 - share) * 255
    return np.broadcast_to(colors, (*colors.shape[:2], 3)).clip(0, 255)


# --- TIFF ----------------------------------------------------------------------------------------

PHOTOMETRIC = {0: "miniswhite", 1: "minisblack", 2: "rgb"}
DEPTHS = [
    *((bits, "u") for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 32)),
    *((bits, "i") for bits in (8, 16, 32)),
]
DEPTHS += [(bits, "f") for bits in (16, 32, 64)]
CODECS = [None, "lzw", "adobe_deflate", "packbits", "zstd"]


def tiff(generator: np.random.Generator) -> Kind:
    photometric = int(generator.integers(3))
    bits, kind = DEPTHS[generator.integers(len(DEPTHS))]
    extra = [(), (0,), (1,), (2,), (0, 2)][generator.integers(5)]
    options = tiff_options(generator, whole=bits in (8, 16, 32, 64), floats=kind == "f")
    colors = 3 if photometric == 2 else 1
    samples = drawn(generator, (*SIZE, colors + len(extra)), bits, kind)
    if 1 in extra:  # associated: no colour is above its alpha
        samples[..., :colors] = np.minimum(samples[..., :colors], samples[..., -1:])
    return Kind(
        f"tiff-{PHOTOMETRIC[photometric]}-{kind}{bits}-extra{extra}-{options}",
        tiff_file(samples, bits, photometric, extra, options),
        tiff_shown(samples, bits, kind, photometric, extra),
    )


def tiff_options(generator: np.random.Generator, whole: bool, floats: bool) -> dict[str, Any]:
    """Where samples fill no whole bytes, what tifffile can write: not compressed, and little-endian."""
    options: dict[str, Any] = {
        "byteorder": "<>"[generator.integers(2) if whole else 0],
        "compression": CODECS[generator.integers(len(CODECS)) if whole else 0],
        "planarconfig": ["contig", "separate"][generator.integers(2)],
        "bigtiff": bool(generator.integers(4) == 0),
        "rowsperstrip": int(generator.integers(1, 14)),
    }
    if options["compression"] not in (None, "packbits") and generator.integers(2):
        options["predictor"] = 3 if floats else 2
    if whole and generator.integers(4) == 0:
        options["tile"] = (16, 16)
        del options["rowsperstrip"]
    return options


def drawn(generator: np.random.Generator, shape: tuple[int, ...], bits: int, kind: str) -> np.ndarray:
    """Samples over the whole range, both ends included."""
    if kind == "f":
        values = generator.random(shape).astype(f"f{bits // 8}")
        values.flat[:2] = 0, 1
        return values
    limits = (0, 2**bits - 1) if kind == "u" else (0, 2 ** (bits - 1) - 1)
    width = next(width for width in (8, 16, 32) if bits <= width)
    values = generator.integers(*limits, shape, endpoint=True).astype(f"{kind}{width // 8}")
    colors = values.reshape(-1, shape[-1])
    colors[0], colors[1] = limits
    return values


def tiff_file(
    samples: np.ndarray, bits: int, photometric: int, extra: tuple[int, ...], options: dict[str, Any]
) -> bytes:
    options = dict(options)
    order, separate = options.pop("byteorder"), options["planarconfig"] == "separate"
    options["photometric"] = PHOTOMETRIC[photometric]
    if samples.shape[-1] == 1:
        samples = samples[..., 0]
        del options["planarconfig"]
    elif separate:
        samples = np.moveaxis(samples, -1, 0)
    if extra:
        options["extrasamples"] = extra
    if bits not in (8, 16, 32, 64):
        options["bitspersample"] = bits
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=options.pop("bigtiff"), byteorder=order) as writer:
        writer.write(np.ascontiguousarray(samples), metadata=None, **options)
    read_back = tifffile.imread(io.BytesIO(stream.getvalue()))
    np.testing.assert_array_equal(read_back, samples, "the second decoder reads what was drawn")
    return stream.getvalue()


def tiff_shown(
    samples: np.ndarray, bits: int, kind: str, photometric: int, extra: tuple[int, ...]
) -> np.ndarray:
    high = {"u": 2.0**bits - 1, "i": 2.0 ** (bits - 1) - 1, "f": 1.0}[kind]
    shown = scaled(samples, 0, high)
    colors = 3 if photometric == 2 else 1
    alpha = next((shown[..., colors + at] for at, one in enumerate(extra) if one in (1, 2)), None)
    opaque = shown[..., :colors]
    associated = alpha is not None and 1 in extra
    if photometric == 0:
        opaque = alpha[..., None] - opaque if associated else 255 - opaque
    return on_white(opaque, alpha, associated)


# --- PNG -----------------------------------------------------------------------------------------

PNG_KINDS = [(depth, 0) for depth in (1, 2, 4, 8, 16)] + [(depth, 3) for depth in (1, 2, 4, 8)]
PNG_KINDS += [(depth, kind) for kind in (2, 4, 6) for depth in (8, 16)]


def png(generator: np.random.Generator) -> Kind:
    """Of every depth and colour type, with and without a tRNS chunk."""
    depth, kind = PNG_KINDS[generator.integers(len(PNG_KINDS))]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    samples = generator.integers(0, 2**depth, (*SIZE, channels))
    samples[1] = samples[0, 0]  # a row of one colour, which may be the transparent one
    palette = generator.integers(0, 256, (2**depth if kind == 3 else 0, 3)).astype(np.uint8)
    marked = kind in (0, 2, 3) and bool(generator.integers(2))
    alphas = generator.integers(0, 256, len(palette)).astype(np.uint8)
    color = samples[0, 0]
    chunks = [(b"IHDR", struct.pack(">II5B", SIZE[1], SIZE[0], depth, kind, 0, 0, 0))]
    if kind == 3:
        chunks.append((b"PLTE", palette.tobytes()))
    if marked:
        chunks.append((b"tRNS", alphas.tobytes() if kind == 3 else color.astype(">u2").tobytes()))
    chunks += [(b"IDAT", zlib.compress(png_rows(samples, depth))), (b"IEND", b"")]
    high = 2**depth - 1
    if kind == 3:
        alpha = alphas[samples[..., 0]].astype(float) if marked else None
        expected = on_white(palette[samples[..., 0]].astype(float), alpha, False)
    elif kind in (4, 6):
        shown = scaled(samples, 0, high)
        expected = on_white(shown[..., :-1], shown[..., -1], False)
    else:
        alpha = 255.0 * (samples != color).any(axis=-1) if marked else None
        expected = on_white(scaled(samples, 0, high), alpha, False)
    return Kind(f"png-type{kind}-depth{depth}{'-tRNS' * marked}", png_file(chunks), expected)


# --- BMP and TGA ---------------------------------------------------------------------------------


def alpha_of(generator: np.random.Generator) -> tuple[str, np.ndarray]:
    """An alpha channel that is used, and one that nobody filled."""
    if generator.integers(2):
        return "used", generator.integers(0, 256, SIZE).astype(np.uint8)
    return "zero", np.zeros(SIZE, dtype=np.uint8)


def bmp(generator: np.random.Generator) -> Kind:
    """24 and 32 bits, without and with masks; a mask of the fourth byte declares it."""
    rgb = generator.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    name, alpha = alpha_of(generator)
    header = [40, 108, 124][generator.integers(3)]
    bits = [24, 32][generator.integers(2)]
    masked = header > 40 and bits == 32 and bool(generator.integers(2))
    rows = rgb[::-1, :, ::-1]
    if bits == 32:
        rows = np.dstack([rows, alpha[::-1]])
    pixels = np.pad(rows.reshape(SIZE[0], -1), ((0, 0), (0, -rows[0].size % 4))).tobytes()
    info = struct.pack("<IiiHHIIiiII", header, SIZE[1], SIZE[0], 1, bits, 3 * masked, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masked else bytes(16)
    info = (info + masks).ljust(header, b"\0")[:header]
    data = b"BM" + struct.pack("<IHHI", 14 + header + len(pixels), 0, 0, 14 + header) + info + pixels
    shown = alpha.astype(float) if masked and name == "used" else None
    return Kind(
        f"bmp-{bits}-header{header}-mask{masked}-{name}", data, on_white(rgb.astype(float), shown, False)
    )


def tga(generator: np.random.Generator) -> Kind:
    """True colour and grey, with and without attribute bits, compressed or not."""
    name, alpha = alpha_of(generator)
    grey, attributes = bool(generator.integers(2)), [0, 8][generator.integers(2)]
    colors = generator.integers(0, 256, (*SIZE, 1 if grey else 3)).astype(np.uint8)
    fourth = bool(generator.integers(2))
    pixels = np.dstack([colors[..., ::-1], alpha]) if fourth else colors[..., ::-1]
    packed = bool(generator.integers(2))
    kind, depth = (3 if grey else 2) + 8 * packed, 8 * pixels.shape[-1]
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, SIZE[1], SIZE[0], depth, 0x20 | attributes)
    rows = [(bytes([len(row) - 1]) if packed else b"") + row.tobytes() for row in pixels]
    shown = alpha.astype(float) if fourth and attributes and name == "used" else None
    return Kind(
        f"tga-{depth}-type{kind}-attributes{attributes}-{name}",
        head + b"".join(rows) + bytes(8),
        on_white(colors.astype(float), shown, False),
    )


MAKERS = (tiff, tiff, tiff, png, bmp, tga)
