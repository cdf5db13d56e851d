"""What an archive says of a member, and the limits that hold for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from clipcli.errors import ImageError
from clipcli.inputs import item
from clipcli.inputs.archives.file import ArchiveFile

MAX_RATIO = 200
"""How much larger than in the archive a member may be, if it has more than `FREE_BYTES`."""

FREE_BYTES = 2**28
"""A blank scan of this size may be packed as tightly as it likes."""

LINK = "a link in an archive, which is not followed"
NO_FILE = "not a regular file"


class Stored(Protocol):
    """Where in an archive a member lies, and how."""

    @property
    def token(self) -> str:
        """Changes with the content of the member, while the archive stays the same."""

    def read(self, archive: ArchiveFile) -> bytes:
        """The content.

        Raises:
            ImageError: it cannot be read.
        """


def _nothing() -> bytes:
    raise ImageError("it can only be read through the list of the archive")


@dataclass(frozen=True)
class Entry:
    """A file in an archive, as the archive is gone through.

    Args:
        path: in the archive.
        stored: where it lies; None if it cannot be read.
        refusal: why it cannot be read.
        size: bytes of its content, as the archive has it.
        content: reads it, before the next entry is asked for.
        take: `stored`, with what it needs of the content if that passes by once only.
    """

    path: str
    stored: Stored | None
    refusal: str = ""
    size: int = 0
    content: Callable[[], bytes] = field(default=_nothing, repr=False)
    take: Callable[[], Stored] | None = field(default=None, repr=False)

    def taken(self) -> Stored:
        """Where it lies, to be read at any time.

        Raises:
            ImageError: it cannot be read.
        """
        if self.stored is None:
            raise ImageError(self.refusal)
        return self.take() if self.take else self.stored


def too_large(size: int) -> str:
    """Why a member of this size is not read; empty if it is."""
    if size <= item.MAX_BYTES:
        return ""
    return f"too large: {size / 1e9:.1f} GB, the limit is {item.MAX_BYTES / 1e9:.1f} GB"


def too_dense(size: int, stored: int) -> str:
    """Why a member is not read that takes so few bytes in the archive; empty if it is."""
    if size <= FREE_BYTES or size <= MAX_RATIO * stored:
        return ""
    return f"suspicious: {size / 1e6:.0f} MB, packed into {stored / 1e6:.1f} MB"


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """A part of an archive.

    Raises:
        ImageError: the archive ends before, or cannot be read.
    """
    if offset < 0:
        raise ImageError("the archive is damaged: a member lies before its beginning")
    with item.reading_errors():
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise ImageError("the archive is truncated")
    return data
