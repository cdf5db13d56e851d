"""Diagrams, drawn by a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from training.pages.camera import Photo
from training.pages.canvas import Box, Canvas, Colour, Point, Points, Rng, mixed, screen_look


def diagram(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """Boxes and arrows, the layers of a net, or blocks on each other, with words in them."""
    width = int(rng.integers(420, 900))
    canvas = Canvas((width, int(width * rng.uniform(0.4, 1.2))), rng, screen_look(rng, 0.12), photos)
    (_flow, _net, _blocks, _cells)[rng.choice(4, p=[0.5, 0.2, 0.18, 0.12])](canvas)
    for _ in range(rng.integers(0, 4)):
        canvas.write(
            (rng.uniform(0, width), canvas.size[1] - width / 50), canvas.words(2), width / 60, anchor="mm"
        )
    return canvas.image


def _fills(canvas: Canvas) -> list[Colour]:
    paper = canvas.look.paper
    pale = mixed(canvas.accent(), paper, canvas.rng.uniform(0.15, 0.6))
    return [paper if canvas.rng.random() < 0.4 else pale] * 3 + [canvas.accent()]


def _flow(canvas: Canvas) -> None:
    """A flow, a tree or a star of boxes."""
    rng, places = canvas.rng, _places(canvas)
    (wide, high), shape = _cell(canvas, places), rng.choice(["box", "round", "oval", "mixed"])
    fills, straight, line = _fills(canvas), bool(rng.random() < 0.5), int(rng.integers(1, 4))
    for number, (x, y) in enumerate(places[1:], start=1):
        near = sorted(range(number), key=lambda other: math.dist(places[other], (x, y)))
        for other in near[: 1 + (rng.random() < 0.25)]:
            _arrow(canvas, (places[other], (x, y)), high / 2, straight, line)
    for x, y in places:
        form = str(rng.choice(["box", "round", "oval", "diamond"])) if shape == "mixed" else str(shape)
        _form(
            canvas,
            (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2),
            form,
            fills[rng.integers(4)],
            line,
        )


def _form(canvas: Canvas, box: Box, form: str, fill: Colour, line: int) -> None:
    """A box, an oval or a diamond with a word or two in it."""
    (left, top, right, bottom), ink = box, canvas.look.ink
    x, y, wide, high = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    if form == "oval":
        canvas.draw.ellipse(box, fill, ink, line)
    elif form == "diamond":
        canvas.draw.polygon([(x, top), (right, y), (x, bottom), (left, y)], fill, ink, line)
    else:
        canvas.draw.rounded_rectangle(box, high / 4 if form == "round" else 0, fill, ink, line)
    letters = (20, 20, 20) if sum(fill) > 360 else (245, 245, 245)
    size = min(high / 3, wide / 7)
    if size >= 5:
        canvas.write((x, y), canvas.words(1 + (wide > 90)), size, anchor="mm", fill=letters)


def _net(canvas: Canvas) -> None:
    """Circles in layers or anywhere, joined by lines."""
    rng, (width, height) = canvas.rng, canvas.size
    layered, fills, line = rng.random() < 0.6, _fills(canvas), int(rng.integers(1, 4))
    counts = rng.integers(1, 8, rng.integers(2, 6))
    layers = [[(width * (column + 0.5) / len(counts), height * (row + 0.5) / count) for row in range(count)]
              for column, count in enumerate(counts)]  # fmt: skip
    if not layered:
        layers = [
            [(rng.uniform(0.08, 0.92) * width, rng.uniform(0.08, 0.92) * height)]
            for _ in range(rng.integers(4, 16))
        ]
    for number, (one, other) in enumerate(pairwise(layers)):
        pairs = [(a, b) for a in one for b in other]
        if not layered and number > 1 and rng.random() < 0.7:
            pairs.append((one[0], layers[rng.integers(number)][0]))
        for start, end in pairs:
            canvas.draw.line((start, end), canvas.look.ink, line)
    radius = min(width, height) / (2.6 * max(*counts, 3)) * rng.uniform(0.4, 0.9)
    for x, y in (place for layer in layers for place in layer):
        _form(canvas, (x - radius, y - radius, x + radius, y + radius), "oval", fills[rng.integers(3)], line)


def _blocks(canvas: Canvas) -> None:
    """Blocks beside and above each other that fill the image, each row in as many."""
    rng, (width, height) = canvas.rng, canvas.size
    rows, gap, line = int(rng.integers(2, 6)), width * rng.uniform(0.01, 0.05), int(rng.integers(0, 3))
    form = "round" if rng.random() < 0.5 else "box"
    for row in range(rows):
        count, fill = int(rng.integers(1, 5)), mixed(canvas.accent(), canvas.look.paper, rng.uniform(0.2, 1))
        high, wide = (height - gap) / rows, (width - gap) / count
        for column in range(count):
            box = (gap + column * wide, gap + row * high, (column + 1) * wide, (row + 1) * high)
            _form(canvas, box, form, fill, line)
            if row and rng.random() < 0.3:
                middle = (box[0] + box[2]) / 2
                _arrow(canvas, ((middle, box[1] - gap * 2), (middle, box[1] + gap)), 0, True, 2)


def _cells(canvas: Canvas) -> None:
    """Tables of a few cells or classes with their members, and arrows from one to another."""
    rng, (width, height) = canvas.rng, canvas.size
    count, ends = int(rng.integers(2, 6)), []
    head, line = mixed(canvas.accent(), canvas.look.paper, rng.uniform(0, 0.6)), int(rng.integers(1, 3))
    for number in range(count):
        wide, rows, size = (
            width / count * rng.uniform(0.5, 0.75),
            int(rng.integers(2, 7)),
            width / rng.uniform(35, 60),
        )
        left, top = width * (number + 0.1) / count, rng.uniform(0.05, 0.5) * height
        for row in range(rows):
            box = (left, top + row * size * 2, left + wide, top + (row + 1) * size * 2)
            canvas.draw.rectangle(box, head if row == 0 else canvas.look.paper, canvas.look.ink, line)
            canvas.write((left + size / 2, box[1] + size / 2), canvas.words(1), size, bold=row == 0)
        ends.append(((left, top + size), (left + wide, top + rows * size)))
    for (_, start), (end, _) in pairwise(ends):
        _arrow(canvas, (start, end), 0, bool(rng.random() < 0.5), line)


def _places(canvas: Canvas) -> Points:
    """Where the boxes stand: in rows, around a middle, or as chance has it."""
    rng, (width, height) = canvas.rng, canvas.size
    shape = rng.choice(["rows", "tree", "star"], p=[0.45, 0.35, 0.2])
    if shape == "star":
        count = int(rng.integers(4, 10))
        turns = np.arange(count) / count * 2 * math.pi + rng.uniform(0, 6)
        return [
            (width / 2, height / 2),
            *((width * (0.5 + 0.38 * math.cos(t)), height * (0.5 + 0.38 * math.sin(t))) for t in turns),
        ]
    rows = int(rng.integers(2, 6))
    counts = (
        [2**row if row < 3 else 4 for row in range(rows)]
        if shape == "tree"
        else [int(rng.integers(1, 5))] * rows
    )
    return [(width * (column + 0.5) / count, height * (row + 0.5) / rows)
            for row, count in enumerate(counts) for column in range(count)
            if shape == "tree" or rng.random() < 0.85] or [(width / 2, height / 2)]  # fmt: skip


def _cell(canvas: Canvas, places: Points) -> tuple[float, float]:
    """A width and a height for boxes that do not touch."""
    across = min((abs(a[0] - b[0]) for a in places for b in places if abs(a[0] - b[0]) > 30), default=160)
    down = min((abs(a[1] - b[1]) for a in places for b in places if abs(a[1] - b[1]) > 30), default=90)
    return min(across, 190) * canvas.rng.uniform(0.55, 0.8), min(down, 110) * canvas.rng.uniform(0.4, 0.65)


def _arrow(canvas: Canvas, ends: tuple[Point, Point], gap: float, straight: bool, wide: int) -> None:
    start, end = ends
    half = (start[1] + end[1]) / 2
    points = [start, end] if straight else [start, (start[0], half), (end[0], half), end]
    canvas.draw.line(points, canvas.look.ink, wide)
    (x0, y0), (x1, y1) = points[-2:]
    far = math.dist((x0, y0), (x1, y1)) or 1.0
    dx, dy = (x1 - x0) / far, (y1 - y0) / far
    x, y, tip = x1 - dx * gap, y1 - dy * gap, 5 + 2 * wide
    across = (tip / 2 * dy, tip / 2 * dx)
    back = (x - tip * dx, y - tip * dy)
    corners = [(x, y), (back[0] - across[0], back[1] + across[1]), (back[0] + across[0], back[1] - across[1])]
    canvas.draw.polygon(corners, canvas.look.ink)
