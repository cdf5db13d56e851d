"""Rename, copy and move files, and write them anew: never over another file, and complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clipcli.files import identity, sync_folder

_CHUNK = 1 << 20
_NO_SUCH_CALL = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
FULL = {errno.ENOSPC, errno.EDQUOT}
"""The errors of a disk that is full: no other file would fit either."""


class Changed(OSError):
    """A file is not as it was when the run was planned, or while it was copied."""

    def __init__(self, path: str, what: str = "it has changed since") -> None:
        super().__init__(errno.ESTALE, what, path)


class Status(NamedTuple):
    """What tells whether a file is the same: its size, modification time, and number on its disk."""

    size: int
    mtime: int
    inode: tuple[int, int]
    mode: int

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def status(path: str) -> Status | None:
    """The status of a file or link itself; None where nothing has this name.

    Raises:
        OSError: the place cannot be looked at.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Status(found.st_size, found.st_mtime_ns, (found.st_dev, found.st_ino), found.st_mode)


# --- Rename --------------------------------------------------------------------------------------


def rename(source: str, target: str) -> None:
    """Rename a file within its file system. `os.rename` would replace one that has the name.

    Raises:
        FileExistsError: something has the name already.
        OSError: it cannot be renamed; EXDEV if the target is on another file system.
    """
    if os.name == "nt":  # where `os.rename` never replaces
        os.rename(source, target)
        return
    number = _renamed(source, target)
    if number in _NO_SUCH_CALL:
        os.link(source, target, follow_symlinks=False)
        os.unlink(source)
    elif number:
        raise OSError(number, os.strerror(number), source, None, target)


def _renamed(source: str, target: str) -> int:
    """Rename by the call of the system that refuses to replace; returns the number of the error, or 0."""
    call = _exclusive_rename()
    return errno.ENOSYS if call is None else call(os.fsencode(source), os.fsencode(target))


@lru_cache
def _exclusive_rename() -> Callable[[bytes, bytes], int] | None:
    """`renameat2` of Linux with RENAME_NOREPLACE, `renamex_np` of macOS with RENAME_EXCL."""
    import ctypes

    library: Any = ctypes.CDLL(None, use_errno=True)
    here, no_replace, exclusive = -100, 1, 4
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        return lambda source, target: (
            ctypes.get_errno() if library.renameat2(here, source, here, target, no_replace) else 0
        )
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return lambda source, target: (
            ctypes.get_errno() if library.renamex_np(source, target, exclusive) else 0
        )
    return None


# --- Copy and move -------------------------------------------------------------------------------


def copy(
    source: str, target: str, partial: str, placed: Callable[[Status], None], mtime: int | None = None
) -> None:
    """Copy a file with its times, mode and extended attributes; the copy is verified before it has its name.

    Args:
        source: a regular file, or a link to one.
        target: its new place.
        partial: what the copy is called until it is complete, in the same folder; what an earlier run has
            left there is removed.
        placed: is told the status of the copy just before it gets its name.
        mtime: the modification time of the copy, if not that of the source.

    Raises:
        FileExistsError: something has the name already.
        Changed: the source changed meanwhile.
        OSError: it cannot be copied.
    """
    remove(partial)
    try:
        _copy_verified(source, partial)
        if mtime is not None:
            set_times(partial, mtime)
        placed(certain(partial))
        rename(partial, target)
        sync_folder(Path(target).parent)
    finally:
        remove(partial)


def _copy_verified(source: str, partial: str) -> None:
    before = identity(os.stat(source))
    digest = hashlib.sha256()
    with open(source, "rb") as reading, open(partial, "xb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        shutil.copystat(source, partial)
        os.fsync(writing.fileno())
        _forget(writing.fileno())
    if identity(os.stat(source)) != before:
        raise Changed(source, "it changed while it was copied")
    if digest_of(partial) != digest.hexdigest():
        raise OSError(errno.EIO, "the copy differs from the original", source)


def _forget(descriptor: int) -> None:
    """Let what is read next come from the disk, where the system can be asked for that."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def move(
    source: str, target: str, partial: str, placed: Callable[[Status], None], mtime: int | None = None
) -> None:
    """Move a file; to another file system by a verified copy, after which the original is removed.

    Arguments and errors are those of `copy`; `placed` is not called where renaming is enough.
    """
    try:
        rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if not os.access(os.path.dirname(source), os.W_OK):  # before a copy is made in vain
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), source)
    before = certain(source)
    copy(source, target, partial, placed, mtime)
    remove_original(source, target, before)


def remove_original(source: str, target: str, before: Status) -> None:
    """Remove a file that has been copied; if that is not possible, its copy.

    Raises:
        OSError: it cannot be removed, or is another one by now.
    """
    try:
        if certain(source) != before:
            raise Changed(source)
        os.unlink(source)
    except OSError:
        remove(target)
        raise


def remove(path: str) -> None:
    """Remove a file if there is one; errors as in `os.unlink`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def move_link(source: str, target: str, text: str) -> None:
    """Move a symbolic link, of which the text may have to change for it to lead to the same file.

    Raises:
        FileExistsError: something has the name already.
        OSError: it cannot be moved.
    """
    before = certain(source)
    os.symlink(text, target)
    try:
        set_times(target, before.mtime)
    except OSError:
        remove(target)
        raise
    remove_original(source, target, before)


def set_times(path: str, mtime: int) -> None:
    """Set the modification time of a file or link, in nanoseconds; some file systems cannot.

    Raises:
        OSError: what else went wrong, such as a disk that fails.
    """
    times = (os.lstat(path).st_atime_ns, mtime)
    try:
        os.utime(path, ns=times, follow_symlinks=False)
    except NotImplementedError:
        return
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL | {errno.EPERM}:
            raise


def certain(path: str) -> Status:
    """The status of a file or link that should be there.

    Raises:
        FileNotFoundError: it is not.
    """
    found = status(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return found


# --- Write anew ----------------------------------------------------------------------------------


def write(path: str, content: bytes, partial: str, before: Status | None, mtime: int | None = None) -> None:
    """Write a file that is complete and on the disk when it gets its name, with the mode of the former one.

    Args:
        path: the file.
        content: what it is to hold.
        partial: what it is called until it is complete, in the same folder; what an earlier run has left
            there is removed.
        before: the status of the file that is replaced; None if there is to be none.
        mtime: the modification time, if not the present one.

    Raises:
        FileExistsError: there is a file, but should be none.
        Changed: the file is not the one that was to be replaced.
        OSError: it cannot be written.
    """
    remove(partial)
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            if before is not None:
                now = os.fstat(file.fileno()).st_mtime_ns
                shutil.copystat(path, partial)
                set_times(partial, now)
            if mtime is not None:
                set_times(partial, mtime)
            os.fsync(file.fileno())
        if before is None:
            rename(partial, path)
        elif certain(path) == before:
            os.replace(partial, path)
        else:
            raise Changed(path)
        sync_folder(Path(path).parent)
    finally:
        remove(partial)


# --- Content -------------------------------------------------------------------------------------


def digest_of(path: str) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits; errors as in `open`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def same_content(one: str, other: str) -> bool:
    """Whether two files hold the same bytes."""
    with open(one, "rb") as first, open(other, "rb") as second:
        return all(a == b for a, b in _chunks(first, second))


def _chunks(first: Any, second: Any) -> Iterator[tuple[bytes, bytes]]:
    while True:
        a, b = first.read(_CHUNK), second.read(_CHUNK)
        yield a, b
        if not a or not b:
            return
