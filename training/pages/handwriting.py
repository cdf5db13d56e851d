"""Handwriting, drawn by a program: each letter is a few points, which a hand meets more or less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.pages.camera import Photo
from training.pages.canvas import WORDS, Canvas, Rng, colour, paper_look

# How the letters of a hand are drawn: points as digits, x to the right and y down; an x reaches from 3 to 6.
_STROKES = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        [
            "4323040526444346",
            "0006042344452606",
            "442304052645",
            "4323040526444046",
            "0544432304052645",
            "4130212628",
            "43230405264443482908",
            "000604234346",
            "131526",
            "33381908",
            "000605431446",
            "000516",
            "03060413232624334346",
            "030604234346",
            "2304052645442343",
            "0309042344452606",
            "4323040526444349",
            "0306042343",
            "432304353606",
            "202526362303",
            "030516364346",
            "03162643",
            "03061624263643",
            "0346254306",
            "03052643491908",
            "03430646",
        ],
        strict=True,
    )
)


def handwriting(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """Lines by a hand, each letter a little different, joined or not, on plain, ruled or squared paper."""
    width = int(rng.integers(500, 900))
    look = paper_look(rng)._replace(
        ink=((20, 30, 120), (20, 20, 30), (70, 70, 75), (150, 25, 30))[rng.integers(4)]
    )
    page = Canvas((width, int(width * rng.uniform(0.3, 1.5))), rng, look, photos)
    unit = width / rng.uniform(110, 320)  # a point of the letters' grid
    step, margin = unit * rng.uniform(8.5, 12), width * rng.uniform(0.03, 0.12)
    ruled, rule = rng.choice(["plain", "ruled", "squared"], p=[0.45, 0.4, 0.15]), colour(rng, 225, 150)
    for line in np.arange(step, max(page.size), step) if ruled != "plain" else ():
        page.draw.line((0, line, width, line), rule)
        if ruled == "squared":
            page.draw.line((line, 0, line, page.size[1]), rule)
    hand = _Hand(
        rng.uniform(-0.1, 0.5),
        rng.uniform(0.15, 0.45),
        unit,
        bool(rng.random() < 0.6),
        rng.uniform(0.5, 1.1) * unit,
    )
    slope, ends = rng.normal(0, 0.015), rng.uniform(0.6, 1)
    for y in np.arange(step * rng.integers(1, 3), page.size[1] - step * 0.5, step):
        x, end = margin + rng.uniform(0, 2) * unit, (width - margin) * rng.uniform(ends, 1)
        while x < end and rng.random() > 0.02:
            word = str(rng.choice(WORDS))
            x = _written(page, word, (x, y + slope * x), hand) + unit * rng.uniform(2.5, 4.5)
    return page.image


class _Hand(NamedTuple):
    """How somebody writes."""

    slant: float
    unrest: float
    unit: float
    joined: bool
    pen: float


def _written(page: Canvas, word: str, at: tuple[float, float], hand: _Hand) -> float:
    """Draw a word from a point on its line -> where it ends."""
    x, paths, size = at[0], [], hand.unit * page.rng.uniform(0.9, 1.1)
    for letter in word:
        points = np.array(
            [(int(a), int(b)) for a, b in zip(*[iter(_STROKES[letter])] * 2, strict=True)], float
        )
        points += page.rng.normal(0, hand.unrest, points.shape)
        points[:, 0] += hand.slant * (6 - points[:, 1])
        paths.append(points * size * (0.8, 1) + (x, at[1] - 6 * size))
        x += size * 0.8 * (points[:, 0].max() + page.rng.uniform(0.8, 1.6))
    for path in [np.concatenate(paths)] if hand.joined else paths:
        curve = _smooth(path)
        page.draw.line(
            [(float(a), float(b)) for a, b in curve], page.look.ink, max(1, round(hand.pen)), "curve"
        )
    return float(x)


def _smooth(points: npt.NDArray[np.float64], steps: int = 5) -> npt.NDArray[np.float64]:
    """A Catmull-Rom curve through (N, 2) points."""
    before, first, second, after = (
        np.pad(points, ((1, 2), (0, 0)), mode="edge")[start : start + len(points)][:, None]
        for start in range(4)
    )
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 2 * first + (second - before) * t + (2 * before - 5 * first + 4 * second - after) * t**2
    curve = (curve + (3 * first - before - 3 * second + after) * t**3) / 2
    return np.asarray(curve.reshape(-1, 2))
