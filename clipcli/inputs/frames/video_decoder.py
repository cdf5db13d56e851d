"""The frame that a video shows at a time, by seeking or by going on from the last one.

Times are microseconds from the start of the stream. A frame is shown until the next one is due, however long
that takes, and the last one to the end.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from clipcli.errors import ImageError
from clipcli.images.decode import MAX_PIXELS
from clipcli.images.memory import check_size
from clipcli.inputs.streams import opened
from clipcli.prefetch import available_cores
from clipcli.records import Item

if TYPE_CHECKING:
    from PIL import Image

MICROSECONDS = 1_000_000
"""In a second."""

_FORMATS = "mov,matroska,webm,avi,flv,mpegts,mpegtsraw,mpeg,mpegvideo,ogg,asf"
"""What is opened, whatever the suffix; no formats that are lists of other files or addresses."""

_THREADS = 4  # of one decoder, at most: each holds frames
_AHEAD = 10 * MICROSECONDS  # what is not farther is decoded, if nothing tells where a seek would lead
_BACK_OFF = (0, 5 * MICROSECONDS, 30 * MICROSECONDS)  # a seek may come out too late
_MOST_ERRORS = 100  # before a frame; then there is none
_SLACK = MICROSECONDS // 2  # of declared lengths, in which players show the last frame
_USUAL_ASPECTS = (0.25, 4)  # of a pixel; others are damage
_UNSPECIFIED, _BT709 = 2, 1  # colour matrices, as in ITU-T H.273
_SD_LINES = 576
_TURNS: dict[tuple[int, ...], str] = {  # by where right and down lead, as the display matrix says
    (0, 1, -1, 0): "ROTATE_270",
    (-1, 0, 0, -1): "ROTATE_180",
    (0, -1, 1, 0): "ROTATE_90",
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, -1, -1, 0): "TRANSVERSE",
}


@contextmanager
def video_errors() -> Iterator[None]:
    """Turn what FFmpeg raises into an `ImageError`."""
    import av

    try:
        yield
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise ImageError(f"damaged video: {_words(error)}") from None


@contextmanager
def opened_video(item: Item) -> Iterator[tuple[Any, Any]]:
    """A container of PyAV's and its stream of frames.

    Raises:
        ImageError: it cannot be opened, or there are no frames in it.
    """
    decoder = VideoDecoder(item)
    try:
        yield decoder.container, decoder.stream
    finally:
        decoder.close()


class VideoDecoder:
    """A video that is open, at the frame that was shown last.

    Args:
        item: the video.

    Raises:
        ImageError: it cannot be opened, or there are no frames in it.
    """

    def __init__(self, item: Item) -> None:
        self._item = item
        self._current: Any = None  # the frame that was shown last, and the one after it, once there are some
        self._next: Any = None
        self._open()

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        self._file.close()

    def frame_at(self, time: int) -> Image.Image:
        """The frame that is shown at a time, upright, in RGB.

        Raises:
            ImageError: the video ends before, or is damaged there.
        """
        with video_errors():
            if not self._is_ahead(time):
                self._seek(time)
            return _image(self._shown(time), self.stream)

    def _open(self) -> None:
        self._file = opened(self._item)
        try:
            self.container, self.stream = _container(self._file)
        except BaseException:
            self._file.close()
            raise

    def _begin(self) -> None:
        """Decode the frame at which the container stands."""
        self._next = None
        self._frames = self.container.decode(self.stream)
        self._advance()

    def _advance(self) -> None:
        """Decode one frame. What lies behind damage, up to the next keyframe, cannot be trusted."""
        import av

        self._current, self._damage = self._next, ""
        for _ in range(_MOST_ERRORS):
            try:
                found = (frame for frame in self._frames if frame.key_frame or not self._damage)
                self._next = next(found, None)
                return
            except (av.error.FFmpegError, ValueError) as error:
                self._damage = _words(error)
                self._frames = self.container.decode(self.stream)
        self._next = None

    def _shown(self, time: int) -> Any:
        """Decode until the next frame is later."""
        while self._next is not None and self._time_of(self._next) <= time:
            self._advance()
        frame = self._current or self._next
        if frame is None:
            raise ImageError(f"damaged video: {self._damage or 'there are no frames in it'}")
        end = self._end_of(frame)
        if self._damage and time >= end:
            raise ImageError(f"damaged video: {self._damage}")
        if self._next is None and time >= end + _SLACK:
            raise ImageError(f"damaged video: it ends after {end / MICROSECONDS:.1f} s")
        if frame.is_corrupt:
            raise ImageError("damaged video: this frame cannot be decoded")
        return frame

    # --- Where to go on --------------------------------------------------------------------------

    def _is_ahead(self, time: int) -> bool:
        """Whether to decode from here on is the shortest way to a time."""
        if self._current is None or time < self._time_of(self._current):
            return False
        if self._next is None or time < self._time_of(self._next):
            return True
        keyframe = self._keyframe_before(time)
        if keyframe is None:
            return time - self._time_of(self._current) < _AHEAD
        return keyframe <= self._time_of(self._next)

    def _keyframe_before(self, time: int) -> int | None:
        """When the last keyframe until a time is due; None if the file has no index."""
        entries = self.stream.index_entries
        found = entries.search_timestamp(self._stamp(time), backward=True) if entries else -1
        return self._time(entries[found].timestamp) if found >= 0 else None

    def _seek(self, time: int) -> None:
        """Go to a keyframe that is due until a time, or to the beginning."""
        for back in _BACK_OFF:
            if time < back or not self._seek_keyframe(time - back):
                break
            if self._next is not None and self._time_of(self._next) <= time:
                return
        self.close()
        self._open()
        self._begin()

    def _seek_keyframe(self, time: int) -> bool:
        """Go to a keyframe near a time, and over frames before it: they may need what comes earlier still."""
        import av

        try:
            self.container.seek(self._stamp(time), stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        self._begin()
        while self._next is not None and not self._next.key_frame:
            self._advance()
        self._current = None
        return True

    # --- Times -----------------------------------------------------------------------------------

    def _time_of(self, frame: Any) -> int:
        stamp = frame.dts if frame.pts is None else frame.pts
        if stamp is None:
            raise ImageError("not supported: a video whose frames have no times")
        return self._time(int(stamp))

    def _end_of(self, frame: Any) -> int:
        usual: Fraction = MICROSECONDS / (self.stream.guessed_rate or self.stream.average_rate or Fraction(1))
        length: Fraction = (frame.duration or 0) * self.stream.time_base * MICROSECONDS
        return self._time_of(frame) + round(max(length, usual))

    def _time(self, stamp: int) -> int:
        start: int = self.stream.start_time or 0
        return round((stamp - start) * Fraction(self.stream.time_base) * MICROSECONDS)

    def _stamp(self, time: int) -> int:
        start: int = self.stream.start_time or 0
        return start + math.floor(time / (Fraction(self.stream.time_base) * MICROSECONDS))


def _container(file: BinaryIO) -> tuple[Any, Any]:
    """A container and its first stream of frames; the cover of a song is none."""
    import av
    from av.stream import Disposition

    file.seek(0, os.SEEK_END)
    if not file.tell():
        raise ImageError("empty file")
    file.seek(0)
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    with video_errors():
        container = av.open(file, options=options)
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                return container, _prepared(stream)
        has_sound = bool(container.streams.audio)
        container.close()
    if not has_sound:
        raise ImageError("damaged video: nothing is found in it")
    raise ImageError("no frames in this video: it holds sound only")


def _prepared(stream: Any) -> Any:
    context = stream.codec_context
    if context is None:
        raise ImageError("damaged video, or one in a format that FFmpeg cannot decode")
    check_size((context.width, context.height), MAX_PIXELS)
    stream.thread_type = "AUTO"
    context.thread_count = min(_THREADS, available_cores())
    return stream


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- Pixels --------------------------------------------------------------------------------------


def _image(frame: Any, stream: Any) -> Image.Image:
    """As players show it: pixels square, upright, and the colours of high definition by its own matrix."""
    from av.video.reformatter import VideoReformatter
    from PIL import Image

    aspect = float(stream.sample_aspect_ratio or 1)
    low, high = _USUAL_ASPECTS
    width = round(frame.width * aspect) if low <= aspect <= high else frame.width
    is_unsaid = frame.colorspace == _UNSPECIFIED and frame.height > _SD_LINES
    matrix = _BT709 if is_unsaid else None
    scaler: Any = VideoReformatter()  # PyAV 19 shares one by default, which hangs in the child of a fork
    image: Image.Image = scaler.reformat(frame, width, frame.height, "rgb24", matrix).to_image()
    turn = _TURNS.get(_matrix(frame))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _matrix(frame: Any) -> tuple[int, ...]:
    """Signs of the display matrix, the part that turns and mirrors; it has 16 bits behind the point."""
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return ()
    a, b, _, c, d = struct.unpack_from("=5i", bytes(found))
    return tuple(round(value / 65536) for value in (a, b, c, d))
