"""Features of images and classes that were computed before: one SQLite file, safe with several processes.

An image is found by its version (`Item.version`: a path with size and modification time, an ETag, ...) and,
behind that, by the digest of its content, so that a moved or touched file is found again. Vectors are keyed
by the encoder too: those of another model, precision or kind of device are never mixed up.

Vectors are float32, as the encoder made them: a cached run writes the same bytes as a fresh one.

The schema has a version. An older cache is migrated when it is opened; a newer one is left untouched, and
the run goes on without it; a damaged one is put aside, and a new one is begun.
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
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clipcli.cache_file import cannot_be_written, connect, remember_lock
from clipcli.errors import ClipcliWarning
from clipcli.records import Float32Array, Version

if TYPE_CHECKING:
    from PIL import Image

NAME = "features.sqlite"
TOWERS = "int8"
"""The folder beside it where `int8.py` keeps the towers that it made."""

_of_parents: list[sqlite3.Connection] = []  # closing them here would take the parents' locks away
_CHECKSUM = 4
_ORIENTATION = 0x0112  # in EXIF
_PIXEL_INFO = ("icc_profile", "transparency")  # what a decoded image carries beside its pixels
Result = TypeVar("Result")


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Args:
        path: the file.
        size: in bytes, with what SQLite keeps beside it.
        files: images whose version is known.
        features: how many vectors there are of each encoder.
        models: the name of each encoder's model, where it is known.
    """

    path: Path
    size: int
    files: int
    features: dict[str, int]
    models: dict[str, str]


def default_folder() -> Path:
    """`CLIPCLI_CACHE`, else `clipcli` in the user's cache folder."""
    named = os.environ.get("CLIPCLI_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.path.expanduser("~")  # stays `~` for a user whom the system does not know
    home = os.sep if home == "~" else home
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", home)) / "clipcli"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache")).expanduser() / "clipcli"


