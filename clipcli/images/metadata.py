"""Image files without what is not about their pixels: an image is never lost over its metadata.

What these functions return is decoded only after decoding the file itself has failed.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

from PIL import Image

from clipcli.images.tiff_directory import without_other_tags

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"tRNS", b"eXIf")  # of what a decoder may ignore, if the checksum is right
_PNG_PROPERTIES = ("transparency", "icc_profile", "interlace", "bbox", "default_image")
_LARGEST_PROFILE = 2**24
_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # profile, EXIF and XMP


def without_metadata(data: bytes) -> bytes:
    """The file without texts, comments and other properties; itself if it has none."""
    if data.startswith(_PNG_MARK):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data[4:8] == b"ftyp":
        return data.replace(
            b"Exif", b"none"
        )  # the kind of an item; a reader skips kinds that it does not know
    return without_other_tags(data)


def check_properties(image: Image.Image, image_format: str | None) -> None:
    """Refuse a PNG with a text that is named as a property that decides about pixels, and was taken for it.

    Raises:
        ValueError: there is such a text.
    """
    if image_format == "PNG" and any(isinstance(image.info.get(name), str) for name in _PNG_PROPERTIES):
        raise ValueError("a text is named as a property of the image")


def large_profile(data: bytes) -> bytes | None:
    """The colour profile of a PNG, which Pillow refuses above 1 MB; None without one, or if it is damaged."""
    chunks = _png_chunks(data) if data.startswith(_PNG_MARK) else ()
    for kind, chunk in chunks:
        if kind == b"iCCP" and _is_intact(chunk):
            unpacking = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                profile = unpacking.decompress(chunk[8:-4].partition(b"\0")[2][1:], _LARGEST_PROFILE)
                return profile if unpacking.eof else None
    return None


def _png(data: bytes) -> bytes:
    kept = (chunk for kind, chunk in _png_chunks(data) if kind[:1].isupper() or _is_kept(kind, chunk))
    return b"".join([_PNG_MARK, *kept])


def _is_kept(kind: bytes, chunk: bytes) -> bool:
    return kind in _PNG_KEPT and _is_intact(chunk)


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks, each with its kind; behind one whose length is wrong, those that a decoder needs."""
    at = len(_PNG_MARK)
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        lost = not kind.isalpha() or (kind[:1].islower() and not data[end + 4 : end + 8].isalpha())
        if lost:
            found = [data.find(name, at + 8) for name in (b"PLTE", b"IDAT", b"IEND")]
            at = min((place - 4 for place in found if place > 0), default=len(data))
        else:
            yield kind, data[at:end]
            at = end


def _jpeg(data: bytes) -> bytes:
    """Keeps of the application segments those that decide the colours: JFIF and Adobe."""
    kept, at = [data[:2]], 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            break
        if not (0xE1 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _webp(data: bytes) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        chunk = data[at:end]
        if chunk[:4] == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_FLAGS & 255]) + chunk[9:]
        if chunk[:4] not in (b"EXIF", b"XMP ", b"ICCP"):
            kept.append(chunk)
        at = end
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(content).to_bytes(4, "little") + content
