"""Which files are images, by their names."""

from __future__ import annotations

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jfif", ".jp2"}
    | {".jpe", ".jpeg", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga"}
    | {".tif", ".tiff", ".webp"}
)
"""What a folder is searched for. A file named by the user is tried whatever its suffix."""
