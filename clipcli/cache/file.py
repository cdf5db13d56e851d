"""The cache's SQLite file: opened on a read-only disk or one whose locks never come, and guarded in use."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clipcli.cache.schema import migrate, refuse_newer, refuse_older
from clipcli.errors import ClipcliWarning

_BUSY_SECONDS = 30.0  # another process may be writing
_HASTY_SECONDS = 0.1  # after a run that waited in vain
_LOCKED_SECONDS = 86400  # for which runs are hasty
_of_parents: list[sqlite3.Connection] = []  # closing them here would take the parents' locks away
Result = TypeVar("Result")


class GuardedFile:
    """A SQLite file whose faults are worth a warning, never the run: it then forgets.

    Args:
        path: the file, made with its folder if it is not there.

    Attributes:
        problem: why it cannot be used, or empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._read_only = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._open()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @property
    def keeps_new(self) -> bool:
        """Whether what is added now can be found by a later run."""
        return self._connection is not None and not self._read_only

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._read_only = cannot_be_written(self.path)
            self._connection = connect(self.path, self._read_only)
        except sqlite3.OperationalError as error:
            self._stop(error)
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
        except OSError as error:
            self._stop(error)
        if self._read_only and self._connection is not None:
            warn(f"the cache {self.path} is read-only: its features are used, and no new ones are stored")

    def _reconnect_in_child(self) -> None:
        """In a forked process: a connection of its own, as SQLite demands; the parent's is left alone."""
        if self._process == os.getpid():
            return
        self._process, self._lock = os.getpid(), threading.Lock()
        if self._connection is not None:
            _of_parents.append(self._connection)
            self._connection = None
            self._open()

    def _guarded(self, action: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """Run one transaction; a fault of the cache is a warning, once, and gives `otherwise`."""
        self._reconnect_in_child()
        with self._lock:
            if self._connection is None:
                return otherwise
            try:
                with self._connection:
                    return action(self._connection)
            except sqlite3.OperationalError as error:
                self._stop(error)
            except sqlite3.DatabaseError as error:
                self._begin_anew(error)
        return otherwise

    def _stop(self, error: Exception) -> None:
        """Locked, full, not writable or of a newer clipcli: go on without."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self.problem = None, str(error)
        if "locked" in self.problem:
            remember_lock(self.path)
        warn(f"the cache {self.path} cannot be used ({error}); going on without it")

    def _begin_anew(self, error: Exception) -> None:
        """Damaged: put it aside and begin a new one."""
        if self._connection is not None:
            self._connection.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            self.path.replace(aside)
            for left in (f"{self.path.name}-wal", f"{self.path.name}-shm"):
                self.path.with_name(left).unlink(missing_ok=True)
            self._connection = connect(self.path, self._read_only)
        except (OSError, sqlite3.Error) as second:
            self._stop(second)
            return
        warn(f"the cache {self.path} was damaged ({error}); it is now {aside.name}, and a new one was begun")


def warn(message: str) -> None:
    """Tell of a fault of the cache."""
    warnings.warn(message, ClipcliWarning, stacklevel=4)


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
