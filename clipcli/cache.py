"""Features of images and classes that were computed before: one SQLite file, safe with several processes.

An image is found by its path, size and modification time, and behind them by the digest of its
content, so that a moved or touched file is found again. Vectors are keyed by the encoder too:
another model, precision or kind of device never meets them.

Vectors are float32, as the encoder made them: a cached run writes the same bytes as a fresh one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from clipcli.errors import ClipcliWarning
from clipcli.records import Float32Array

NAME = "features.sqlite"
TOWERS = "int8"
"""The folder beside it where `int8.py` keeps the towers that it made."""

_VERSION = 1
_BUSY_SECONDS = 30  # another process may be writing
_RACY_SECONDS = 2  # a file this new may change again without its modification time telling
_CHECKSUM = 4
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS features (
    encoder TEXT, digest BLOB, vector BLOB, made INTEGER, PRIMARY KEY (encoder, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS models (request TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
Result = TypeVar("Result")


class FileKey(NamedTuple):
    """What tells a file's version without reading it: absolute path, bytes, modification time."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds: `features` counts vectors by encoder."""

    path: Path
    size: int
    files: int
    features: dict[str, int]


def default_folder() -> Path:
    """`CLIPCLI_CACHE`, else `clipcli` in the user's cache folder."""
    named = os.environ.get("CLIPCLI_CACHE")
    if named:
        return Path(named)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "clipcli"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipcli"


