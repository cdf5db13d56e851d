"""The content of a .tar file as a stream that goes forward only, unpacked on the way if it is compressed."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from clipcli.errors import ImageError
from clipcli.inputs.archives.file import ArchiveFile
from clipcli.inputs.archives.stored import too_dense

MOST_AT_ONCE = 2**24
"""Bytes of a header, which names a member: longer ones are an attack on the memory."""

_CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def _size_of(source: BinaryIO) -> int:
    position = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(position)
    return size


class Tape:
    """What `tarfile` reads headers from, and we the contents between them.

    Args:
        source: the archive itself.
        unpacked: its content; the same where it is not compressed.
    """

    def __init__(self, source: BinaryIO, unpacked: BinaryIO) -> None:
        self._source, self._unpacked = source, unpacked
        self.is_packed = unpacked is not source
        self._size = _size_of(source)
        self.last = b""
        """What was read last."""
        self._position = 0

    def has(self, size: int) -> bool:
        """Whether the content may have so many bytes; of a compressed one only its end tells."""
        return self.is_packed or size <= self._size

    def tell(self) -> int:
        """Where it is."""
        return self._position

    def seek(self, position: int) -> int:
        """Go forward; of a plain archive, also back."""
        if not self.is_packed:
            self._position = self._unpacked.seek(position)
        while self._position < position and self._forward(min(_CHUNK, position - self._position)):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        """A part of a header.

        Raises:
            ImageError: it is longer than a header can be, or the archive is damaged.
        """
        if not 0 <= size <= MOST_AT_ONCE:
            raise ImageError(f"the archive is damaged: a header of {size / 1e6:.0f} MB")
        self.last = self.content(size) if size else b""
        return self.last

    def content(self, size: int) -> bytes:
        """The next bytes, of any number, but no more than there are.

        Raises:
            ImageError: the archive is damaged.
        """
        data = self._forward(min(size, _CHUNK))
        if len(data) == size or not data:
            return data
        parts = bytearray(data)
        while len(parts) < size and (data := self._forward(min(size - len(parts), _CHUNK))):
            parts += data
        return bytes(parts)

    def finish(self) -> None:
        """Read what is left, so that a checksum at the end of what is compressed is compared.

        Raises:
            ImageError: it is wrong.
        """
        while self.is_packed and self._forward(_CHUNK):
            pass

    def _forward(self, size: int) -> bytes:
        with unpacking_errors():
            data = self._unpacked.read(size)
        self._position += len(data)
        if self.is_packed and (why := too_dense(self._position, self._source.tell())):
            raise ImageError(f"{why}: the rest of the archive is not read")
        return data


@contextlib.contextmanager
def unpacking_errors() -> Iterator[None]:
    """Turn what reading a compressed file raises into an `ImageError`."""
    from clipcli.inputs.archives.zstd import ZstdError

    try:
        yield
    except EOFError:
        raise ImageError("the archive is truncated; what followed is lost") from None
    except (OSError, zlib.error, ZstdError) as error:  # gzip.BadGzipFile is an OSError
        raise ImageError(f"the archive is damaged ({error}); what followed is lost") from None


@contextlib.contextmanager
def opened(archive: ArchiveFile) -> Iterator[Tape]:
    """The content of an archive; how it is compressed is told by its first bytes.

    Raises:
        ImageError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(archive.open())
        head = source.read(4)
        source.seek(0)
        unpacked = _unpacked(source, head)
        if unpacked is not source:
            stack.enter_context(unpacked)
        yield Tape(source, unpacked)


def _unpacked(source: BinaryIO, head: bytes) -> BinaryIO:
    if head.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=source))
    if head == _ZSTD:
        from clipcli.inputs.archives.zstd import ZstdFile

        return cast(BinaryIO, ZstdFile(source))
    return source
