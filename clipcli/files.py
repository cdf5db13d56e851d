"""How the package writes files (complete under their name, or not at all), and how it recognises them.

What is written is called `NAME.partial` until it is complete. A link is followed, so that it stays one.
A device or pipe is written to as it is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from clipcli.errors import OutputError, UsageError

PARTIAL = ".partial"


def identity(status: os.stat_result) -> str:
    """What a file system tells of a file's content without reading it: equal for a file that was not touched.

    Size and modification time alone can be set to those of another file, as copies and reproducible builds
    do; the time of change (of creation on Windows) and the inode cannot.
    """
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


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
    except Exception as error:
        if not isinstance(error, (OSError, *others)):
            raise
        raise OutputError(f"cannot write {name}: {getattr(error, 'strerror', None) or error}") from error


class AtomicFile:
    """A file under way: `partial` is where to write it.

    Args:
        path: the file.
        shared: several processes may write it at the same time, so each has a partial file of its own.

    Raises:
        UsageError: its folder does not exist, or it is a folder itself.
        OutputError: it or its folder is read-only, or the place cannot be looked at.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path = path
        with write_errors(path):
            self.target = _target(path)
            self.is_replaced = self.target.is_file() or not self.target.exists()
        suffix = f".{os.getpid()}{PARTIAL}" if shared else PARTIAL
        self.partial = self.target.with_name(self.target.name + suffix) if self.is_replaced else path
        if self.is_replaced:
            with write_errors(path):
                _try_to_create(self.partial)

    def complete(self, sync: bool = False) -> None:
        """Give the file its name; with `sync`, once it is on the disk, so that a power cut leaves it whole.

        Raises:
            OutputError: that is not possible.
        """
        if not self.is_replaced:
            return
        with write_errors(self.path):
            if sync:
                sync_file(self.partial)
            self.partial.replace(self.target)
            if sync:
                sync_folder(self.target.parent)

    def abandon(self, keep: bool = False) -> None:
        """Leave the file as it was; `partial`, with what has been written, stays only if it is to be kept."""
        if self.is_replaced and not keep:
            with contextlib.suppress(OSError):  # the error that led here is what the user must see
                self.partial.unlink()


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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
