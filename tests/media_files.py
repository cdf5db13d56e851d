"""Videos, RAW files and documents that tests make."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import tifffile
from av.stream import Disposition
from PIL import Image

SIZE = (64, 48)
"""Of the frames of videos."""


def frame_pixels(number: int, size: tuple[int, int] = SIZE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A frame that says its number (below 256) in eight black or white columns; its top is red."""
    width, height = size
    bits = [255 * (number >> bit & 1) for bit in range(7, -1, -1)]
    columns = np.repeat(np.array(bits, np.uint8), width // 8)
    pixels = np.repeat(np.broadcast_to(columns, (height, len(columns)))[..., np.newaxis], 3, axis=2).copy()
    pixels[: height // 4] = (255, 0, 0)
    return pixels


def number_of(image: Image.Image) -> int:
    """The number that a frame says."""
    row = np.asarray(image.convert("L").resize((8, 4), Image.Resampling.BOX))[2]
    return int("".join(str(int(value > 127)) for value in row), 2)


def write_video(  # noqa: PLR0913
    path: Path,
    frames: int = 60,
    *,
    rate: int = 10,
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    sound: float = 0,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    is_cover: bool = False,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A video of numbered frames, at a rate or at times in milliseconds, with so many seconds of silence."""
    base = Fraction(1, 1000) if times else Fraction(1, rate)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if is_cover:
            stream.disposition = Disposition.attached_pic
        stream.codec_context.time_base = base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        silence = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(frame_pixels(number), format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if silence is not None:
            _write_silence(container, silence, round(sound * 8000))
    return path


def write_sound(path: Path, seconds: float = 1) -> Path:
    """A file of sound only."""
    with av.open(str(path), "w") as container:
        _write_silence(
            container, container.add_stream("aac", rate=8000, layout="mono"), round(seconds * 8000)
        )
    return path


def _write_silence(container: Any, stream: Any, samples: int) -> None:
    for start in range(0, samples, 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


# --- RAW -----------------------------------------------------------------------------------------

QUARTERS = ((60000, 0, 0), (0, 60000, 0), (0, 0, 60000), (60000, 60000, 0))
"""Linear colours of the quarters of a RAW image as it is stored: red, green; blue, yellow."""

_XYZ_TO_LINEAR_SRGB = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560)
_XYZ_TO_LINEAR_SRGB += (0.0556434, -0.2040259, 1.0572252)


def quarters(
    size: tuple[int, int], colors: Sequence[tuple[int, int, int]] = QUARTERS
) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Linear colours, (H, W, 3) of 16 bits."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint16)
    for number, color in enumerate(colors):
        top, left = number // 2 * height // 2, number % 2 * width // 2
        pixels[top : top + height // 2, left : left + width // 2] = color
    return pixels


def write_dng(
    path: Path,
    orientation: int = 1,
    size: tuple[int, int] = (1200, 900),
    preview: bytes | np.ndarray[Any, Any] | None = None,
    colors: Sequence[tuple[int, int, int]] = QUARTERS,
) -> Path:
    """A DNG of the quarters behind a Bayer filter, with a JPEG or bitmap preview if one is given."""
    rgb = quarters(size, colors)
    cfa = rgb[..., 1].copy()
    cfa[0::2, 0::2], cfa[1::2, 1::2] = rgb[0::2, 0::2, 0], rgb[1::2, 1::2, 2]
    matrix = [number for value in _XYZ_TO_LINEAR_SRGB for number in (round(value * 10**7), 10**7)]
    about: list[tuple[Any, ...]] = [
        (271, "s", 0, "Test", False),
        (272, "s", 0, "Camera", False),
        (274, "H", 1, orientation, False),
        (50706, "B", 4, (1, 4, 0, 0), False),  # DNG version 1.4
        (50707, "B", 4, (1, 1, 0, 0), False),
        (50708, "s", 0, "Test Camera", False),
        (50721, "2i", 9, matrix, False),  # ColorMatrix1
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), False),  # AsShotNeutral
        (50778, "H", 1, 21, False),  # under daylight
    ]
    data: list[tuple[Any, ...]] = [
        (33421, "H", 2, (2, 2), False),
        (33422, "B", 4, (0, 1, 1, 2), False),
        (50717, "I", 1, 65535, False),
    ]
    with tifffile.TiffWriter(path, byteorder="<") as file:
        if preview is None:
            file.write(cfa, photometric="cfa", extratags=about + data, subfiletype=0, metadata=None)
        else:
            _write_preview(file, preview, about)
            file.write(cfa, photometric="cfa", extratags=data, subfiletype=0, metadata=None)
    return path


def _write_preview(file: Any, preview: bytes | np.ndarray[Any, Any], about: list[tuple[Any, ...]]) -> None:
    if isinstance(preview, bytes):
        with Image.open(io.BytesIO(preview)) as image:
            shape = (image.height, image.width, 3)
        file.write(
            iter([preview]), shape=shape, dtype=np.uint8, photometric="ycbcr", compression="jpeg",
            subfiletype=1, extratags=about, subifds=1, metadata=None, rowsperstrip=shape[0],
        )  # fmt: skip
    else:
        file.write(
            preview, photometric="rgb", subfiletype=1, extratags=about, subifds=1, metadata=None,
            rowsperstrip=len(preview),
        )  # fmt: skip


# --- Documents -----------------------------------------------------------------------------------


def write_pdf(path: Path, pages: Sequence[Image.Image], resolution: float = 72) -> Path:
    """A document of pages that are images."""
    pages[0].save(path, save_all=True, append_images=pages[1:], resolution=resolution)
    return path
