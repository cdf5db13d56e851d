"""Archives for tests, made member by member, older than the moment they are read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from clipcli.inputs.archives.zstd import CompressionParameter, compress
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure, Item

SUFFIXES = (".zip", ".cbz", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst")
LONG_AGO = 1_500_000_000

Members = Iterable[tuple[str, bytes]]


def png(number: int, side: int = 12) -> bytes:
    """An image of a content of its own."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tar_bytes(members: Members, **info: object) -> bytes:
    """A .tar file; `info` has attributes of all its members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), LONG_AGO
            for key, value in info.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def zip_bytes(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A .zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def zip64_bytes(names: Iterable[str], data: bytes) -> bytes:
    """A .zip file of so many members, all of the same content, that their number takes 64 bits."""
    crc, size = zlib.crc32(data), len(data)
    body, directory, count = bytearray(), bytearray(), 0
    for name in names:
        count += 1
        common = struct.pack("<HHHHHIIIH", 20, 0, 0, 0, 33, crc, size, size, len(name))
        directory += b"PK\x01\x02" + struct.pack("<H", 45) + common
        directory += struct.pack("<HHHHII", 0, 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + common + bytes(2) + name.encode() + data
    start, end = len(body), len(body) + len(directory)
    whole = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), start)
    found = struct.pack("<IQI", 0, end, 1)
    last = struct.pack("<HHHHIIH", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return bytes(body + directory) + b"PK\x06\x06" + whole + b"PK\x06\x07" + found + b"PK\x05\x06" + last


def stored(path: Path, data: bytes) -> Path:
    """A file that nobody has touched for long."""
    path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def archive(path: Path, members: Members) -> Path:
    """An archive of the kind that its suffix says."""
    if path.suffix in (".zip", ".cbz"):
        return stored(path, zip_bytes(members))
    data = tar_bytes(members)
    if path.suffix in (".gz", ".tgz"):
        data = gzip.compress(data, mtime=0)
    if path.suffix in (".zst", ".tzst"):
        data = compress(data, options={CompressionParameter.checksum_flag: 1})
    return stored(path, data)


def found(*paths: object, archives: bool = False, **options: tuple[str, ...]) -> list[Item | ImageFailure]:
    """What the inputs hold."""
    return list(Inputs(tuple(map(str, paths)), reading=Reading(archives=archives), **options))


def items(*paths: object, archives: bool = False, **options: tuple[str, ...]) -> list[Item]:
    """The images that the inputs hold, of which all can be listed."""
    listed = found(*paths, archives=archives, **options)
    assert not [one for one in listed if isinstance(one, ImageFailure)]
    return [one for one in listed if not isinstance(one, ImageFailure)]


def failures(listed: Iterable[Item | ImageFailure]) -> Iterator[tuple[str, str]]:
    """Names and reasons of what cannot be listed."""
    return ((one.image, one.reason) for one in listed if isinstance(one, ImageFailure))
