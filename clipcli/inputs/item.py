"""The kinds of `Item`: a file, encoded bytes, or pixels in memory, all read in the same way."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, cast

from clipcli.errors import ImageError
from clipcli.files import identity
from clipcli.records import Columns, ImageFailure, Item, Version

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 2**31
"""Larger files are refused before they are read: 2.1 GB, more than `MAX_PIXELS` take up uncompressed."""

RACY_SECONDS = 2  # as coarse as times are on some file systems


@dataclass(frozen=True, slots=True)
class FileItem:
    """An image file, by its path; `path` says where it lies if it is called otherwise."""

    name: str
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    path: str | None = None
    kind: ClassVar[str] = "file"

    def version(self) -> Version | None:
        """Absolute path, and what the file system tells of the content, see `files.identity`.

        None where the file cannot be looked at, or was changed so lately that it may change again without
        its times telling.
        """
        path = self.location
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if time.time() - max(status.st_mtime_ns, status.st_ctime_ns) / 1e9 < RACY_SECONDS:
            return None
        return Version(os.fsencode(os.path.abspath(path)), identity(status))

    def read(self) -> bytes:
        """The file's content; errors as in `read_file`."""
        return read_file(self.location)

    @property
    def location(self) -> str:
        """Its path."""
        return self.name if self.path is None else self.path


@dataclass(frozen=True, slots=True)
class BytesItem:
    """An encoded image in memory."""

    name: str
    data: bytes
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    kind: ClassVar[str] = "in memory"

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
    kind: ClassVar[str] = "in memory"

    def version(self) -> None:
        """None: the content is at hand."""

    def read(self) -> Image.Image:
        """The image itself, which whoever reads it leaves as it is."""
        return self.image


def changed(item: Item | ImageFailure, **fields: Any) -> Item | ImageFailure:
    """An item, or what cannot be listed, with other values of some of its fields."""
    if isinstance(item, ImageFailure):
        return item._replace(**fields)
    return cast("Item", replace(cast(Any, item), **fields))


def read_file(path: str) -> bytes:
    """Read a regular file; a pipe or device is refused, because reading one may never end.

    Raises:
        ImageError: it is missing, too large, not a regular file, or cannot be read.
    """
    with reading_errors():
        size = size_of_file(path)
        if size > MAX_BYTES:
            raise ImageError(f"too large: {size / 1e9:.1f} GB, the limit is {MAX_BYTES / 1e9:.1f} GB")
        return Path(path).read_bytes()


def open_file(path: str) -> BinaryIO:
    """Open a regular file, of any size, to be read in parts.

    Raises:
        ImageError: it is missing, not a regular file, or cannot be read.
    """
    with reading_errors():
        size_of_file(path)
        return open(path, "rb")


def size_of_file(path: str) -> int:
    """How many bytes a regular file has.

    Raises:
        ImageError: it is something else.
        OSError: it cannot be looked at.
    """
    status = os.stat(path or ".")
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    return status.st_size


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Turn what reading a file raises into an `ImageError`."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(getattr(error, "strerror", None) or str(error)) from None
