"""A member of an archive as an item: of an archive that was listed, or by its name alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from clipcli.errors import ImageError
from clipcli.inputs.archives import tars, zips
from clipcli.inputs.archives.file import MEMBER_MARK, ArchiveFile, OfRecentArchives
from clipcli.inputs.archives.stored import Entry, Stored
from clipcli.records import NO_COLUMNS, Columns, Version
from clipcli.remote.addresses import is_remote

ZIP_SUFFIXES = (".zip", ".cbz")
TWICE = "another member of this name comes before it in the archive, and only that one is read"
_MOST_INDEXES = 4


@dataclass(frozen=True, slots=True)
class MemberItem:
    """A member of an archive.

    Args:
        name: the archive as the user named it, `!/`, and the member's path.
        archive: as it was when the member was found.
        member: its path in the archive.
        stored: where it lies in there.
    """

    name: str
    archive: ArchiveFile
    member: str
    stored: Stored
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    kind: ClassVar[str] = "archive member"

    @property
    def is_remote(self) -> bool:
        """Whether it must come from a network."""
        return self.archive.is_remote

    def version(self) -> Version | None:
        """That of the archive, with what it tells of the member."""
        return self.archive.version(self.member, self.stored.token)

    def read(self) -> bytes:
        """The content; errors as in `Stored.read`."""
        return self.stored.read(self.archive)


@dataclass(frozen=True, slots=True)
class NamedMember:
    """A member of an archive that is looked up when it is needed.

    Args:
        name: as outputs have it.
        path: that of the archive.
        member: its path in the archive.
    """

    name: str
    path: str
    member: str
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    kind: ClassVar[str] = "archive member"

    @property
    def is_remote(self) -> bool:
        """Whether it must come from a network."""
        return is_remote(self.path)

    def version(self) -> Version | None:
        """As that of `MemberItem`; None if there is no such member."""
        try:
            return self._found().version()
        except ImageError:
            return None

    def read(self) -> bytes:
        """The content.

        Raises:
            ImageError: there is no such member, or it cannot be read.
        """
        return self._found().read()

    def _found(self) -> MemberItem:
        archive = ArchiveFile.at(self.path)
        stored = _INDEXES.of(archive).member(self.member)
        return MemberItem(self.name, archive, self.member, stored, self.columns, self.truth)


def item_of(entry: Entry, archive: ArchiveFile, path: str, columns: Columns = NO_COLUMNS) -> MemberItem:
    """A member that was found.

    Args:
        entry: what the archive says of it.
        archive: the archive.
        path: that of the archive, as the user named it.
        columns: cells that travel with it.

    Raises:
        ImageError: it cannot be read.
    """
    return MemberItem(f"{path}{MEMBER_MARK}{entry.path}", archive, entry.path, entry.taken(), columns)


def entries(archive: ArchiveFile) -> Iterator[Entry]:
    """The files in an archive, in its order.

    Raises:
        ImageError: it is none, or is damaged; of a truncated one after the members before the damage.
    """
    is_zip = archive.path.lower().endswith(ZIP_SUFFIXES)
    return zips.entries(archive) if is_zip else tars.entries(archive)


class _Index:
    """The members of an archive by their paths; of several with the same path, the first."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._members: dict[str, Stored | str] = {}
        self._damage = ""
        try:
            for entry in entries(archive):
                self._members.setdefault(entry.path, entry.stored or entry.refusal)
        except ImageError as error:
            self._damage = error.message

    def member(self, path: str) -> Stored:
        found = self._members.get(path) or self._damage or "no such file in the archive"
        if isinstance(found, str):
            raise ImageError(found)
        return found


_INDEXES = OfRecentArchives(_Index, _MOST_INDEXES)
