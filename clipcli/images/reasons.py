"""Why an image cannot be read, in words that help."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence

from PIL import Image, UnidentifiedImageError

from clipcli.errors import ImageError
from clipcli.images.tiff_directory import directory, kind_of

_NOT_IMAGES = {
    b"%PDF": "a PDF is not a raster image",
    b"%!PS": "a PostScript file is not a raster image",
    b"\xc5\xd0\xd3\xc6": "a PostScript file is not a raster image",
    b"<svg": "an SVG is not a raster image",
    b"<!doctype html": "a web page is not an image",
    b"<html": "a web page is not an image",
    b"PK\x03\x04": "an archive is not an image; unpack it first",
    b"\x1f\x8b": "an archive is not an image; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive is not an image; unpack it first",
    b"Rar!": "an archive is not an image; unpack it first",
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_HEIC_NEEDS = "HEIC needs a plug-in: pip install 'clipcli[heif]'"


@contextlib.contextmanager
def as_image_errors(data: bytes | None = None, formats: Sequence[str] = ()) -> Iterator[None]:
    """Whatever goes wrong with an image becomes an `ImageError`.

    Args:
        data: the content of its file, if it comes from one.
        formats: those that can be read, as Pillow names them.
    """
    if data == b"":
        raise ImageError("empty file")
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(_unidentified_reason(data or b"", formats)) from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except ImportError as error:
        raise ImageError(f"the decoder of this format cannot be loaded: {error}") from None
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise ImageError(_reason(str(error) or type(error).__name__)) from None


def _reason(message: str) -> str:
    if message.lower().startswith("unsupported"):
        return f"not supported: {message}"
    return f"damaged image: {message}"


def _unidentified_reason(data: bytes, formats: Sequence[str]) -> str:
    head = data[:1024].lstrip().lower()
    for mark, reason in _NOT_IMAGES.items():
        if head.startswith(mark.lower()) or (head.startswith(b"<?xml") and mark in head):
            return reason
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and "HEIF" not in formats:
        return _why_no_heic()
    found = directory(data)
    if found is not None and found.entries:
        return f"not supported, or damaged: a TIFF with {kind_of(found)}"
    message = _refusal(data, formats)
    return f"damaged image: {message}" if message else "not an image file, or a format that is not supported"


def _why_no_heic() -> str:
    """The plug-in is not installed, or it cannot be loaded here."""
    try:
        import pillow_heif  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "pillow_heif":
            return _HEIC_NEEDS
        return f"HEIC needs its plug-in, which is installed but cannot be loaded: {error}"
    except Exception as error:  # a library that it needs, in a version that it cannot use
        return f"HEIC needs its plug-in, which is installed but cannot be loaded: {error}"
    return _HEIC_NEEDS


def _refusal(data: bytes, formats: Sequence[str]) -> str:
    """What the decoder says that knows the file by its first bytes; nothing if it was only surprised."""
    for name in formats:
        opener, accepts = Image.OPEN[name]
        try:
            if accepts is None or accepts(data[:16]) is not True:
                continue
            opener(io.BytesIO(data), "")
        except SyntaxError as error:
            return "" if error.__cause__ else str(error)
        except Exception:  # any other would have been told
            return ""
    return ""
