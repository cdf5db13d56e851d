"""What a file declares of its pixels and Pillow does not regard: which are transparent, and their depth.

TGA, BMP, DIB, ICO, JPEG 2000 and TIFF have files whose fourth channel nobody filled: where nothing says that
it is an alpha channel and it is zero everywhere, it is unused. Other formats declare transparency, and an
image that is transparent everywhere is white.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageFile

from clipcli.errors import ImageError
from clipcli.images.color import parts
from clipcli.images.tiff_directory import declares_alpha, directory

_UNDECLARED = ("TGA", "BMP", "DIB", "ICO", "JPEG2000", "TIFF")
_JPEG2000_SIZ = b"\xff\x4f\xff\x51"
_PNG_MARK = b"\x89PNG"
_PNG_GREY, _PNG_RGB = 0, 2  # colour types
_TGA_SIGNATURE = b"TRUEVISION-XFILE.\0"
_TGA_ALPHA = (3, 4)  # attribute types: alpha, premultiplied alpha


def as_declared(image: Image.Image, image_format: str | None, data: bytes) -> Image.Image:
    """A decoded image with the transparency and the range of values that its file declares."""
    if image_format == "PNG":
        return _with_png_transparency(image, data)
    if image_format == "JPEG2000":
        image = _with_full_range(image, data)
    if image_format not in _UNDECLARED or not image.has_transparency_data:
        return image
    if image_format == "TGA" and not _tga_has_alpha(data):
        return _without_alpha(image)
    if _declares(image, image_format, data):
        return image
    alpha = image if "A" in image.getbands() else image.convert("RGBA")
    if "A" not in alpha.getbands() or alpha.getchannel("A").getextrema() != (0, 0):
        return image
    return _without_alpha(image)


def _without_alpha(image: Image.Image) -> Image.Image:
    """The colours, those of a transparent palette too."""
    if image.mode == "P":
        image = image.convert("RGBA")
    opaque = image.convert("L" if image.mode == "LA" else "RGB")
    opaque.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return opaque


def _declares(image: Image.Image, image_format: str, data: bytes) -> bool:
    if image_format == "TIFF":
        found = directory(data)
        return found is not None and declares_alpha(found)
    if image_format == "JPEG2000":
        return b"cdef" in data[:4096]  # the box that says what each channel is
    return image_format == "ICO" and _png_in_icon(image, data)


def _with_full_range(image: Image.Image, data: bytes) -> Image.Image:
    """JPEG 2000 of fewer than 8 bits a sample, which Pillow shifts to the left: white is not yet white then.

    The depths are in the marker SIZ (ISO/IEC 15444-1, A.5.1).

    Raises:
        ImageError: it has colours of more than 8 bits, of which Pillow turns the brightest black.
    """
    at = data.find(_JPEG2000_SIZ) + len(_JPEG2000_SIZ)
    (channels,) = struct.unpack_from(">H", data, at + 36)
    depths = {1 + (depth & 127) for depth in data[at + 38 : at + 38 + 3 * channels : 3]}
    if max(depths) > 8 and channels > 2:
        raise ImageError(
            f"JPEG 2000 colours of {max(depths)} bits cannot be decoded; convert it to PNG or TIFF"
        )
    if len(depths) != 1 or image.mode not in ("L", "LA", "RGB", "RGBA") or (bits := depths.pop()) >= 8:
        return image
    full = [(value >> (8 - bits)) * 255 // (2**bits - 1) for value in range(256)]
    return image.point(full * len(image.getbands()))


def _png_in_icon(image: Image.Image, data: bytes) -> bool:
    entries = struct.iter_unpack("<12xI", data[6 : 6 + 16 * struct.unpack_from("<H", data, 4)[0]])
    return any(
        data.startswith(_PNG_MARK, at) and struct.unpack_from(">II", data, at + 16) == image.size
        for (at,) in entries
    )


def _tga_has_alpha(data: bytes) -> bool:
    """By the number of attribute bits, and the kind of attributes in the extension area of version 2."""
    if data.endswith(_TGA_SIGNATURE):
        (at,) = struct.unpack_from("<I", data, len(data) - 26)
        kind = data[at + 494 : at + 495] if at else b""
        if kind and kind[0] not in _TGA_ALPHA:
            return False
    return data[17] & 15 != 0 or data[1] == 1  # a palette has alpha by the size of its entries


def _with_png_transparency(image: Image.Image, data: bytes) -> Image.Image:
    """A transparent grey or colour is stated in the file's own depth, which Pillow does not regard."""
    depth, kind = data[24], data[25]
    transparent = image.info.get("transparency")
    if transparent is None or (depth == 8 or kind not in (_PNG_GREY, _PNG_RGB)):
        return image
    if kind == _PNG_GREY and depth in (2, 4):
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    elif kind == _PNG_RGB and depth == 16:
        return _with_transparent_color(image, transparent, data)
    return image


def _with_transparent_color(
    image: Image.Image, transparent: tuple[int, int, int], data: bytes
) -> Image.Image:
    """Pillow keeps the upper byte of each sample, so the lower ones are decoded for themselves."""
    lower = Image.open(io.BytesIO(data), formats=["PNG"])
    assert isinstance(lower, ImageFile.ImageFile)
    lower.tile = [lower.tile[0]._replace(args="RGB;16L")]
    color = np.array(transparent)
    alpha = Image.new("L", image.size, 255)
    for (left, top), part in parts(image):
        below = lower.crop((left, top, left + part.width, top + part.height))
        differs = (np.asarray(part) != color >> 8) | (np.asarray(below) != color & 255)
        alpha.paste(Image.fromarray(differs.any(axis=-1).astype(np.uint8) * 255), (left, top))
    del image.info["transparency"]
    image.putalpha(alpha)
    return image