def file_key(path: str) -> FileKey | None:
    """The version of a file, or None where it cannot be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return FileKey(os.fsencode(os.path.abspath(path)), status.st_size, status.st_mtime_ns)


def digest_of(data: bytes) -> bytes:
    """20 bytes that identify a content."""
    return hashlib.blake2b(data, digest_size=20).digest()


def prompts_digest(prompts: Sequence[str]) -> bytes:
    """20 bytes that identify the prompts of a class; never those of an image."""
    data = json.dumps(prompts).encode()
    return hashlib.blake2b(data, digest_size=20, person=b"prompts").digest()


class FeatureCache:
    """Features on disk. A cache that fails is worth a warning, never the run: it then forgets.

    Args:
        folder: where `features.sqlite` lies or will lie.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        except sqlite3.OperationalError as error:
            self._stop(error)
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
        except OSError as error:
            self._stop(error)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # --- Images and texts -------------------------------------------------------------------

    def features_of_files(self, encoder: str, keys: Sequence[FileKey]) -> list[Float32Array | None]:
        """The vector (D,) of each file, if this version of it was seen before; None as for `features`."""
        # SQLite keeps the order of a CROSS JOIN: it must not begin with all features of the encoder.
        query = (
            "SELECT path, size, mtime_ns, vector, digest FROM files CROSS JOIN features USING (digest)"
            f" WHERE encoder = ? AND path IN ({','.join('?' * len(keys))})"
        )
        values = (encoder, *(key.path for key in keys))
        nothing: list[Any] = []
        rows = self._guarded(lambda connection: connection.execute(query, values).fetchall(), nothing)
        found = {FileKey(path, size, time): _unpacked(*kept) for path, size, time, *kept in rows}
        return [found.get(key) for key in keys]

    def features(self, encoder: str, digest: bytes) -> Float32Array | None:
        """The vector (D,) of a content, or None; a damaged one counts as none."""
        query = "SELECT vector FROM features WHERE encoder = ? AND digest = ?"
        row = self._guarded(lambda connection: connection.execute(query, (encoder, digest)).fetchone(), None)
        return _unpacked(row[0], digest) if row else None

    def add(
        self,
        encoder: str,
        digests: Sequence[bytes],
        features: Float32Array,
        files: Iterable[tuple[FileKey, bytes]] = (),
    ) -> None:
        """Keep vectors (N, D) by content, and which file has which content, in one transaction."""
        now = time.time()
        vectors = [
            (encoder, digest, _packed(vector, digest), int(now))
            for digest, vector in zip(digests, features, strict=True)
        ]
        settled = [(*key, digest) for key, digest in files if now - key.mtime_ns / 1e9 > _RACY_SECONDS]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", vectors)
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", settled)

        if vectors or settled:
            self._guarded(write, None)

    # --- Models -----------------------------------------------------------------------------

    def recall(self, request: str) -> dict[str, Any] | None:
        """What `remember` kept under this name."""
        query = "SELECT facts FROM models WHERE request = ?"
        row = self._guarded(lambda connection: connection.execute(query, (request,)).fetchone(), None)
        return json.loads(row[0]) if row else None

    def remember(self, request: str, facts: dict[str, Any]) -> None:
        """Keep facts, which must be JSON, under a name."""
        row = (request, json.dumps(facts))
        self._guarded(
            lambda connection: connection.execute("INSERT OR REPLACE INTO models VALUES (?, ?)", row), None
        )

    # --- Care -------------------------------------------------------------------------------

    def info(self) -> CacheInfo:
        """What the cache holds."""

        def read(connection: sqlite3.Connection) -> tuple[int, dict[str, int]]:
            (files,) = connection.execute("SELECT COUNT(*) FROM files").fetchone()
            query = "SELECT encoder, COUNT(*) FROM features GROUP BY encoder ORDER BY encoder"
            return files, dict(connection.execute(query).fetchall())

        nothing: tuple[int, dict[str, int]] = (0, {})
        files, features = self._guarded(read, nothing)
        size = sum(path.stat().st_size for path in self.path.parent.glob(f"{NAME}*"))
        return CacheInfo(self.path, size, files, features)

    def prune(self, days: float) -> int:
        """Forget vectors made more than `days` ago, and files that are gone; returns how many vectors."""
        limit = time.time() - days * 86400

        def remove(connection: sqlite3.Connection) -> int:
            paths = connection.execute("SELECT path FROM files")
            gone = [row for row in paths if not os.path.lexists(row[0])]
            connection.executemany("DELETE FROM files WHERE path = ?", gone)
            return connection.execute("DELETE FROM features WHERE made < ?", [limit]).rowcount

        return self._shrunk(remove)

    def clear(self) -> int:
        """Forget everything; returns how many vectors that were."""

        def remove(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM files")
            connection.execute("DELETE FROM models")
            return connection.execute("DELETE FROM features").rowcount

        return self._shrunk(remove)

    def _shrunk(self, remove: Callable[[sqlite3.Connection], int]) -> int:
        removed = self._guarded(remove, 0)
        self._guarded(lambda connection: connection.execute("VACUUM"), None)
        self._guarded(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), None)
        return removed

    # --- SQLite -----------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            connection.close()
            raise sqlite3.DatabaseError(f"version {version}, this clipcli knows {_VERSION}")
        connection.executescript(_SCHEMA)
        return connection

    def _guarded(self, action: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """Run one transaction; a fault of the cache is told once and turns into `otherwise`."""
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
        """Locked, full or not writable: go on without."""
        self._connection = None
        _warn(f"the cache {self.path} cannot be used ({error}); going on without it")

    def _begin_anew(self, error: Exception) -> None:
        """Damaged: put it aside and begin a new one."""
        if self._connection is not None:
            self._connection.close()
        aside = self.path.with_name(f"{NAME}.damaged-{time.time_ns()}")
        try:
            self.path.replace(aside)
            for left in (f"{NAME}-wal", f"{NAME}-shm"):
                self.path.with_name(left).unlink(missing_ok=True)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as second:
            self._stop(second)
            return
        _warn(f"the cache {self.path} was damaged ({error}); it is now {aside.name}, and a new one was begun")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Wait, too, where SQLite does not: it refuses the switch at once while another process makes it."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _packed(vector: Float32Array, digest: bytes) -> bytes:
    """The vector's bytes and a checksum over them and their key: SQLite itself has none."""
    data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return data + zlib.crc32(data, zlib.crc32(digest)).to_bytes(_CHECKSUM, "little")


def _unpacked(blob: bytes, digest: bytes) -> Float32Array | None:
    data, checksum = blob[:-_CHECKSUM], blob[-_CHECKSUM:]
    if zlib.crc32(data, zlib.crc32(digest)).to_bytes(_CHECKSUM, "little") != checksum:
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _warn(message: str) -> None:
    warnings.warn(message, ClipcliWarning, stacklevel=4)
