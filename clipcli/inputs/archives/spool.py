"""What passes by once in a compressed .tar file, kept until it is read.

To find the members of such a file is to unpack all of it, so their contents are kept on the way: a run
unpacks each file once. Of the images that a run looks ahead, some are in memory and some more on disk.
Whoever looks further ahead, comes back later or is another process reads from the beginning of the archive,
unpacked into a file without a name as far as is needed.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import weakref
from typing import IO, Any

from clipcli.errors import ImageError
from clipcli.inputs.archives import tape
from clipcli.inputs.archives.file import ArchiveFile, OfRecentArchives

IN_MEMORY = 2**26
"""Bytes that wait in memory, for each pass over an archive."""

IN_FILES = 256
"""Contents that wait on disk besides."""

_CHUNK = 1 << 20


class Waiting:
    """Contents that wait to be read, in one pass over an archive."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may forget a content at any moment
        self._bytes = self._files = 0

    def hold(self, content: bytes) -> Held | None:
        """Keep a content until it is taken or forgotten; None if too many wait already."""
        if self._has_room(len(content), 0):
            return Held(content, None, self)
        return Held(b"", _written(content), self) if self._has_room(0, 1) else None

    def _has_room(self, size: int, files: int) -> bool:
        with self._lock:
            fits = self._bytes + size <= IN_MEMORY and self._files + files <= IN_FILES
            if fits:
                self._bytes += size
                self._files += files
            return fits

    def release(self, size: int, files: int) -> None:
        """Make room for others."""
        with self._lock:
            self._bytes -= size
            self._files -= files


def _written(content: bytes) -> IO[bytes]:
    """A file without a name; where there is no room for it, an empty one."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed when it is taken or forgotten)
    try:
        whole = file.write(content) == len(content)
    except OSError:
        whole = False
    if not whole:
        file.truncate(0)
    return file


class Held:
    """A content that waits: in memory, or in a file without a name. Sent to another process, it travels."""

    def __init__(self, content: bytes, file: IO[bytes] | None, waiting: Waiting | None) -> None:
        self._content: bytes | None = content
        self._file, self._waiting = file, waiting
        self._lock = threading.Lock()

    def take(self) -> bytes | None:
        """The content, once; then None."""
        with self._lock:
            content, self._content = self._peek(), None
            self._close(content)
        return content

    def _peek(self) -> bytes | None:
        if self._content is None or self._file is None:
            return self._content
        with contextlib.suppress(OSError):
            self._file.seek(0)
            return self._file.read() or None
        return None

    def _close(self, content: bytes | None) -> None:
        if self._waiting is not None:
            self._waiting.release(0 if self._file else len(content or b""), int(self._file is not None))
        if self._file is not None:
            self._file.close()
        self._file = self._waiting = None

    def __del__(self) -> None:
        self._close(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            return _sent, (self._peek(),)


def _sent(content: bytes | None) -> Held | None:
    return None if content is None else Held(content, None, None)


# --- The beginning of an archive -----------------------------------------------------------------


class _Spool:
    """The beginning of an archive, unpacked into a file without a name as far as it was asked for."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._lock = threading.Lock()
        self._end = 0
        with contextlib.ExitStack() as stack:
            self._tape = stack.enter_context(tape.opened(archive))
            self._file = stack.enter_context(tempfile.TemporaryFile())
            weakref.finalize(self, _let_go, stack.pop_all())

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            while self._end < offset + size:
                data = self._tape.content(_CHUNK)
                if not data:
                    raise ImageError("the archive is truncated")
                self._file.seek(self._end)
                self._end += self._file.write(data)
            self._file.seek(offset)
            return self._file.read(size)


def _let_go(files: contextlib.ExitStack) -> None:
    """Close files that nobody reads any more; what cannot be flushed then is nobody's loss."""
    with contextlib.suppress(OSError):
        files.close()


_SPOOLS = OfRecentArchives(_Spool, most=4)


def read_again(archive: ArchiveFile, offset: int, size: int) -> bytes:
    """A part of the unpacked content of an archive, from any place.

    Raises:
        ImageError: it is damaged, was changed, or there is no room on the disk.
    """
    try:
        return _SPOOLS.of(archive).read(offset, size)
    except OSError as error:
        raise ImageError(f"the archive cannot be unpacked: {error.strerror or error}") from None
