"""An archive as it was when it was listed, and what is kept of some archives while a process runs."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Generic, TypeVar

from clipcli.errors import ImageError
from clipcli.files import identity
from clipcli.inputs.item import RACY_SECONDS, open_file
from clipcli.inputs.remote import as_image_errors
from clipcli.records import Version
from clipcli.remote import objects
from clipcli.remote.addresses import is_bucket, is_remote, shown

MEMBER_MARK = "!/"
"""Parts the path of an archive from the path of a member in it: `scans.zip!/a/b.jpg`."""

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive at one moment.

    Args:
        path: absolute; or the address of an object in a bucket.
        state: what the file system told of its content, see `files.identity`; or what the bucket told.
        is_settled: whether it was left alone long enough for `state` to change with its content.
    """

    path: str
    state: str
    is_settled: bool

    @property
    def is_remote(self) -> bool:
        """Whether it lies in a bucket."""
        return is_remote(self.path)

    @classmethod
    def at(cls, path: str) -> ArchiveFile:
        """The archive as it is now.

        Raises:
            ImageError: it is missing or cannot be read.
        """
        if is_remote(path):
            return cls._in_bucket(path)
        with open_file(path) as file:
            status = os.fstat(file.fileno())
        settled = time.time() - max(status.st_mtime_ns, status.st_ctime_ns) / 1e9 >= RACY_SECONDS
        return cls(os.path.abspath(path), identity(status), settled)

    @classmethod
    def _in_bucket(cls, url: str) -> ArchiveFile:
        if not is_bucket(url):
            raise ImageError("an archive on a web server: download it first")
        with as_image_errors():
            token = objects.facts(url).token
        return cls(url, token or "", token is not None)

    def open(self) -> BinaryIO:
        """Its content, from the beginning.

        Raises:
            ImageError: it is missing, cannot be read, or is not the same as before.
        """
        if self.is_remote:
            with as_image_errors():
                return objects.opened(self.path)
        file = open_file(self.path)
        if identity(os.fstat(file.fileno())) != self.state:
            file.close()
            raise ImageError("the archive was changed after it was listed: run it again")
        return file

    def version(self, member: str, token: str) -> Version | None:
        """The version of a member; None if the archive may change again without its times telling."""
        if not self.is_settled:
            return None
        return Version(os.fsencode(f"{shown(self.path)}{MEMBER_MARK}{member}"), f"{self.state}-{token}")


class OfRecentArchives(Generic[_Kept]):
    """Something that is made for an archive when it is first wanted, and kept for the last few archives.

    Safe in threads; in a process that was forked off, everything is made anew.

    Args:
        make: makes it.
        most: archives for which it is kept.
    """

    def __init__(self, make: Callable[[ArchiveFile], _Kept], most: int) -> None:
        self._make, self._most = make, most
        self._forget()
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forget(reference))

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[ArchiveFile, _Kept] = OrderedDict()

    def of(self, archive: ArchiveFile) -> _Kept:
        """What belongs to an archive; raises what making it raises."""
        with self._lock:
            if archive not in self._kept:
                self._kept[archive] = self._make(archive)
            self._kept.move_to_end(archive)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[archive]


def _forget(reference: weakref.ref[OfRecentArchives[_Kept]]) -> None:
    kept = reference()
    if kept is not None:
        kept._forget()
