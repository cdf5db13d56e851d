"""Videos: which of their frames are taken, and reading one of them.

Opening a video to list its frames reads no more of it than tells how long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from clipcli.errors import ImageError
from clipcli.inputs.frames.open_files import OpenFiles
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.frames.video_decoder import MICROSECONDS, VideoDecoder, opened_video, video_errors
from clipcli.inputs.reading import DEFAULT_FRAMES, Reading
from clipcli.records import ImageFailure, Item

if TYPE_CHECKING:
    from PIL import Image

_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # of a stream, as Matroska has it
_CUT_OFF = MICROSECONDS  # all streams of a file that was cut off end so much earlier than declared


def frames_of(item: Item, reading: Reading) -> Iterator[PartItem | ImageFailure]:
    """The frames that are taken of a video; one failure if it cannot be opened.

    Args:
        item: the video.
        reading: how many, or how often; without either, `DEFAULT_FRAMES`.
    """
    try:
        times = _times(item, reading)
    except ImageError as error:
        yield ImageFailure(item.name, error.message, item.columns, item.truth)
        return
    for time in times:
        yield part_of(item, "t", time, is_last=time == times[-1])


def read_part(part: PartItem) -> Image.Image:
    """The frame that is shown at a time.

    Raises:
        ImageError: the video has no such time, or is damaged there.
    """
    with _VIDEOS.reading(part) as video:
        return video.frame_at(part.position)


_VIDEOS = OpenFiles(VideoDecoder, VideoDecoder.close)


def _times(item: Item, reading: Reading) -> range:
    """In the middle of as many equal parts as there are to be frames, or one after the other from 0."""
    with opened_video(item) as (container, stream), video_errors():
        length, frames = _length(container, stream), stream.frames
    if reading.every is not None:
        return range(0, max(length, 1), max(1, round(reading.every * MICROSECONDS)))
    wanted = min(reading.frames or DEFAULT_FRAMES, frames or length, max(length, 1))
    step = max(length // wanted, 1)
    return range(step // 2, step // 2 + step * wanted, step)


# --- How long a video is -------------------------------------------------------------------------


def _length(container: Any, stream: Any) -> int:
    """Microseconds, of the stream of frames: sound may go on for longer."""
    duration: int = stream.duration or 0
    if duration:
        return round(duration * Fraction(stream.time_base) * MICROSECONDS)
    if found := _DURATION.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = found.groups()
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * MICROSECONDS)
    declared: int = container.duration or 0
    of_frames, of_all = _ends(container, stream, declared)
    return declared if declared - of_all > _CUT_OFF else of_frames


def _ends(container: Any, stream: Any, declared: int) -> tuple[int, int]:
    """Where the frames and where all streams end, by the last packets of a video that does not say it."""
    container.seek(declared, backward=True)
    ends = {stream.index: 0}
    for packet in container.demux():
        if packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            ends[packet.stream.index] = max(ends.get(packet.stream.index, 0), round(end * MICROSECONDS))
    start = round((stream.start_time or 0) * stream.time_base * MICROSECONDS)
    return ends[stream.index] - start, max(ends.values()) - start
