"""Members of .tar files: of plain ones read by their places, of compressed ones as they pass by."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, cast

from clipcli.errors import ImageError
from clipcli.inputs.archives import spool, tape
from clipcli.inputs.archives.file import ArchiveFile
from clipcli.inputs.archives.stored import LINK, NO_FILE, Entry, read_at, too_large

_BLOCK = 512


class TarMember(NamedTuple):
    """Where a member lies: the offset of its header and of its content, its bytes, when it was changed."""

    header: int
    offset: int
    size: int
    mtime: float

    @property
    def token(self) -> str:
        """Place, size and time."""
        return f"{self.header}-{self.size}-{self.mtime:g}"

    def read(self, archive: ArchiveFile) -> bytes:
        """The content; errors as in `Stored.read`."""
        with archive.open() as file:
            return read_at(file, self.offset, self.size)


@dataclass(frozen=True)
class PackedMember:
    """A member of a compressed archive: where it lies once that is unpacked, and perhaps its content."""

    place: TarMember
    held: spool.Held | None = field(default=None, compare=False, repr=False)

    @property
    def token(self) -> str:
        """Place, size and time."""
        return self.place.token

    def read(self, archive: ArchiveFile) -> bytes:
        """The content; errors as in `Stored.read`."""
        content = self.held.take() if self.held else None
        if content is None:
            content = spool.read_again(archive, self.place.offset, self.place.size)
        return content


def entries(archive: ArchiveFile) -> Iterator[Entry]:
    """The files in an archive, in its order.

    Raises:
        ImageError: it is none, or is damaged; of a truncated one after the members before the damage.
    """
    with tape.opened(archive) as content:
        members, waiting = _Members(content), spool.Waiting()
        while (info := members.following()) is not None:
            if info.isreg() and not info.issparse() and not content.has(info.offset_data + info.size):
                raise members.cut_off()
            if not info.isdir():
                yield _entry(info, content, waiting)
        content.finish()


class _Members:
    """Goes through the headers of an archive, of which `tarfile` would keep all."""

    def __init__(self, content: tape.Tape) -> None:
        self._tape, self._count = content, 0
        self._archive: Any = None

    def following(self) -> tarfile.TarInfo | None:
        """The next member; None after the last one.

        Raises:
            ImageError: what should be a header is none, or is missing.
        """
        try:
            info = self._next()
        except ImageError:
            raise
        except Exception as error:  # `tarfile` raises whatever a damaged header makes it raise
            raise self._damage(str(error)) from None
        if info is None and self._tape.last != bytes(_BLOCK):
            raise self._damage("its end mark is missing" if len(self._tape.last) < _BLOCK else "no header")
        self._count += 1
        return info

    def _next(self) -> tarfile.TarInfo | None:
        if self._archive is None:
            stream: Any = self._tape
            self._archive = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")
        self._archive.members = []
        return cast("tarfile.TarInfo | None", self._archive.next())

    def cut_off(self) -> ImageError:
        """What is wrong if the member that was found last is not whole."""
        self._count -= 1
        return ImageError(f"the archive is truncated: {self._what_is_left()}")

    def _damage(self, why: str) -> ImageError:
        if not self._count:
            return ImageError(why if why == "empty file" else f"not a .tar file, or a damaged one: {why}")
        return ImageError(f"the archive is truncated or damaged ({why}): {self._what_is_left()}")

    def _what_is_left(self) -> str:
        return f"its first {self._count} members are read, and what followed is lost"


def _entry(info: tarfile.TarInfo, content: tape.Tape, waiting: spool.Waiting) -> Entry:
    path = info.name
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    if refusal := _refusal(info):
        return Entry(path, None, refusal)
    member = TarMember(info.offset, info.offset_data, info.size, info.mtime)
    read = partial(_read, content, member)
    if not content.is_packed:
        return Entry(path, member, "", info.size, read)
    packed = PackedMember(member)
    return Entry(path, packed, "", info.size, read, lambda: replace(packed, held=waiting.hold(read())))


def _refusal(info: tarfile.TarInfo) -> str:
    """Why a member is not read; empty if it is."""
    if info.issym() or info.islnk():
        return LINK
    if not info.isreg():
        return NO_FILE
    if info.issparse():
        return "a file with holes: unpack the archive first"
    return too_large(info.size)


def _read(content: tape.Tape, member: TarMember) -> bytes:
    content.seek(member.offset)
    data = content.content(member.size)
    if len(data) < member.size:
        raise ImageError("the archive is truncated; what followed is lost")
    return data
