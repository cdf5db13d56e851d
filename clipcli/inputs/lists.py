"""Lists of paths: one per line, or separated by NUL, in a file or a pipe."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from io import BufferedReader

from clipcli.errors import UsageError
from clipcli.inputs.tables.recognise import check_plain_list

_CHUNK = 1 << 16
_LONGEST_NAME = 1 << 20  # paths are shorter on every system


def check_list(path: str) -> None:
    """Refuse a list that cannot be read.

    Raises:
        UsageError: it does not exist, is a folder, or may not be read.
    """
    if not os.path.exists(path) or os.path.isdir(path):
        raise UsageError(f"no such list file: {path}")
    if not os.access(path, os.R_OK):
        raise UsageError(f"list file cannot be read: {path}")


class PathList:
    """A list that is open for reading, its beginning read.

    Args:
        file: the stream.
        name: the list's file; `-` is standard input.
    """

    def __init__(self, file: BufferedReader, name: str) -> None:
        self.file = file
        self.is_stdin = name == "-"
        self.name = "standard input" if self.is_stdin else name
        self.head = _head(file)

    def close(self) -> None:
        """Release the stream, unless it is standard input."""
        if not self.is_stdin:
            self.file.close()

    def names(self) -> Iterator[str]:
        """The paths, once; then the stream is closed.

        Raises:
            UsageError: it is something else than a list of paths.
        """
        try:
            check_plain_list(self.head, self.name, _is_regular(self.file))
            yield from read_list(self.file, self.head)
        finally:
            self.close()


def read_list(stream: BufferedReader, head: bytes | None = None) -> Iterator[str]:
    """Paths separated by NUL if the beginning holds one (`find -print0`), else by newlines.

    Args:
        stream: the list.
        head: what has been read of it already, at least the first path.
    """
    head = _head(stream) if head is None else head
    separator = b"\0" if b"\0" in head else b"\n"
    head = head.removeprefix(codecs.BOM_UTF8)
    rest = b""
    while head:
        *complete, rest = (rest + head).split(separator)
        if len(rest) > _LONGEST_NAME:
            raise UsageError(
                f"not a list of images: a name of more than {_LONGEST_NAME} bytes",
                "Separate names by newlines or NUL.",
            )
        yield from _decoded(complete, separator)
        head = stream.read1(_CHUNK)
    yield from _decoded([rest], separator)


def _is_regular(stream: BufferedReader) -> bool:
    """Whether this is a file on disk, of which the beginning is there as a whole, and no pipe."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, TypeError):  # not a file of the system, in tests and notebooks
        return False


def _head(stream: BufferedReader) -> bytes:
    """What has arrived, but as much as tells the separator: a pipe may deliver any part at a time."""
    head = b""
    while chunk := stream.read1(_CHUNK):
        head += chunk
        if b"\0" in head or b"\n" in head or len(head) > _LONGEST_NAME:
            break
    return head


def _decoded(names: list[bytes], separator: bytes) -> Iterator[str]:
    if separator == b"\n":
        names = [name.rstrip(b"\r") for name in names if name.strip()]
    yield from map(os.fsdecode, filter(None, names))
