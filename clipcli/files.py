"""How the package writes files (complete under their name, or not at all), and how it recognises them.

What is written is called `NAME.partial` until it is complete. A link is followed, so that it stays one.
A device or pipe is written to as it is. What is to lie in a bucket is written to a temporary folder first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from clipcli.errors import OutputError, RemoteError, UsageError
from clipcli.remote.addresses import address_of

PARTIAL = ".partial"


def identity(status: os.stat_result) -> str:
    """What a file system tells of a file's content without reading it: equal for a file that was not touched.

    Size and modification time alone can be set to those of another file, as copies and reproducible builds
    do; the time of change (of creation on Windows) and the inode cannot.
    """
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def shown(path: object) -> str:
    """A path as messages have it; of what lies in a bucket the address, where a path has one slash less."""
    return address_of(path) or str(path)


@contextlib.contextmanager
def write_errors(name: object, others: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what writing raises into an error that says what cannot be written, and why.

    Args:
        name: what the error calls the file.
        others: what a library raises besides `OSError`.

    Raises:
        OutputError: instead of such an error.
        BrokenPipeError: as it is, when the reader of a pipe has gone away.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except RemoteError as error:
        raise OutputError(f"cannot write {shown(name)}: {error.message}", error.hint) from None
    except Exception as error:
        if not isinstance(error, (OSError, *others)):
            raise
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {shown(name)}: {reason}") from error


class AtomicFile:
    """A file under way: `partial` is where to write it.

    Args:
        path: the file; one that was made from an address such as `s3://bucket/out.csv` is uploaded.
        shared: several processes may write it at the same time, so each has a partial file of its own.

    Raises:
        UsageError: its folder does not exist, or it is a folder itself.
        OutputError: it or its folder is read-only, or the place cannot be looked at.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path = path
        self._url, self._shared = address_of(path), shared
        with write_errors(path):
            self.target = path if self._url else _target(path)
            self.is_replaced = self._url is not None or self.target.is_file() or not self.target.exists()
            if self._url is not None:
                from clipcli.remote import objects

                objects.check_writable(self._url)
            elif self.is_replaced:
                _try_to_create(self.partial)

    @cached_property
    def partial(self) -> Path:
        """Where to write: beside the file, or for a bucket in a temporary folder, which is made now."""
        suffix = f".{os.getpid()}{PARTIAL}" if self._shared else PARTIAL
        if self._url is not None:
            return Path(tempfile.mkdtemp(prefix="clipcli-"), self.target.name + suffix)
        return self.target.with_name(self.target.name + suffix) if self.is_replaced else self.path

    def complete(self, sync: bool = False) -> None:
        """Give the file its name; with `sync`, once it is on the disk, so that a power cut leaves it whole.

        Raises:
            OutputError: that is not possible.
        """
        if not self.is_replaced:
            return
        with write_errors(self.path):
            if self._url is not None:
                from clipcli.remote import objects

                objects.upload(str(self.partial), self._url)
                self.abandon()
                return
            if sync:
                sync_file(self.partial)
            self.partial.replace(self.target)
            if sync:
                sync_folder(self.target.parent)

    def abandon(self, keep: bool = False) -> None:
        """Leave the file as it was; `partial`, with what has been written, stays only if it is to be kept."""
        if not self.is_replaced or keep or "partial" not in self.__dict__:
            return
        with contextlib.suppress(OSError):  # the error that led here is what the user must see
            self.partial.unlink()
        if self._url is not None:
            with contextlib.suppress(OSError):
                self.partial.parent.rmdir()


@contextlib.contextmanager
def replacing(
    path: Path, *, errors: tuple[type[Exception], ...] = (), sync: bool = False, shared: bool = False
) -> Iterator[Path]:
    """Where to write a file in the block, at whose end it appears; after an error nothing is left behind.

    Args:
        path: the file.
        errors: what writing it raises besides `OSError`.
        sync: let it reach the disk before it replaces another.
        shared: several processes may write it at the same time.

    Raises:
        UsageError: its folder does not exist, or it is a folder itself.
        OutputError: it cannot be written.
    """
    file = AtomicFile(path, shared)
    try:
        with write_errors(path, errors):
            yield file.partial
        file.complete(sync)
    except BaseException:
        file.abandon()
        raise


def check_place(path: Path) -> None:
    """See that a file can be written here, before the work is done; errors as in `AtomicFile`."""
    AtomicFile(path)


def _target(path: Path) -> Path:
    if not path.parent.is_dir():
        raise UsageError(f"no such folder: {path.parent}", "Create it first, or name another file.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "Name a file in it.")
    target = path.resolve() if path.is_symlink() else path
    if target.is_file() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")  # though it could be replaced
    return target


def _try_to_create(partial: Path) -> None:
    """See that there can be a file of this name; what an earlier run has left there stays."""
    left = partial.exists()
    partial.open("ab").close()
    if not left:
        partial.unlink()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def sha256_of_stream(stream: BinaryIO) -> str:
    """The same of what is left of a stream, which is at its end then."""
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def reopened(path: Path) -> BinaryIO:
    """What lies there now, in a bucket too.

    Raises:
        FileNotFoundError: nothing does.
        OSError: it cannot be read.
    """
    url = address_of(path)
    if url is None:
        return path.open("rb")
    from clipcli.remote import objects

    try:
        return objects.opened(url)
    except RemoteError as error:
        raise (FileNotFoundError if objects.is_missing(error) else OSError)(error.message) from None


def sync_file(path: Path) -> None:
    """Let a file reach the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Let the folder itself reach the disk, with the name of what was replaced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot, and need not
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
