"""Zstandard: of the standard library from Python 3.14 on, before that its backport."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdDecompressor, ZstdError, ZstdFile, compress
else:
    from backports.zstd import CompressionParameter, ZstdDecompressor, ZstdError, ZstdFile, compress

__all__ = ["CompressionParameter", "ZstdDecompressor", "ZstdError", "ZstdFile", "compress"]
