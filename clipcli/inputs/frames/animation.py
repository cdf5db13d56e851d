"""Frames of GIF, WebP and APNG animations and pages of TIFF files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from clipcli.errors import ImageError
from clipcli.images.decode import MAX_PIXELS
from clipcli.images.memory import BUDGET, bytes_needed, check_size, gif_sizes
from clipcli.images.reasons import as_image_errors
from clipcli.images.tiff_directory import Sliceable
from clipcli.inputs.frames.open_files import OpenFiles
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.frames.tiff_pages import FileBytes, has_more_pages, page_at, page_offsets
from clipcli.inputs.item import FileItem
from clipcli.inputs.left_out import Tally
from clipcli.inputs.streams import opened
from clipcli.records import Columns, Item, Version

if TYPE_CHECKING:
    from PIL import Image

_TIFF_SUFFIXES = (".tif", ".tiff")
_SUFFIXES = (".gif", ".webp", ".png", ".apng", *_TIFF_SUFFIXES)
_FORMATS = ("GIF", "WEBP", "PNG")


def frames_of(item: Item) -> Iterator[Item]:
    """The frames or pages of a file; the file itself, if it has one only, or cannot be opened."""
    count = _count(item) if item.name.lower().endswith(_SUFFIXES) else 1
    if count < 2:
        yield item
        return
    for number in range(1, count + 1):
        yield part_of(item, "frame", number, is_last=number == count)


def first_frame(item: Item, first_pages: Tally) -> Item:
    """The file itself; a TIFF of several pages is counted when it is read: looking for them costs nothing."""
    if not isinstance(item, FileItem) or not item.name.lower().endswith(_TIFF_SUFFIXES):
        return item
    return FirstPage(item.name, item, first_pages, item.columns, item.truth)


@dataclass(frozen=True, slots=True)
class FirstPage:
    """A TIFF file, of which an image is its first page.

    Args:
        name: the file's.
        whole: the file.
        first_pages: counts it if there are more pages.
    """

    kind: ClassVar[str] = "file"

    name: str
    whole: FileItem
    first_pages: Tally = field(compare=False, repr=False)
    columns: Columns = field(default_factory=dict)
    truth: str | None = None

    def version(self) -> Version | None:
        """The file's."""
        return self.whole.version()

    def read(self) -> bytes:
        """The file's content."""
        content = self.whole.read()
        if has_more_pages(content):
            self.first_pages.add()
        return content


def read_part(part: PartItem) -> bytes | Image.Image:
    """A page of a TIFF, encoded, or a frame of an animation, decoded: as it is seen, over those before it.

    Raises:
        ImageError: there is no such frame, or it is damaged.
    """
    with _FILES.reading(part) as file:
        if part.position > file.count:
            raise ImageError(f"no such frame: there are {file.count}")
        return file.frame(part.position - 1)


def _count(item: Item) -> int:
    try:
        with closing(_opened(item)) as file:
            return file.count
    except ImageError:
        return 0


class _Pages:
    """A TIFF file that is open."""

    def __init__(self, file: BinaryIO, offsets: list[int]) -> None:
        self._file, self._bytes, self._offsets = file, FileBytes(file), offsets
        self.count = len(offsets)

    def frame(self, index: int) -> bytes:
        return page_at(self._bytes, self._offsets[index])

    def close(self) -> None:
        self._file.close()


class _Animation:
    """An animation that is open. Pillow decodes frames one over the other, and so from the first one on."""

    def __init__(self, file: BinaryIO) -> None:
        from PIL import Image

        _check_frames(FileBytes(file))
        file.seek(0)
        self._file = file
        self._image = Image.open(file, formats=_FORMATS)
        check_size(self._image.size, MAX_PIXELS)
        has_cover = bool(self._image.info.get("default_image"))  # shown where animations are not
        self._first = 1 if has_cover else 0
        self.count = getattr(self._image, "n_frames", 1) - self._first

    def frame(self, index: int) -> Image.Image:
        with as_image_errors(), BUDGET.of(bytes_needed(self._image.format or "", self._image.size)):
            self._image.seek(index + self._first)
            return self._image.copy()

    def close(self) -> None:
        self._image.close()
        self._file.close()


def _check_frames(data: Sliceable) -> None:
    """Refuse a GIF of which an image is too large, before Pillow makes room for it."""
    if data[:4] == b"GIF8":
        for size in gif_sizes(data, every_image=True):
            check_size(size, MAX_PIXELS)


def _opened(item: Item) -> _Pages | _Animation:
    file = opened(item)
    try:
        offsets = list(page_offsets(FileBytes(file)))
        if offsets:
            return _Pages(file, offsets)
        file.seek(0)
        with as_image_errors():
            return _Animation(file)
    except BaseException:
        file.close()
        raise


_FILES = OpenFiles(_opened, lambda file: file.close())
