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
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.cache.file import GuardedFile, warn
from clipcli.cache.matrix import FeatureMatrix, MatrixFiles, empty_matrix, remove_matrices
from clipcli.cache.vectors import is_gone, packed, unpacked, vector_of
from clipcli.errors import OutputError
from clipcli.records import Float32Array, Version

if TYPE_CHECKING:
    from PIL import Image

NAME = "features.sqlite"
TOWERS = "int8"
"""The folder beside it where `int8.py` keeps the towers that it made."""

_PAGE = 10_000  # vectors read together
_ORIENTATION = 0x0112  # in EXIF
_PIXEL_INFO = ("icc_profile", "transparency")  # what a decoded image carries beside its pixels


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


class FeatureCache(GuardedFile):
    """Features on disk. A cache that fails is worth a warning, never the run: it then forgets.

    Args:
        folder: where `features.sqlite` lies or will lie.
        verify: trust no file's times: read images and weights again, and know them by their content.
    """

    def __init__(self, folder: str | os.PathLike[str], verify: bool = False) -> None:
        self.verify = verify
        super().__init__(Path(folder) / NAME)

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
            vector_of(version.token, *known[version.name]) if version.name in known else None
            for version in versions
        ]

    def features(self, encoder: str, digest: bytes) -> Float32Array | None:
        """The vector (D,) of a content, or None; a damaged one counts as none."""
        query = "SELECT vector FROM features WHERE encoder = ? AND digest = ?"
        row = self._guarded(lambda connection: connection.execute(query, (encoder, digest)).fetchone(), None)
        return unpacked(row[0], digest) if row else None

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
            (encoder, digest, packed(vector, digest), now)
            for digest, vector in zip(digests, features, strict=True)
        ]
        files = [(*version, digest) for version, digest in versions]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", vectors)
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", files)

        if (vectors or files) and not self._read_only:
            self._guarded(write, None)

    # --- All vectors of an encoder ----------------------------------------------------------

    def matrix(self, encoder: str) -> FeatureMatrix:
        """All vectors (N, D) of an encoder, memory-mapped; kept beside the cache, and brought up to date.

        It has no rows where the cache is not to be trusted or cannot be written.
        """

        def read(connection: sqlite3.Connection) -> tuple[str, int]:
            (token,) = connection.execute("SELECT token FROM generation").fetchone()
            return token, _last_addition(connection)

        generation, newest = self._guarded(read, ("", 0))
        if self.verify or not generation:
            return empty_matrix()
        files = MatrixFiles(self.path.parent, encoder, generation)
        try:
            if not self._read_only:
                files.update(newest, partial(self._added, encoder, newest))
            return files.open()
        except (OSError, OutputError) as error:
            warn(f"the matrix of features in {files.folder} cannot be used ({error}); going on without it")
            return empty_matrix()

    def forget_matrices(self) -> None:
        """Remove the matrices, of all encoders; they are made again when they are asked for."""
        remove_matrices(self.path.parent)

    def _added(self, encoder: str, newest: int, after: int) -> Iterator[tuple[bytes, Float32Array]]:
        """Digests and vectors that were added after a number; all of them, in another order, after -1."""
        place: int | bytes = b"" if after < 0 else after
        while rows := self._page(encoder, newest, place):
            place = rows[-1][0]
            for _, digest, blob in rows:
                if (vector := unpacked(blob, digest)) is not None:
                    yield digest, vector
        if self.problem:
            raise OSError(self.problem)

    def _page(self, encoder: str, newest: int, place: int | bytes) -> list[tuple[Any, bytes, bytes]]:
        if isinstance(place, bytes):
            query = "SELECT digest, digest, vector FROM features WHERE encoder = ? AND digest > ?"
            values: tuple[Any, ...] = (encoder, place)
        else:
            query = (
                "SELECT number, digest, vector FROM additions CROSS JOIN features USING (encoder, digest)"
                " WHERE encoder = ? AND number > ? AND number <= ?"
            )
            values = (encoder, place, newest)
        nothing: list[Any] = []
        query += f" ORDER BY 1 LIMIT {_PAGE}"
        return self._guarded(lambda connection: connection.execute(query, values).fetchall(), nothing)

    def digests_of_versions(self, versions: Sequence[Version]) -> list[bytes]:
        """The digest of each version's content; empty where it is not known."""
        if self.verify:
            return [b""] * len(versions)
        query = f"SELECT name, version, digest FROM files WHERE name IN ({','.join('?' * len(versions))})"
        names = [version.name for version in versions]
        nothing: list[Any] = []
        rows = self._guarded(lambda connection: connection.execute(query, names).fetchall(), nothing)
        known = {Version(name, token): digest for name, token, digest in rows}
        return [known.get(version, b"") for version in versions]

    def versions_of_digests(self, digests: Sequence[bytes]) -> dict[bytes, list[Version]]:
        """The versions whose content these digests are, by name; a content may have several names."""
        found: dict[bytes, list[Version]] = {digest: [] for digest in digests}
        query = "SELECT name, version, digest FROM files WHERE digest IN"
        query += f" ({','.join('?' * len(digests))}) ORDER BY name"
        nothing: list[Any] = []
        values = tuple(digests)
        for name, token, digest in self._guarded(lambda one: one.execute(query, values).fetchall(), nothing):
            found[digest].append(Version(name, token))
        return found

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
            gone = [row for row in names if is_gone(row[0])]
            connection.executemany("DELETE FROM files WHERE name = ?", gone)
            removed = connection.execute("DELETE FROM features WHERE made < ?", [limit]).rowcount
            _begin_generation(connection)
            return removed

        return self._shrunk(remove)

    def clear(self) -> int:
        """Forget everything; returns how many vectors that were."""

        def remove(connection: sqlite3.Connection) -> int:
            for table in ("files", "models", "encoders"):
                connection.execute(f"DELETE FROM {table}")
            removed = connection.execute("DELETE FROM features").rowcount
            _begin_generation(connection)
            return removed

        return self._shrunk(remove)

    def _shrunk(self, remove: Callable[[sqlite3.Connection], int]) -> int:
        removed = self._guarded(remove, 0)
        if self.keeps_new:
            self.forget_matrices()
        self._guarded(lambda connection: connection.execute("VACUUM"), None)
        self._guarded(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), None)
        return removed


# --- Details -------------------------------------------------------------------------------------


def _last_addition(connection: sqlite3.Connection) -> int:
    """The number of the latest vector that was added, though it may be removed again; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'additions'").fetchone()
    return int(row[0]) if row else 0


def _begin_generation(connection: sqlite3.Connection) -> None:
    """After vectors were removed: matrices are made again from those that are left."""
    connection.execute("DELETE FROM additions")
    connection.execute("UPDATE generation SET token = lower(hex(randomblob(6)))")
