"""The vectors of one encoder as a matrix on disk that is memory-mapped: what a search goes through.

In `matrices/`, beside the cache's SQLite file, `NAME.f32` holds rows of float32, `NAME.keys` the digest of
the content that each row belongs to, and a checksum. `NAME.json` says how many rows there are, and which
additions to the cache they contain. Rows are only ever appended, and the JSON is replaced last: whoever reads
meanwhile, or after a process was killed, finds the rows from before. NAME ends in the cache's generation, so
that no matrix outlives the vectors that it was made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.cache.vectors import checksum
from clipcli.files import replacing, sync_file
from clipcli.records import Float32Array

FOLDER = "matrices"
DIGEST_SIZE = 20
_KEY = np.dtype([("digest", "u1", (DIGEST_SIZE,)), ("checksum", "<u4")])
_LOCK_SECONDS = 300.0  # while another process brings a large matrix up to date

Rows = npt.NDArray[np.int64]
Added = Iterable[tuple[bytes, Float32Array]]


class FeatureMatrix:
    """Vectors (N, D), and which content each of them belongs to.

    Args:
        vectors: (N, D) float32, unit norm.
        keys: (N,) digests and checksums.
    """

    def __init__(self, vectors: Float32Array, keys: npt.NDArray[np.void]) -> None:
        self.vectors = vectors
        self.keys = keys

    def find(self, digests: Sequence[bytes]) -> Rows:
        """The row (M,) of each content, the latest if it was added again; -1 where there is none."""
        rows = np.full(len(digests), -1, dtype=np.int64)
        usable = np.array([len(digest) == DIGEST_SIZE for digest in digests], dtype=bool)
        if not len(self.keys) or not usable.any():
            return rows
        wanted = np.frombuffer(b"".join(one for one in digests if len(one) == DIGEST_SIZE), dtype=np.uint8)
        wanted = wanted.reshape(-1, DIGEST_SIZE)
        prefixes, order = self._sorted_prefixes
        found = order[np.searchsorted(prefixes, _prefixes(wanted), side="right") - 1]
        same = (self.keys["digest"][found] == wanted).all(axis=1)  # the prefix alone may be another's
        rows[usable] = np.where(same, found, -1)
        return rows

    @cached_property
    def _sorted_prefixes(self) -> tuple[npt.NDArray[np.uint64], Rows]:
        prefixes = _prefixes(self.keys["digest"])
        order = np.argsort(prefixes, kind="stable").astype(np.int64)
        return prefixes[order], order

    def digests(self, rows: Rows) -> list[bytes]:
        """The digest of the content of each row."""
        return [one.tobytes() for one in self.keys["digest"][rows]]

    def is_damaged(self, row: int) -> bool:
        """Whether a row is no longer what was written."""
        key = self.keys[row]
        return checksum(self.vectors[row].tobytes(), key["digest"].tobytes()) != int(key["checksum"])


def empty_matrix() -> FeatureMatrix:
    """One without rows."""
    return FeatureMatrix(np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=_KEY))


def remove_matrices(folder: Path) -> None:
    """Remove all matrices of the cache in this folder; those that are mapped stay readable where they are."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def size_of_matrices(folder: Path) -> int:
    """Bytes of all matrices of the cache in this folder."""
    return sum(path.stat().st_size for path in (folder / FOLDER).glob("*"))


class _Whole(NamedTuple):
    """How much of the files is whole: `rows` of `width` numbers, with all additions up to `last`."""

    rows: int = 0
    width: int = 0
    last: int = -1


class MatrixFiles:
    """The files of one encoder's matrix.

    Args:
        folder: of the cache.
        encoder: its key.
        generation: of the cache.
    """

    def __init__(self, folder: Path, encoder: str, generation: str) -> None:
        name = hashlib.blake2b(encoder.encode(), digest_size=8).hexdigest()
        self.folder = folder / FOLDER
        self.generation = generation
        self._vectors, self._keys, self._whole = (
            self.folder / f"{name}-{generation}.{suffix}" for suffix in ("f32", "keys", "json")
        )

    def update(self, newest: int, added_after: Callable[[int], Added]) -> None:
        """Append what was added since; one process at a time.

        Args:
            newest: the number of the latest addition to the cache.
            added_after: the digests and vectors added after a number, all of them after -1.

        Raises:
            OSError: the files cannot be written, or another process keeps them too long.
            OutputError: the same.
        """
        if self._read().last >= newest:
            return
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock", timeout=_LOCK_SECONDS):
            whole = self._read()
            if whole.last < newest:
                if whole.last < 0:
                    self._remove_older()
                self._append(whole, newest, added_after(whole.last))

    def open(self) -> FeatureMatrix:
        """The matrix, mapped into memory.

        Raises:
            OSError: it cannot be read.
        """
        rows, width, _ = self._read()
        if not rows:
            return empty_matrix()
        vectors = np.memmap(self._vectors, dtype="<f4", mode="r", shape=(rows, width))
        keys = np.fromfile(self._keys, dtype=_KEY, count=rows)
        return FeatureMatrix(np.asarray(vectors), keys)

    def _read(self) -> _Whole:
        """What the JSON says, if there is as much; otherwise nothing is whole."""
        try:
            whole = _Whole(**json.loads(self._whole.read_text(encoding="utf-8")))
            enough = self._vectors.stat().st_size >= 4 * whole.rows * whole.width
            return whole if enough and self._keys.stat().st_size >= _KEY.itemsize * whole.rows else _Whole()
        except (OSError, TypeError, ValueError):
            return _Whole()

    def _append(self, whole: _Whole, newest: int, added: Added) -> None:
        rows, width = whole.rows, whole.width
        for path in (self._vectors, self._keys):
            if not rows:  # another process may still use what was there
                path.unlink(missing_ok=True)
            path.touch()
        with self._vectors.open("r+b") as vectors, self._keys.open("r+b") as keys:
            vectors.seek(4 * rows * width)
            keys.seek(_KEY.itemsize * rows)
            for digest, vector in added:
                width = width or len(vector)
                if len(vector) == width and len(digest) == DIGEST_SIZE:
                    data = vector.astype("<f4").tobytes()
                    vectors.write(data)
                    keys.write(digest + checksum(data, digest).to_bytes(4, "little"))
                    rows += 1
            vectors.truncate()  # a process that was killed may have left more
            keys.truncate()
        sync_file(self._vectors)
        sync_file(self._keys)
        with replacing(self._whole, sync=True) as partial:
            partial.write_text(json.dumps(_Whole(rows, width, newest)._asdict()), encoding="utf-8")

    def _remove_older(self) -> None:
        """Matrices of former generations of the cache."""
        for path in self.folder.iterdir():
            if path.name != "lock" and self.generation not in path.name:
                with contextlib.suppress(OSError):  # mapped by another process, on Windows
                    path.unlink()


def _prefixes(digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of digests (M, 20), as numbers (M,)."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()
