"""Paper as a camera or a scanner sees it: on a ground, slanted, in uneven light, blurred, with noise."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Rng = np.random.Generator
Photo = npt.NDArray[np.uint8]  # (H, W, 3)
_LONGEST = 640  # pixels of what is photographed


def photographed(page: Image.Image, rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """The page on a table or before some other ground, seen from an angle."""
    page = _shaded(page, rng, 0.25)
    frame = (_LONGEST, int(_LONGEST * rng.choice([0.75, 0.667, 1.0])))
    upright = page.height > page.width
    frame = (frame[1], frame[0]) if upright == (rng.random() < 0.8) else frame
    ground = _ground(frame, rng, photos)
    corners = _corners(page.size, frame, rng)
    mask = _laid(Image.new("L", page.size, 255), corners, frame, 0)
    blur, offset = rng.uniform(3, 16), (int(rng.integers(-9, 10)), int(rng.integers(0, 12)))
    shadow = Image.new("L", frame)
    shadow.paste(mask, offset)
    shadow = shadow.filter(ImageFilter.GaussianBlur(blur)).point(lambda value: int(value * 0.6))
    ground.paste(Image.new("RGB", frame), mask=shadow)
    ground.paste(_laid(page, corners, frame, (0, 0, 0)), mask=mask)
    seen = _shaded(ground, rng, 0.35)
    if rng.random() < 0.3:  # the shadow of a hand or a head
        dark = relief(frame, rng, rng.uniform(1, 3)) > rng.uniform(0.5, 0.7)
        edge = Image.fromarray(np.where(dark, 0, 110).astype(np.uint8)).filter(ImageFilter.GaussianBlur(12))
        seen = Image.composite(
            seen, seen.point(lambda value: int(value * 0.6)), edge.point(lambda v: 255 - v)
        )
    seen = seen.filter(
        ImageFilter.GaussianBlur(rng.exponential(0.7) if rng.random() < 0.9 else rng.uniform(2, 4))
    )
    if rng.random() < 0.2:
        seen = seen.convert("L").convert("RGB")
    return speckled(seen, rng, rng.uniform(2, 10))


def scanned(page: Image.Image, rng: Rng) -> Image.Image:
    """The page as a scanner or a copier sees it: greyish, not quite straight."""
    if rng.random() < 0.6:
        page = page.convert("L").convert("RGB")
    page = page.rotate(rng.normal(0, 1.2), Image.Resampling.BICUBIC, fillcolor=(225, 225, 222))
    low, high = rng.uniform(0, 60), rng.uniform(205, 255)
    page = page.point(lambda value: int(low + value / 255 * (high - low)))
    page = page.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
    return speckled(_shaded(page, rng, 0.08), rng, rng.uniform(1, 7))


def saved(image: Image.Image, rng: Rng) -> Image.Image:
    """As a JPEG of some quality, mostly."""
    if rng.random() < 0.3:
        return image
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(35, 95)))
    return Image.open(file).convert("RGB")


def speckled(image: Image.Image, rng: Rng, amount: float) -> Image.Image:
    """With noise of a standard deviation, in steps of grey."""
    pixels = np.asarray(image, np.float32)
    noisy = pixels + rng.normal(0, amount, (*pixels.shape[:2], 1)).astype(np.float32)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def relief(size: tuple[int, int], rng: Rng, rough: float, octaves: int = 4) -> npt.NDArray[np.float32]:
    """Hills and valleys between 0 and 1 -> (H, W)."""
    total = np.zeros((size[1], size[0]), np.float32)
    for octave in range(octaves):
        cells = max(2, int(rough * 2**octave) + 1)
        coarse = Image.fromarray(rng.random((cells, cells), np.float32))
        total += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) / 2**octave
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / (high - low), np.float32)


def gradient(size: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], rng: Rng) -> Image.Image:
    """From one colour to another, straight or in waves."""
    if rng.random() < 0.5:
        share = relief(size, rng, 1, 2)
    else:
        share = np.linspace(0, 1, size[1], dtype=np.float32)[:, None].repeat(size[0], axis=1)
    mixed = share[..., None] * np.array(one, np.float32) + (1 - share[..., None]) * np.array(
        other, np.float32
    )
    return Image.fromarray(mixed.astype(np.uint8))


def _ground(size: tuple[int, int], rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A photograph, or the grain of wood, or cloth."""
    if len(photos) and rng.random() < 0.5:
        photo = Image.fromarray(photos[int(rng.integers(len(photos)))]).resize(size, Image.Resampling.BICUBIC)
        return photo.filter(ImageFilter.GaussianBlur(rng.uniform(0, 4)))
    warm = rng.integers(30, 220)
    green = rng.uniform(0.6, 1)
    base = warm * np.array([1, green, green * rng.uniform(0.6, 1.1)], np.float32)
    narrow = int(rng.integers(2, 40))
    grain = Image.fromarray(rng.random((narrow, int(rng.integers(40, 160))), np.float32))
    shade = np.asarray(grain.resize(size, Image.Resampling.BICUBIC)) * rng.uniform(0.05, 0.5)
    shade = shade + relief(size, rng, 2) * 0.3 + rng.uniform(0.5, 0.8)
    return Image.fromarray((base * shade[..., None]).clip(0, 255).astype(np.uint8))


def _shaded(image: Image.Image, rng: Rng, most: float) -> Image.Image:
    """In light that comes from a side, of a colour."""
    angle, (width, height) = rng.uniform(0, 2 * np.pi), image.size
    across = (
        np.cos(angle) * np.linspace(-1, 1, width)[None] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    )
    light = rng.uniform(1 - most / 2, 1 + most / 2) + rng.uniform(0, most) * across / 1.5
    tint = 1 - rng.uniform(0, most / 1.5) * np.array([(0, 0.4, 1), (1, 0.5, 0)][rng.integers(2)])
    pixels = np.asarray(image, np.float32) * light[..., None].astype(np.float32) * tint.astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _corners(page: tuple[int, int], frame: tuple[int, int], rng: Rng) -> npt.NDArray[np.float64]:
    """Where the corners of the page lie in the frame, clockwise from the top left -> (4, 2)."""
    angle = np.radians(rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-90, 90))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    corners = (square * page) @ turn
    room = np.array(frame) / np.ptp(corners, axis=0)
    corners *= (
        rng.uniform(0.75, 1.05) * room.min() if rng.random() < 0.65 else rng.uniform(1, 1.4) * room.max()
    )
    corners += rng.normal(0, 0.05 * min(np.ptp(corners, axis=0)), (4, 2))
    return np.asarray(corners + np.array(frame) * rng.uniform(0.44, 0.56, 2))


def _laid(
    page: Image.Image,
    corners: npt.NDArray[np.float64],
    frame: tuple[int, int],
    fill: float | tuple[int, ...],
) -> Image.Image:
    """The page with its corners at these places."""
    width, height = page.size
    equations, values = [], []
    for (x, y), (u, v) in zip(corners, [(0, 0), (width, 0), (width, height), (0, height)], strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found = np.linalg.solve(np.array(equations), np.array(values, float))
    return page.transform(
        frame, Image.Transform.PERSPECTIVE, list(found), Image.Resampling.BICUBIC, fillcolor=fill
    )
