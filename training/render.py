"""Draw every image of the catalogue once: 96-pixel RGBA masters, premultiplied by alpha, no duplicates."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.catalogue import SourceImage

SIZE = 96
_SMALLEST_SIDE = 6
Masters = npt.NDArray[np.uint8]  # (N, SIZE, SIZE, 4), premultiplied


def draw(image: SourceImage) -> Image.Image:
    """The image as it is in its package, at about twice the size needed -> RGBA."""
    if image.svg or image.file.endswith(".svg"):
        import resvg_py

        drawing = {"svg_string": image.svg} if image.svg else {"svg_path": image.file}
        return Image.open(
            io.BytesIO(bytes(resvg_py.svg_to_bytes(width=2 * SIZE, skip_system_fonts=True, **drawing)))
        )
    opened: Image.Image = Image.open(image.file)
    if max(opened.size) > 2000:
        opened.thumbnail((800, 800))
    return opened


def master(image: Image.Image, size: int = SIZE) -> Masters | None:
    """Crop to what is drawn, scale the longer side to `size`, centre -> (size, size, 4); None if empty."""
    rgba = image.convert("RGBA")
    box = rgba.getchannel("A").point(lambda alpha: 255 * (alpha > 10)).getbbox()
    if box is None:
        return None
    rgba = rgba.crop(box)
    pixels = np.asarray(rgba).astype(np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255
    ratio = size / max(rgba.size)
    width, height = (max(1, round(side * ratio)) for side in rgba.size)
    if min(width, height) < _SMALLEST_SIDE * size / SIZE:
        return None
    resample = Image.Resampling.BICUBIC if ratio > 1 else Image.Resampling.LANCZOS
    scaled = np.asarray(Image.fromarray(pixels.astype(np.uint8)).resize((width, height), resample))
    canvas = np.zeros((size, size, 4), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = scaled
    canvas[..., :3] = np.minimum(canvas[..., :3], canvas[..., 3:])  # resampling may overshoot
    return canvas


def _drawn(image: SourceImage) -> Masters | None:
    try:
        return master(draw(image))
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ):  # damaged, too large, or not drawn by resvg
        return None


def render(images: Iterable[SourceImage], folder: Path, processes: int = 2) -> None:
    """Write masters.npy (N, 96, 96, 4) and masters.json (what each is) to `folder`."""
    images = list(images)
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[SourceImage] = []
    seen: set[tuple[str, bytes]] = set()
    spool = folder / "masters.raw"
    with spool.open("wb") as raw, Pool(processes) as pool:
        for image, drawn in zip(images, pool.imap(_drawn, images, chunksize=64), strict=True):
            if drawn is None:
                continue
            fingerprint = (image.names[0], hashlib.sha256(drawn[::4, ::4].tobytes()).digest())
            if fingerprint not in seen:
                seen.add(fingerprint)
                kept.append(image)
                raw.write(drawn.tobytes())
    masters = np.memmap(spool, np.uint8, "r", shape=(len(kept), SIZE, SIZE, 4))
    np.save(folder / "masters.npy", masters)
    spool.unlink()
    rows = [
        {"source": p.source, "key": p.key, "names": p.names, "tags": p.tags, "emoji": p.emoji} for p in kept
    ]
    (folder / "masters.json").write_text(json.dumps(rows))


def load(folder: Path) -> tuple[Masters, list[SourceImage]]:
    """(masters, images) as `render` wrote them."""
    rows = json.loads((folder / "masters.json").read_text())
    images = [
        SourceImage(r["source"], r["key"], tuple(r["names"]), tuple(r["tags"]), r["emoji"]) for r in rows
    ]
    return np.load(folder / "masters.npy", mmap_mode="r"), images
