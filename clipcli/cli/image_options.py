"""The options that choose images among those that the inputs hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli import choices
from clipcli.cli.options import IMAGES, Exclude, Include
from clipcli.cli.values import seconds

if TYPE_CHECKING:
    from clipcli.inputs.inputs import Inputs

Archives = Annotated[
    bool,
    typer.Option(
        "--archives",
        help="In folders, also read the images in .zip, .cbz and .tar files. An archive that is named as an"
        " INPUT is always read.",
        rich_help_panel=IMAGES,
    ),
]
Pages = Annotated[
    bool,
    typer.Option(
        "--pages",
        help="In folders, also read the pages of .pdf files. A document that is named as an INPUT is always"
        " read.",
        rich_help_panel=IMAGES,
    ),
]
Every = Annotated[
    float | None,
    typer.Option(
        "--every",
        metavar="TIME",
        parser=seconds,
        help="Take a frame of each video every so often, such as 1s, 500ms or 2m. Videos in folders are only"
        " read if this or --frames is given.",
        rich_help_panel=IMAGES,
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        "--frames",
        help="Take this many frames of each video, evenly spread. [default: 8, for a video that is named as"
        " an INPUT]",
        rich_help_panel=IMAGES,
    ),
]
AllFrames = Annotated[
    bool,
    typer.Option(
        "--all-frames",
        help="Take all frames of GIF, WebP and APNG animations and all pages of TIFF files. [default: the"
        " first one]",
        rich_help_panel=IMAGES,
    ),
]
PerVideoOption = Annotated[
    choices.PerVideo | None,
    typer.Option(
        "--per-video",
        metavar="mean|max",
        help="Give each video one row instead of one for each frame. mean: the mean of the frames' features."
        " max: for each label, its best score in a frame. [default: a row for each frame]",
        rich_help_panel=IMAGES,
    ),
]
PreferOption = Annotated[
    choices.Prefer | None,
    typer.Option(
        "--prefer",
        metavar="jpeg|raw",
        help="If a folder has a RAW file and a JPEG of the same name, use only this one. [default: both]",
        rich_help_panel=IMAGES,
    ),
]


@dataclass(frozen=True)
class Picked:
    """What to take from folders, and from files that hold several images."""

    include: Include = None
    exclude: Exclude = None
    archives: Archives = False
    pages: Pages = False
    every: Every = None
    frames: Frames = None
    all_frames: AllFrames = False
    prefer: PreferOption = None

    def inputs(
        self,
        paths: Sequence[str] | None,
        from_file: str | None = None,
        image_column: str | None = None,
        keep: tuple[str, ...] | None = None,
    ) -> Inputs:
        """The images that a command line names.

        Args:
            paths: its arguments.
            from_file: a list or table.
            image_column: the column of the table that names the images.
            keep: columns of the table that travel to the output.

        Raises:
            UsageError: as `Inputs` and `Reading` raise it.
        """
        from clipcli.cli.session import as_text
        from clipcli.inputs.inputs import Inputs
        from clipcli.inputs.reading import Reading

        return Inputs(
            tuple(paths or ()),
            from_file,
            tuple(self.include or ()),
            tuple(self.exclude or ()),
            image_column and as_text(image_column),
            keep,
            Reading(self.archives, self.pages, self.every, self.frames, self.all_frames, self.prefer),
        )

    @property
    def is_default(self) -> bool:
        """Whether none of the options is given."""
        return self == Picked()


def counted(found: Inputs, per_video: choices.PerVideo | None) -> Callable[[], int] | None:
    """What counts the outcomes of a run; None where the images can be listed only once."""
    if found.is_read_once:
        return None
    if per_video is None:
        return lambda: sum(1 for _ in found)
    from clipcli import per_video as grouping

    return lambda: grouping.count(found)
