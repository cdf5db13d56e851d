"""What is looked for within what the user named: members of archives, frames, pages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from clipcli.choices import Prefer
from clipcli.errors import UsageError
from clipcli.inputs.extras import can_read
from clipcli.inputs.formats import FileKind

DEFAULT_FRAMES = 8
"""Frames of a video for which nothing else is asked."""


@dataclass(frozen=True)
class Reading:
    """What to take from files that hold several images.

    A file of any kind that the user names is read; these options say what is looked for in folders, and how
    many images a file gives.

    Args:
        archives: read the archives in folders too.
        pages: read the pages of documents in folders too.
        every: seconds of a video between two of its frames; with it, or with `frames`, videos in folders are
            read too.
        frames: how many frames of a video, evenly spread. Without `every`, it is 8 for a video that is named.
        all_frames: read all frames of animations and all pages of TIFF files, not only the first.
        prefer: of a RAW file and a JPEG of the same name in one folder, use this one only; None uses both.

    Raises:
        UsageError: a value that cannot be, or two that exclude each other.
    """

    archives: bool = False
    pages: bool = False
    every: float | None = None
    frames: int | None = None
    all_frames: bool = False
    prefer: Prefer | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.frames is not None:
            raise UsageError("`every` and `frames` exclude each other", "Give one of them.")
        if self.every is not None and not 0 < self.every < float("inf"):
            raise UsageError(f"`every` must be a number of seconds above 0, not {self.every:g}")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"`frames` must be at least 1, not {self.frames}")

    def takes(self, kind: FileKind) -> bool:
        """Whether a file of this kind is read when a folder holds it, and can be read here."""
        return kind == "image" or (kind in self._wanted and can_read(kind))

    @cached_property
    def _wanted(self) -> set[FileKind]:
        wanted: dict[FileKind, bool] = {
            "archive": self.archives,
            "document": self.pages,
            "image": True,
            "raw": True,
            "video": self.every is not None or self.frames is not None,
        }
        return {kind for kind, is_wanted in wanted.items() if is_wanted}


FIRST_IMAGES = Reading()
"""One image of each file, in folders only of image files."""
