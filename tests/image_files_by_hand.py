"""Image files that Pillow does not write, from the arrays that they hold."""

from __future__ import annotations

import struct
import zlib

import numpy as np

PNG_MARK = b"\x89PNG\r\n\x1a\n"


def tga(colors: np.ndarray, fourth: np.ndarray, attributes: int, run_length: bool = False) -> bytes:
    """True colour in 32 bits, from the top, with so many attribute bits."""
    height, width = fourth.shape
    pixels = np.dstack([colors[..., ::-1], fourth])
    kind = 10 if run_length else 2
    head = struct.pack("<BBB5xHHHHBB", 0, 0, kind, 0, 0, width, height, 32, 0x20 | attributes)
    rows = [(bytes([width - 1]) if run_length else b"") + row.tobytes() for row in pixels]
    return head + b"".join(rows)


def bmp32(colors: np.ndarray, fourth: np.ndarray, header: int, masked: bool) -> bytes:
    """32 bits a pixel; `masked` has a header of version 4 or 5 say that the fourth byte is alpha."""
    masked = masked and header > 40
    height, width = fourth.shape
    pixels = np.dstack([colors[::-1, :, ::-1], fourth[::-1]]).tobytes()
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3 * masked, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masked else bytes(16)
    info = (info + masks).ljust(header, b"\0")[:header]
    return b"BM" + struct.pack("<IHHI", 14 + header + len(pixels), 0, 0, 14 + header) + info + pixels


def icon(image: bytes, size: int) -> bytes:
    """An ICO with one image of 32 bits a pixel."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, size, size, 0, 0, 1, 32, len(image), 22) + image


def png(samples: np.ndarray, depth: int, kind: int, transparent: bytes | None = None) -> bytes:
    """(H, W, channels) samples of a colour type, in rows without filters."""
    height, width = samples.shape[:2]
    chunks = [(b"IHDR", struct.pack(">II5B", width, height, depth, kind, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(png_rows(samples, depth))), (b"IEND", b"")]
    return png_file(chunks)


def png_file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums."""
    return PNG_MARK + b"".join(png_chunk(kind, content) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_rows(samples: np.ndarray, depth: int) -> bytes:
    """(H, W, channels) samples as the uncompressed content of IDAT."""
    if depth >= 8:
        rows = samples.astype(f">u{depth // 8}").reshape(len(samples), -1).view(np.uint8)
    else:
        bits = (samples[..., 0, None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)
    return np.pad(rows, ((0, 0), (1, 0))).tobytes()