def content_digest(content: bytes | Image.Image) -> bytes:
    """20 bytes that identify an encoded or a decoded image, with all that decides its pixels."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=20).digest()
    palette = content.palette.tobytes() if content.palette else b""
    orientation = content.getexif().get(_ORIENTATION)
    described = (content.mode, content.size, orientation, palette, *map(content.info.get, _PIXEL_INFO))
    digest = hashlib.blake2b(repr(described).encode(), digest_size=20, person=b"pixels")
    digest.update(content.tobytes())
    return digest.digest()


def prompts_digest(prompts: Sequence[str]) -> bytes:
    """20 bytes that identify the prompts of a class; never those of an image."""
    data = json.dumps(prompts).encode()
    return hashlib.blake2b(data, digest_size=20, person=b"prompts").digest()


class FeatureCache:
    """Features on disk. A cache that fails is worth a warning, never the run: it then forgets.

    Args:
        folder: where `features.sqlite` lies or will lie.
        verify: trust no file's times: read images and weights again, and know them by their content.

    Attributes:
        problem: why it cannot be used, or empty.
    """

    def __init__(self, folder: str | os.PathLike[str], verify: bool = False) -> None:
        self.path = Path(folder) / NAME
        self.problem = ""
        self.verify = verify
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

    # --- Images and texts -------------------------------------------------------------------

    def features_of_versions(self, encoder: str, versions: Sequence[Version]) -> list[Float32Array | None]:
        """The vector (D,) of each version that was encoded before; None as for `features`."""
        # SQLite keeps the order of a CROSS JOIN: it must not begin with all features of the encoder.
        if self.verify:
            return [None] * len(versions)
        query = (
            "SELECT name, version, made, vector, digest FROM files CROSS JOIN features USING (digest)"
            f" WHERE encoder = ? AND name IN ({','.join('?' * len(versions))})"
        )
        values = (encoder, *(version.name for version in versions))
        nothing: list[Any] = []
        rows = self._guarded(lambda connection: connection.execute(query, values).fetchall(), nothing)
        known = {name: row for name, *row in rows}
        return [
            _vector_of(version.token, *known[version.name]) if version.name in known else None
            for version in versions
        ]

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
        versions: Iterable[tuple[Version, bytes]] = (),
    ) -> None:
        """Keep vectors (N, D) by content, and which version has which content, in one transaction."""
        now = int(time.time())
        vectors = [
            (encoder, digest, _packed(vector, digest), now)
            for digest, vector in zip(digests, features, strict=True)
        ]
        files = [(*version, digest) for version, digest in versions]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", vectors)
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", files)

        if (vectors or files) and not self._read_only:
            self._guarded(write, None)

    # --- Models -----------------------------------------------------------------------------

    def recall(self, request: str) -> dict[str, Any] | None:
        """What `remember` kept under this name."""
        query = "SELECT facts FROM models WHERE request = ?"
        row = self._guarded(lambda connection: connection.execute(query, (request,)).fetchone(), None)
        return json.loads(row[0]) if row else None

    def remember(self, request: str, facts: dict[str, Any]) -> None:
        """Keep facts, which must be JSON, under a name."""
        self._put("models", request, json.dumps(facts))

    def name_encoder(self, encoder: str, model: str) -> None:
        """Keep the name of the model behind an encoder's key, for `info`."""
        self._put("encoders", encoder, model)

    def _put(self, table: str, key: str, value: str) -> None:
        if not self._read_only:
            insert = f"INSERT OR REPLACE INTO {table} VALUES (?, ?)"
            self._guarded(lambda connection: connection.execute(insert, (key, value)), None)

    # --- Care -------------------------------------------------------------------------------

    @property
    def keeps_new(self) -> bool:
        """Whether what is added now can be found by a later run."""
        return self._connection is not None and not self._read_only

    def info(self) -> CacheInfo:
        """What the cache holds."""

        def read(connection: sqlite3.Connection) -> tuple[int, dict[str, int], dict[str, str]]:
            (files,) = connection.execute("SELECT COUNT(*) FROM files").fetchone()
            query = "SELECT encoder, COUNT(*) FROM features GROUP BY encoder ORDER BY encoder"
            features = dict(connection.execute(query).fetchall())
            return files, features, dict(connection.execute("SELECT encoder, model FROM encoders").fetchall())

        nothing: tuple[int, dict[str, int], dict[str, str]] = (0, {}, {})
        files, features, models = self._guarded(read, nothing)
        size = sum(path.stat().st_size for path in self.path.parent.glob(f"{NAME}*"))
        return CacheInfo(self.path, size, files, features, models)

    def prune(self, days: float) -> int:
        """Forget vectors made more than `days` ago, and files that are gone; returns how many vectors."""
        limit = time.time() - days * 86400

        def remove(connection: sqlite3.Connection) -> int:
            names = connection.execute("SELECT name FROM files")
            gone = [row for row in names if _is_gone(row[0])]
            connection.executemany("DELETE FROM files WHERE name = ?", gone)
            return connection.execute("DELETE FROM features WHERE made < ?", [limit]).rowcount

        return self._shrunk(remove)

    def clear(self) -> int:
        """Forget everything; returns how many vectors that were."""

        def remove(connection: sqlite3.Connection) -> int:
            for table in ("files", "models", "encoders"):
                connection.execute(f"DELETE FROM {table}")
            return connection.execute("DELETE FROM features").rowcount

        return self._shrunk(remove)

    def _shrunk(self, remove: Callable[[sqlite3.Connection], int]) -> int:
        removed = self._guarded(remove, 0)
        self._guarded(lambda connection: connection.execute("VACUUM"), None)
        self._guarded(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), None)
        return removed

    # --- SQLite -----------------------------------------------------------------------------

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
            _warn(f"the cache {self.path} is read-only: its features are used, and no new ones are stored")

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
            self._connection = connect(self.path, self._read_only)
        except (OSError, sqlite3.Error) as second:
            self._stop(second)
            return
        _warn(f"the cache {self.path} was damaged ({error}); it is now {aside.name}, and a new one was begun")


# --- Details -------------------------------------------------------------------------------------


def _is_gone(name: bytes) -> bool:
    """Whether an image, or the archive that holds it, was a file of this machine and is no longer there."""
    return os.path.isabs(name) and not os.path.lexists(name) and not os.path.lexists(name.partition(b"!/")[0])


def _vector_of(token: str, known: str, made: int, blob: bytes, digest: bytes) -> Float32Array | None:
    """The vector, if the version that is known is the one that is asked for."""
    return _unpacked(blob, digest) if token == known or _is_older_form(known, token, made) else None


def _is_older_form(known: str, token: str, made: int) -> bool:
    """Whether 0.1.0 kept this version: by size and modification time alone.

    It holds if the file was not changed since its vector was made.
    """
    size_and_mtime, *others = token.rsplit("-", 2)
    return known == size_and_mtime and others[:1] != [] and int(others[0]) < made * 10**9


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
