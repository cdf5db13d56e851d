"""Opening the cache's SQLite file, be it on a read-only disk, or on one whose locks never come."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import time
from pathlib import Path

from clipcli.cache_schema import migrate, refuse_newer, refuse_older

_BUSY_SECONDS = 30.0  # another process may be writing
_HASTY_SECONDS = 0.1  # after a run that waited in vain
_LOCKED_SECONDS = 86400  # for which runs are hasty


def cannot_be_written(path: Path) -> bool:
    """Whether the file is there, and it or its folder is read-only."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Open the file, with the present schema.

    Raises:
        sqlite3.OperationalError: it is locked, of a newer clipcli, or of an older one and read-only.
        sqlite3.DatabaseError: it is damaged.
    """
    seconds = _HASTY_SECONDS if _was_locked(path) else _BUSY_SECONDS
    # `immutable`: SQLite asks for no lock and makes no file beside it.
    name = path.absolute().as_uri() + ("?immutable=1" if read_only else "")
    connection = sqlite3.connect(name, timeout=seconds, check_same_thread=False, uri=True)
    try:
        refuse_newer(connection)
        if read_only:
            refuse_older(connection)
        else:
            _switch_to_wal(connection, seconds)
            connection.execute("PRAGMA synchronous = NORMAL")
            migrate(connection)
    except BaseException:
        connection.close()
        raise
    with contextlib.suppress(OSError):
        _lock_mark(path).unlink(missing_ok=True)
    return connection


def remember_lock(path: Path) -> None:
    """Keep in mind that this machine waited for a lock in vain, so that its next runs hardly wait."""
    with contextlib.suppress(OSError):
        _lock_mark(path).touch()


def _was_locked(path: Path) -> bool:
    try:
        return time.time() - _lock_mark(path).stat().st_mtime < _LOCKED_SECONDS
    except OSError:
        return False


def _lock_mark(path: Path) -> Path:
    """A file of this machine's own: others that share the disk may be able to lock."""
    return path.with_name(f"{path.name}.locked-{platform.node()}")


def _switch_to_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Wait, too, where SQLite does not: it refuses the switch at once while another process makes it."""
    end = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
