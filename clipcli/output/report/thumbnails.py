"""Small copies of images as WebP, in the page or in a folder beside it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from clipcli.errors import ImageError
from clipcli.files import replacing
from clipcli.images.decode import MAX_PIXELS
from clipcli.images.thumbnails import small_copy
from clipcli.inputs.opening import content_of
from clipcli.prefetch import available_cores, prefetch_map

SIDE = 160
"""Pixels of the longer side; smaller images stay as they are."""

MOST_INSIDE = 2000
"""Images whose thumbnails are in the page itself: some 10 MB. Those of more images lie beside it."""

_QUALITY = 80
_PREFETCH = 8  # thumbnails made ahead, for each thread
_OURS = re.compile(r"[0-9a-f]{32}\.webp")

Thumbnail: TypeAlias = bytes | ImageError
"""A WebP file, or why there is none."""


def thumbnail(path: str, max_pixels: int = MAX_PIXELS) -> Thumbnail:
    """A small copy of an image file, upright and in sRGB; of a damaged one, of the part that can be read.

    Args:
        path: the file.
        max_pixels: images with more pixels have none.
    """
    try:
        return _as_webp(small_copy(content_of(path), SIDE, max_pixels))
    except ImageError as error:
        return error


def _as_webp(image: Image.Image) -> bytes:
    packed = io.BytesIO()
    image.save(packed, "WEBP", quality=_QUALITY)
    return packed.getvalue()


def thumbnails(
    paths: Sequence[str], max_pixels: int = MAX_PIXELS, workers: int | None = None
) -> Iterator[Thumbnail]:
    """The thumbnail of each image file, in order, made in threads.

    Args:
        paths: the files.
        max_pixels: images with more pixels have none.
        workers: threads; None is one per core.
    """
    threads = workers or available_cores()
    make = partial(thumbnail, max_pixels=max_pixels)
    return prefetch_map(make, paths, threads, threads * _PREFETCH)


class Store(ABC):
    """Where the thumbnails of a report are kept; `references` says of each image how the page finds it."""

    folder = ""
    """The folder beside the page, as an address in it, if there is one."""

    def __init__(self) -> None:
        self.references: list[str | None] = []

    def add(self, thumbnail: Thumbnail) -> None:
        """Keep the thumbnail of the next image.

        Raises:
            OSError: it cannot be written.
        """
        self.references.append(None if isinstance(thumbnail, ImageError) else self._kept(thumbnail))

    @abstractmethod
    def _kept(self, webp: bytes) -> str: ...


class Inside(Store):
    """Thumbnails in the page: a reference is the file itself, as base64."""

    def _kept(self, webp: bytes) -> str:
        return base64.b64encode(webp).decode()


class Beside(Store):
    """Thumbnails in a folder: a reference is the name of a file, which is the digest of its content.

    So a page that is replaced later keeps its own thumbnails until then.

    Args:
        path: the folder; it is created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.folder = path.name
        self.path.mkdir(exist_ok=True)

    def _kept(self, webp: bytes) -> str:
        name = f"{hashlib.sha256(webp).hexdigest()[:32]}.webp"
        file = self.path / name
        if not file.exists():
            with replacing(file) as unfinished:
                unfinished.write_bytes(webp)
        return name


def folder_beside(page: Path) -> Path:
    """The folder for the thumbnails of a page: `report_files` for `report.html`."""
    return page.with_name(f"{page.stem}_files")


def forget_others(folder: Path, kept: Sequence[str | None]) -> None:
    """Delete the thumbnails of earlier reports from a folder, and nothing else; an empty folder goes too."""
    if not folder.is_dir():
        return
    for name in {file.name for file in folder.iterdir()}.difference(kept):
        if _OURS.fullmatch(name):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
    with contextlib.suppress(OSError):  # there is something left in it
        folder.rmdir()
