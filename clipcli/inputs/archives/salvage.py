"""Members of a .zip file whose directory, which stands at its end, is missing or damaged."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from clipcli.errors import ImageError
from clipcli.inputs.archives.stored import too_dense, too_large

_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # APPNOTE.TXT, 4.3.7
_AFTER_MEMBERS = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_SIZES_FOLLOW, _DEFLATED, _IN_ZIP64 = 0x8, 8, 0xFFFFFFFF
_CHUNK = 1 << 16


def salvaged(file: BinaryIO, why: str) -> Iterator[zipfile.ZipInfo]:
    """The members by the headers before each of them, up to the damage.

    Args:
        file: the archive.
        why: what is wrong with the directory.

    Raises:
        ImageError: always, once there are no more of them; at once if this is no archive.
    """
    end, offset = file.seek(0, os.SEEK_END), 0
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise ImageError("empty file" if not end else f"not a .zip file, or a damaged one: {why}")
    count = 0
    while (found := _member_at(file, offset, end)) is not None:
        info, offset = found
        yield info
        count += 1
    file.seek(offset)
    if file.read(4) in _AFTER_MEMBERS:
        raise ImageError(f"the archive is damaged: {why}; {count} members are found without its directory")
    raise ImageError(
        f"the archive is truncated or damaged: its first {count} members are read, and what followed is lost"
    )


def _member_at(file: BinaryIO, offset: int, end: int) -> tuple[zipfile.ZipInfo, int] | None:
    """The member whose header stands here, and where the next one should be; None if it is not whole."""
    file.seek(offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        return None
    _, _, flags, method, *_, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    name, extra = file.read(name_length), file.read(extra_length)
    info = zipfile.ZipInfo(name.decode("utf-8" if flags & 0x800 else "cp437", "replace") or "?")
    info.flag_bits, info.compress_type, info.header_offset = flags, method, offset
    info.create_system = 3
    start = offset + _LOCAL.size + name_length + extra_length
    if flags & _SIZES_FOLLOW and not packed:
        found = _inflated_to_end(file, start) if method == _DEFLATED else None
        if found is None:
            return None
        info.CRC, info.compress_size, info.file_size = found
        following = start + info.compress_size + _descriptor_length(file, start + info.compress_size, found)
    else:
        info.CRC = crc
        info.file_size, info.compress_size = _large(extra, size, packed)
        following = start + info.compress_size
    return None if following > end else (info, following)


def _large(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Sizes of 64 bits, where the header has none (APPNOTE.TXT, 4.5.3)."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1 and length >= 16 and _IN_ZIP64 in (size, packed):
            whole = struct.unpack_from("<QQ", extra, 4)
            return int(whole[0]), int(whole[1])
        extra = extra[4 + length :]
    return size, packed


def _inflated_to_end(file: BinaryIO, start: int) -> tuple[int, int, int] | None:
    """Checksum and both sizes of a member whose header does not have them; None if it is cut off."""
    file.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = size = taken = 0
    while not inflater.eof:
        data = inflater.unconsumed_tail or file.read(_CHUNK)
        try:
            content = inflater.decompress(data, _CHUNK)
        except zlib.error:
            return None
        taken += len(data) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
        crc, size = zlib.crc32(content, crc), size + len(content)
        if (not data and not content) or too_large(size) or too_dense(size, taken):
            return None
    return crc, taken, size


def _descriptor_length(file: BinaryIO, offset: int, found: tuple[int, int, int]) -> int:
    """Bytes of the sizes that follow a member, with or without a signature, of 32 or 64 bits."""
    file.seek(offset)
    after = file.read(24)
    crc, packed, size = found
    for width in ("<III", "<IQQ"):
        for signature in (b"PK\x07\x08", b""):
            try:
                if after.startswith(signature + struct.pack(width, crc, packed, size)):
                    return len(signature) + struct.calcsize(width)
            except struct.error:  # too large for 32 bits
                continue
    return 0
