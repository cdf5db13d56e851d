"""Images that are made from a file, and their names.

clip.mp4#t=3.0       the frame of a video that is shown after so many seconds
file.pdf#page=2      the page of a document, from 1
scan.tif#frame=2     the frame of an animation, or the page of a TIFF, from 1
photo.nef            the image of a RAW file
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias, cast

from clipcli.libraries import reader_library
from clipcli.records import Columns, Item, Version, is_remote

if TYPE_CHECKING:
    from PIL import Image

PartKind: TypeAlias = Literal["t", "page", "frame", "raw"]
"""A time in a video, a page of a document, a frame, or the only image of a RAW file."""

_NAME = re.compile(r"(.+)#(?:(t)=([0-9]+(?:\.[0-9]{1,6})?)|(page|frame)=([1-9][0-9]*))", re.DOTALL)
_MICROSECONDS = 6  # digits


class PartName(NamedTuple):
    """What the name of a part says: `position` is microseconds, or a number from 1."""

    whole: str
    kind: PartKind
    position: int


@dataclass(frozen=True, slots=True)
class PartItem:
    """An image that is made from a file: a frame, a page, or what a RAW file shows.

    `reader` is a module with a function `read_part`, `library` what decides the pixels besides, and `recipe`
    a number that increases when the same part gives other pixels.

    Args:
        name: made by `part_of`.
        whole: the file.
        position: microseconds from the start of a video, or a number from 1; 0 of a RAW file.
        is_last: whether it is the last one that is taken of the file, which may be closed then.
    """

    kind: ClassVar[str]
    reader: ClassVar[str]
    library: ClassVar[str]
    recipe: ClassVar[int] = 1

    name: str
    whole: Item
    position: int
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    is_last: bool = field(default=True, compare=False)

    @property
    def is_remote(self) -> bool:
        """Whether reading it waits for a network."""
        return is_remote(self.whole)

    def version(self) -> Version | None:
        """The file's, with the part, and with what makes an image of it."""
        version = self.whole.version()
        if version is None:
            return None
        part = self.name.removeprefix(self.whole.name).encode()
        return Version(version.name + part, f"{version.token}-{self.recipe}-{reader_library(self.library)}")

    def read(self) -> bytes | Image.Image:
        """The image; errors as in `Item.read`."""
        read_part = import_module(f"clipcli.inputs.frames.{self.reader}").read_part
        return cast(Callable[[PartItem], "bytes | Image.Image"], read_part)(self)


class VideoFrame(PartItem):
    """What a video shows at a time."""

    kind, reader, library = "video frame", "video", "av"


class Page(PartItem):
    """A page of a document."""

    kind, reader, library = "page", "document", "pypdfium2"


class Frame(PartItem):
    """A frame of an animation, or a page of a TIFF."""

    kind, reader, library = "frame", "animation", "pillow"


class RawImage(PartItem):
    """What a RAW file shows."""

    kind, reader, library = "RAW file", "raw", "rawpy"


_KINDS: dict[PartKind, type[PartItem]] = {"t": VideoFrame, "page": Page, "frame": Frame, "raw": RawImage}


def part_of(whole: Item, kind: PartKind, position: int = 0, is_last: bool = True) -> PartItem:
    """A part of a file, with the file's columns."""
    name = whole.name + _suffix(kind, position)
    return _KINDS[kind](name, whole, position, whole.columns, whole.truth, is_last)


def part_named(name: str) -> PartName | None:
    """What a name says, if it is that of a part."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    whole, is_time, time, kind, number = found.groups()
    if is_time is None:
        return PartName(whole, cast(PartKind, kind), int(number))
    seconds, _, fraction = time.partition(".")
    return PartName(whole, "t", int(seconds + fraction.ljust(_MICROSECONDS, "0")))


def _suffix(kind: PartKind, position: int) -> str:
    if kind == "raw":
        return ""
    if kind != "t":
        return f"#{kind}={position}"
    seconds, microseconds = divmod(position, 10**_MICROSECONDS)
    fraction = f"{microseconds:0{_MICROSECONDS}}".rstrip("0") or "0"
    return f"#t={seconds}.{fraction}"
