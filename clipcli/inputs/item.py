"""What one outcome is about: a file, encoded bytes, or pixels in memory, all read in the same way."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy.typing as npt

from clipcli.errors import ImageError
from clipcli.records import Columns, Item, Version

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BytesItem", "FileItem", "ImageSource", "Item", "PixelsItem", "read_file"]

MAX_BYTES = 2**31
"""Larger files are refused before they are read: 2.1 GB, more than `MAX_PIXELS` take up uncompressed."""


class _Readable(Protocol):
    """A file object opened for reading bytes."""

    def read(self) -> bytes: ...


ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any] | _Readable"
"""What Python programs may classify: a path, an encoded image as bytes or in a file object, a Pillow image,
or an array of pixels (H, W, 3) RGB or (H, W) grey, uint8."""


@dataclass(frozen=True, slots=True)
class FileItem:
    """An image file, by its path."""

    name: str
    columns: Columns = field(default_factory=dict)
    truth: str | None = None

    def version(self) -> Version | None:
        """Absolute path, size and modification time, or None where the file cannot be looked at."""
        try:
            status = os.stat(self.name)
        except (OSError, ValueError):
            return None
        return Version(os.fsencode(os.path.abspath(self.name)), f"{status.st_size}-{status.st_mtime_ns}")

    def read(self) -> bytes:
        """The file's content; errors as in `read_file`."""
        return read_file(self.name)


@dataclass(frozen=True, slots=True)
class BytesItem:
    """An encoded image in memory."""

    name: str
    data: bytes
    columns: Columns = field(default_factory=dict)
    truth: str | None = None

    def version(self) -> None:
        """None: the content is at hand."""

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class PixelsItem:
    """A decoded image in memory."""

    name: str
    image: Image.Image
    columns: Columns = field(default_factory=dict)
    truth: str | None = None

    def version(self) -> None:
        """None: the content is at hand."""

    def read(self) -> Image.Image:
        """The image itself, which whoever reads it leaves as it is."""
        return self.image


def read_file(path: str) -> bytes:
    """Read a regular file; a pipe or device is refused, because reading one may never end.

    Raises:
        ImageError: it is missing, too large, not a regular file, or cannot be read.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"too large: {status.st_size / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB"
            )
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(getattr(error, "strerror", None) or str(error)) from None
