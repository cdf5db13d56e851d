"""Vectors as the cache's SQLite file stores them, and which stored one is that of a version."""

from __future__ import annotations

import os
import zlib

import numpy as np

from clipcli.records import Float32Array

_CHECKSUM = 4


def is_gone(name: bytes) -> bool:
    """Whether an image, or the archive that holds it, was a file of this machine and is no longer there."""
    return os.path.isabs(name) and not os.path.lexists(name) and not os.path.lexists(name.partition(b"!/")[0])


def vector_of(token: str, known: str, made: int, blob: bytes, digest: bytes) -> Float32Array | None:
    """The vector, if the version that is known is the one that is asked for."""
    return unpacked(blob, digest) if token == known or _is_older_form(known, token, made) else None


def _is_older_form(known: str, token: str, made: int) -> bool:
    """Whether 0.1.0 kept this version: by size and modification time alone.

    It holds if the file was not changed since its vector was made.
    """
    size_and_mtime, *others = token.rsplit("-", 2)
    return known == size_and_mtime and others[:1] != [] and int(others[0]) < made * 10**9


def packed(vector: Float32Array, digest: bytes) -> bytes:
    """The vector's bytes and a checksum over them and their key: SQLite itself has none."""
    data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return data + checksum(data, digest).to_bytes(_CHECKSUM, "little")


def checksum(data: bytes, digest: bytes) -> int:
    """Of a vector's bytes and their key."""
    return zlib.crc32(data, zlib.crc32(digest))


def unpacked(blob: bytes, digest: bytes) -> Float32Array | None:
    """The vector (D,), or None where its checksum shows that it is damaged."""
    data, stored = blob[:-_CHECKSUM], blob[-_CHECKSUM:]
    if checksum(data, digest).to_bytes(_CHECKSUM, "little") != stored:
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
