"""Maps, drawn by a program."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.pages.camera import Photo, relief
from training.pages.canvas import Canvas, Points, Rng, colour, screen_look, vivid


def map_(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """Streets of a town, countries in colours, or hills and coasts, with names."""
    width = int(rng.integers(420, 800))
    size = (width, int(width * rng.uniform(0.6, 1.5)))
    kind = rng.choice(["streets", "countries", "hills"], p=[0.55, 0.3, 0.15])
    canvas = Canvas(size, rng, screen_look(rng, 0.12 if kind == "streets" else 0), photos)
    {"streets": _streets, "countries": _countries, "hills": _hills}[str(kind)](canvas)
    for _ in range(rng.integers(5, 40)):
        at = (rng.uniform(0, size[0]), rng.uniform(0, size[1]))
        canvas.write(
            at, canvas.words(1), width / rng.uniform(28, 60), anchor="mm", bold=bool(rng.random() < 0.3)
        )
    for _ in range(rng.integers(0, 5)):  # pins
        x, y, tall = rng.uniform(0, size[0]), rng.uniform(0, size[1]), width / 30
        fill = (215, 50, 45) if rng.random() < 0.6 else canvas.accent()
        canvas.draw.polygon([(x, y), (x - tall / 3, y - tall), (x + tall / 3, y - tall)], fill)
        canvas.draw.ellipse((x - tall / 2.3, y - tall * 1.5, x + tall / 2.3, y - tall * 0.6), fill)
    return canvas.image


def _streets(canvas: Canvas) -> None:
    """Blocks, parks, water and roads of several widths, each with a rim."""
    rng, (width, height) = canvas.rng, canvas.size
    dark = sum(canvas.look.paper) < 300
    land = canvas.look.paper if dark else colour(rng, 248, 226)
    canvas.panel((0, 0, width, height), land)
    heights = relief(canvas.size, rng, rng.uniform(1, 3))
    water = (30, 50, 75) if dark else (int(rng.integers(150, 190)), 210, 240)
    park = (35, 60, 45) if dark else (200, 228, int(rng.integers(170, 200)))
    low, high = heights < rng.uniform(0.05, 0.3), heights > rng.uniform(0.72, 0.92)
    for where, fill in ((low, water), (high, park)):
        canvas.image.paste(fill, mask=Image.fromarray(where))
    angle, gap = rng.uniform(0, math.pi), width / rng.uniform(8, 28)
    roads: list[tuple[Points, float]] = []
    for turn in (angle, angle + math.pi / 2):
        for offset in np.arange(-1.5 * width, 1.5 * width, gap):
            if rng.random() < 0.8:
                bend = rng.normal(0, gap * rng.choice([0.1, 0.6]))
                roads.append(
                    (_road(canvas, turn, offset + rng.normal(0, gap / 5), bend), gap * rng.uniform(0.08, 0.2))
                )
    for _ in range(rng.integers(1, 6)):
        points = _road(canvas, rng.uniform(0, math.pi), rng.normal(0, width / 3), rng.normal(0, gap * 2))
        roads.append((points, gap * rng.uniform(0.3, 0.5)))
    rim, plain = ((60, 62, 70), (90, 92, 100)) if dark else (colour(rng, 215, 180), (255, 255, 255))
    main = ((250, 215, 120), (255, 255, 255), (245, 165, 100), (250, 240, 160))[rng.integers(4)]
    for wider in (True, False):
        for points, wide in roads:
            fill = rim if wider else main if wide > gap * 0.25 else plain
            canvas.draw.line(points, fill, max(1, round(wide)) + 2 * wider, "curve")


def _road(canvas: Canvas, angle: float, offset: float, bend: float) -> Points:
    width, height = canvas.size
    along = np.linspace(-1.5, 1.5, 25) * max(width, height)
    aside = offset + bend * np.sin(along / width * canvas.rng.uniform(1, 5) + canvas.rng.uniform(0, 6))
    x = width / 2 + along * math.cos(angle) - aside * math.sin(angle)
    y = height / 2 + along * math.sin(angle) + aside * math.cos(angle)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _countries(canvas: Canvas) -> None:
    """Areas around some points, in pale colours, with borders and a coast."""
    rng, (width, height) = canvas.rng, canvas.size
    bends = [relief(canvas.size, rng, 4, 5) * width * rng.uniform(0.1, 0.3) for _ in range(2)]
    count = int(rng.integers(6, 50))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = rng.random((count, 2)) * (width, height)
    far = np.stack([(x + bends[0] - a) ** 2 + (y + bends[1] - b) ** 2 for a, b in places])
    area = far.argmin(0)
    tints = np.array(
        [colour(rng, 250, 150) if rng.random() < 0.8 else vivid(rng) for _ in range(count)], np.uint8
    )
    if rng.random() < 0.4:  # a figure for each country
        tints = (np.array([235, 240, 245]) - rng.random((count, 1)) * (235 - np.array(vivid(rng)))).astype(
            np.uint8
        )
    pixels = tints[area]
    border = (np.diff(area, axis=0, prepend=area[:1]) != 0) | (
        np.diff(area, axis=1, prepend=area[:, :1]) != 0
    )
    pixels[border] = colour(rng, 160)
    sea = relief(canvas.size, rng, rng.uniform(1, 3), 6) < rng.uniform(0.25, 0.5)
    pixels[sea] = (170, 205, 230) if rng.random() < 0.7 else colour(rng, 255, 200)
    canvas.image.paste(Image.fromarray(pixels))


def _hills(canvas: Canvas) -> None:
    """Heights in colours, with light from the north-west or contour lines, and a sea."""
    rng = canvas.rng
    heights = relief(canvas.size, rng, rng.uniform(1, 3), 5)
    stops = [0, 0.25, 0.5, 0.8, 1]
    strong = [(120, 170, 110), (170, 195, 130), (225, 215, 160), (190, 150, 110), (245, 245, 245)]
    pale = [(235, 240, 225), (215, 230, 200), (235, 225, 195), (225, 205, 175), (240, 235, 230)]
    ramp = strong if rng.random() < 0.5 else pale
    pixels = np.stack(
        [np.interp(heights, stops, [stop[channel] for stop in ramp]) for channel in range(3)], axis=-1
    )
    if rng.random() < 0.7:
        slope = np.asarray(np.gradient(heights)).sum(0)
        pixels *= (1 + slope * rng.uniform(8, 22))[..., None].clip(0.55, 1.3)
    if rng.random() < 0.6:
        levels = (heights * rng.integers(10, 30)).astype(int)
        lines = (np.diff(levels, axis=0, prepend=levels[:1]) != 0) | (
            np.diff(levels, axis=1, prepend=levels[:, :1]) != 0
        )
        pixels[lines] = pixels[lines] * 0.75
    if rng.random() < 0.8:
        pixels[heights < rng.uniform(0.2, 0.45)] = (160, 200, 230)
    canvas.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    for _ in range(rng.integers(1, 7)):
        points = _road(
            canvas, rng.uniform(0, math.pi), rng.normal(0, canvas.size[0] / 3), canvas.size[0] / 12
        )
        canvas.draw.line(
            points,
            ((200, 60, 50), (70, 120, 190), (240, 180, 60))[rng.integers(3)],
            int(rng.integers(1, 4)),
            "curve",
        )
