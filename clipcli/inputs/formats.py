"""What files hold, by their names."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Literal, TypeAlias

FileKind: TypeAlias = Literal["image", "raw", "video", "document", "archive", "other"]
"""An image; a camera's RAW file; images one after the other in time, on pages, or in an archive."""

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jfif", ".jp2"}
    | {".jpe", ".jpeg", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga"}
    | {".tif", ".tiff", ".webp"}
)
"""What a folder is searched for. A file named by the user is tried whatever its suffix."""

JPEG_SUFFIXES = (".jfif", ".jpe", ".jpeg", ".jpg")

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"}
    | {".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Raw sensor data of cameras."""

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".webm",
    }
    | {".wmv"}
)
DOCUMENT_SUFFIXES = frozenset({".pdf"})
ARCHIVE_SUFFIXES = (".zip", ".cbz", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst")

_KINDS: dict[str, FileKind] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(RAW_SUFFIXES, "raw"),
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(DOCUMENT_SUFFIXES, "document"),
}


@lru_cache(maxsize=256)  # the same name is asked for some four times on its way
def kind_of(name: str) -> FileKind:
    """What a file holds, as far as its suffix tells."""
    lower = name.lower()
    dot = lower.rfind(".")
    kind = _KINDS.get(lower[dot:])
    if kind and (lower[dot - 1 : dot].isalnum() or os.path.splitext(lower)[1]):  # `.png` has no suffix
        return kind
    return "archive" if lower.endswith(ARCHIVE_SUFFIXES) else "other"


_WITHIN = re.compile(
    rf"(?P<archive>.*?(?:{'|'.join(map(re.escape, ARCHIVE_SUFFIXES))}))!/(?P<member>.+)"
    r"|(?P<table>.+\.(?:parquet|arrow|feather|ipc))#(?:.+=)?[1-9][0-9]*"
    r"|(?P<file>.+)#(?:t|page|frame)=[^/]+",
    re.DOTALL | re.IGNORECASE,
)


def holder_of(name: str) -> str | None:
    """The file that holds an image of this name: `scans.zip` of `scans.zip!/a.png`; None for any other."""
    found = _WITHIN.fullmatch(name)
    return found and (found["archive"] or found["table"] or found["file"])


def member_of(name: str) -> tuple[str, str] | None:
    """An archive, and the path of a member in it, that `scans.zip!/a.png` names; None for any other name."""
    found = _WITHIN.fullmatch(name)
    return (found["archive"], found["member"]) if found and found["archive"] else None
