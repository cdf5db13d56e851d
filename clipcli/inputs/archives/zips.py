"""Members of .zip files, read by their places: any of them, in any order, from several threads."""

from __future__ import annotations

import bz2
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from clipcli.errors import ImageError
from clipcli.inputs.archives.file import ArchiveFile
from clipcli.inputs.archives.salvage import salvaged
from clipcli.inputs.archives.stored import LINK, Entry, read_at, too_dense, too_large

STORED, DEFLATED, BZIP2, LZMA, ZSTD = 0, 8, 12, 14, 93
_ENCRYPTED, _IS_UTF8, _UNIX = 0x1, 0x800, 3
_LOCAL = struct.Struct("<4s22xHH")  # APPNOTE.TXT, 4.3.7: signature, lengths of name and extra field
_SLACK = 1 << 16  # bytes by which data that cannot be compressed may become longer


class ZipMember(NamedTuple):
    """Where a member lies: the offset of its header, its bytes there and in the end, their CRC-32."""

    offset: int
    packed: int
    size: int
    crc: int
    method: int

    @property
    def token(self) -> str:
        """Its checksum, size and place."""
        return f"{self.crc:08x}-{self.size}-{self.offset}"

    def read(self, archive: ArchiveFile) -> bytes:
        """The content; errors as in `Stored.read`."""
        with archive.open() as file:
            signature, name, extra = _LOCAL.unpack(read_at(file, self.offset, _LOCAL.size))
            if signature != b"PK\x03\x04":
                raise ImageError("the archive is damaged: the member is not where it should be")
            data = read_at(file, self.offset + _LOCAL.size + name + extra, self.packed)
        content = _unpacked(data, self.method, self.size)
        if len(content) != self.size:
            raise ImageError("the archive is damaged: the member has not the size that it should have")
        if zlib.crc32(content) != self.crc:
            raise ImageError("the archive is damaged: the member has another checksum")
        return content


def entries(archive: ArchiveFile) -> Iterator[Entry]:
    """The files in an archive, in its order.

    Raises:
        ImageError: it is none, or is damaged; of a truncated one after the members before the damage.
    """
    with archive.open() as file:
        try:
            found: Iterator[zipfile.ZipInfo] = iter(zipfile.ZipFile(file).infolist())
        except Exception as error:  # `zipfile` raises whatever a damaged directory makes it raise
            found = salvaged(file, str(error))
        for info in found:
            if not info.filename.endswith("/"):  # it may be empty
                yield _entry(info)


def _entry(info: zipfile.ZipInfo) -> Entry:
    path = _path(info)
    if refusal := _refusal(info):
        return Entry(path, None, refusal)
    return Entry(
        path,
        ZipMember(info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type),
    )


def _path(info: zipfile.ZipInfo) -> str:
    """UTF-8, which many programs write without saying so; else code page 437, as the format has it."""
    if info.flag_bits & _IS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _refusal(info: zipfile.ZipInfo) -> str:
    """Why a member is not read; empty if it is."""
    if info.flag_bits & _ENCRYPTED:
        return "encrypted: unpack the archive with its password first"
    if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
        return LINK
    if info.compress_type not in _METHODS:
        return f"compressed by method {info.compress_type}, which is not supported: unpack the archive first"
    if info.compress_size > info.file_size + _SLACK:
        return "the archive is damaged: the member takes more bytes than it has"
    return too_large(info.file_size) or too_dense(info.file_size, info.compress_size)


# --- Decompression -------------------------------------------------------------------------------


def _unpacked(data: bytes, method: int, size: int) -> bytes:
    """The content of a member, but at most one byte more than it should have.

    Raises:
        ImageError: it is damaged.
    """
    try:
        return _METHODS[method](data, size + 1)
    except Exception as error:  # each library has errors of its own
        raise ImageError(f"the archive is damaged: {error}") from None


def _inflated(data: bytes, most: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)


def _from_bzip2(data: bytes, most: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, most)


def _from_lzma(data: bytes, most: int) -> bytes:
    """The stream after its properties (APPNOTE.TXT, 5.8.8)."""
    properties, dictionary = struct.unpack_from("<BI", data, 4)
    rest, lc = divmod(properties, 9)
    filters: list[dict[str, Any]] = [
        {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": rest % 5, "pb": rest // 5, "dict_size": dictionary}
    ]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data[9:], most)


def _from_zstd(data: bytes, most: int) -> bytes:
    from clipcli.inputs.archives.zstd import ZstdDecompressor

    return ZstdDecompressor().decompress(data, most)


_METHODS: dict[int, Callable[[bytes, int], bytes]] = {
    STORED: lambda data, most: data[:most],
    DEFLATED: _inflated,
    BZIP2: _from_bzip2,
    LZMA: _from_lzma,
    ZSTD: _from_zstd,
}
