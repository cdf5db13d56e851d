"""Charts, drawn by a program."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.pages.camera import Photo
from training.pages.canvas import Box, Canvas, Colour, Rng, mixed, screen_look, vivid


def chart(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """Bars, lines, areas, dots or a pie, with a title, axes, a grid and a legend, or without."""
    width = int(rng.integers(360, 900))
    canvas = Canvas((width, int(width * rng.uniform(0.5, 1.1))), rng, screen_look(rng, 0.2), photos)
    height, size = canvas.size[1], width / rng.uniform(28, 50)
    box = (width * rng.uniform(0.06, 0.14), height * rng.uniform(0.06, 0.16),
           width * rng.uniform(0.75, 0.97), height * rng.uniform(0.8, 0.92))  # fmt: skip
    names = [canvas.words(1) for _ in range(rng.integers(1, 6))]
    if rng.random() < 0.7:
        canvas.write(
            (width / 2, size * 0.5), canvas.words(rng.integers(2, 6)), size * 1.4, anchor="ma", bold=True
        )
    shape = rng.choice(["bars", "sideways", "stacked", "lines", "area", "dots", "pie"],
                       p=[0.2, 0.1, 0.1, 0.22, 0.1, 0.13, 0.15])  # fmt: skip
    colours = _colours(canvas)
    if shape == "pie":
        _pie(canvas, box, colours, size)
    else:
        _axes(canvas, box, size)
        if shape in {"bars", "sideways", "stacked"}:
            _bars(canvas, box, colours, str(shape), len(names))
        else:
            _curves(canvas, box, colours, str(shape), len(names))
    if rng.random() < 0.5:
        left, top = rng.uniform(box[0], box[2] - width * 0.15), box[1] + size * rng.uniform(0, 2)
        for number, name in enumerate(names):
            y = top + number * size * 1.5
            canvas.panel((left, y, left + size, y + size), colours[number])
            canvas.write((left + size * 1.5, y), name, size)
    return canvas.image


def _colours(canvas: Canvas) -> list[Colour]:
    """Of a chart's parts: all kinds, shades of one, those of plotting programs, or no colour."""
    rng, one = canvas.rng, canvas.accent()
    way = rng.random()
    if way < 0.25:
        known = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75)]
        return (known if rng.random() < 0.5 else [(0, 0, 255), (220, 0, 0), (0, 128, 0), *known]) * 2
    if way < 0.4:
        return [mixed(one, canvas.look.paper, 1 - 0.07 * number) for number in range(12)]
    if way < 0.5:
        return [mixed(canvas.look.ink, canvas.look.paper, 1 - 0.07 * number) for number in range(12)]
    return [vivid(rng) for _ in range(12)]


def _axes(canvas: Canvas, box: Box, size: float) -> None:
    """Lines at the left and below, with figures, perhaps a grid and a frame."""
    rng, (left, top, right, bottom) = canvas.rng, box
    across, down, grid = int(rng.integers(3, 13)), int(rng.integers(3, 9)), rng.choice(["", "y", "xy"])
    step, first = float(rng.choice([0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 1000])), int(rng.integers(0, 2000))
    wordy = rng.random() < 0.4
    for number in range(down + 1):
        y = bottom - (bottom - top) * number / down
        if grid:
            canvas.draw.line((left, y, right, y), canvas.look.pale)
        canvas.write((left - 4, y), f"{number * step:g}", size * 0.9, anchor="rm")
    for number in range(across + 1):
        x = left + (right - left) * number / across
        if grid == "xy":
            canvas.draw.line((x, top, x, bottom), canvas.look.pale)
        label = canvas.words(1)[:5] if wordy else str(first + number)
        canvas.write((x, bottom + 4), label, size * 0.8, anchor="ma")
    wide = int(rng.integers(1, 3))
    canvas.draw.line((left, bottom, right, bottom), canvas.look.ink, wide)
    if rng.random() < 0.6:
        canvas.draw.line((left, top, left, bottom), canvas.look.ink, wide)
    if rng.random() < 0.3:
        canvas.draw.rectangle((left, top, right, bottom), outline=canvas.look.ink)


def _bars(canvas: Canvas, box: Box, colours: list[Colour], shape: str, series: int) -> None:
    rng, (left, top, right, bottom) = canvas.rng, box
    count, thick = int(rng.integers(3, 16 if series < 3 else 7)), rng.uniform(0.5, 1)
    level = np.sort(rng.random(count)) if rng.random() < 0.3 else rng.random(count)
    if rng.random() < 0.25:  # how often each value occurs
        count, thick, series, shape = int(rng.integers(12, 90)), 1, 1, "bars"
        level = np.exp(-((np.linspace(-3, 3, count) - rng.normal(0, 1)) ** 2) / rng.uniform(0.3, 3))
    many = series > 1 or (count < 16 and rng.random() < 0.2)
    for place in range(count):
        values = (level[place] * rng.uniform(0.5, 1, series) * 0.95 + 0.02).clip(0, 1)
        if shape == "stacked":
            values = values / series
        start = 0.0
        for number, value in enumerate(values):
            fill = colours[place % 12] if many and series == 1 else colours[number]
            lane = (place + (1 - thick) / 2 + (0 if shape == "stacked" else thick * number / series)) / count
            end = lane + thick / count / (1 if shape == "stacked" else series)
            if shape == "sideways":
                canvas.panel(
                    (
                        left,
                        top + lane * (bottom - top),
                        left + value * (right - left),
                        top + end * (bottom - top),
                    ),
                    fill,
                )
            else:
                roof, foot = bottom - (start + value) * (bottom - top), bottom - start * (bottom - top)
                canvas.panel((left + lane * (right - left), roof, left + end * (right - left), foot), fill)
            start += value if shape == "stacked" else 0


def _curves(canvas: Canvas, box: Box, colours: list[Colour], shape: str, series: int) -> None:
    rng, (left, top, right, bottom) = canvas.rng, box
    count, wide, marked = int(rng.integers(4, 120)), int(rng.integers(1, 6)), rng.random() < 0.3
    for number in range(series):
        values = np.cumsum(rng.normal(rng.normal(0, 0.3), 1, count))
        if rng.random() < 0.3:
            values = np.sin(np.linspace(0, rng.uniform(3, 20), count)) + rng.normal(0, 0.1, count)
        low, high = np.sort(rng.random(2))
        values = (values - values.min()) / (np.ptp(values) + 1e-9) * (high - low) + low
        places = np.linspace(0, 1, count)
        if shape == "dots":
            places, values = (
                rng.normal(rng.uniform(0.2, 0.8), 0.15, count),
                rng.normal(rng.uniform(0.2, 0.8), 0.15, count),
            )
            values = (values + rng.normal(0, 1) * (places - 0.5)).clip(0, 1)
            places = places.clip(0, 1)
        points = [
            (left + x * (right - left), bottom - y * (bottom - top))
            for x, y in zip(places, values, strict=True)
        ]
        if shape == "area":
            canvas.draw.polygon([(left, bottom), *points, (right, bottom)], colours[number])
        elif shape == "lines":
            canvas.draw.line(points, colours[number], wide)
        if shape == "dots" or (marked and shape == "lines" and count < 40):
            radius = wide * 1.2 + 1
            for x, y in points:
                canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), colours[number])


def _pie(canvas: Canvas, box: Box, colours: list[Colour], size: float) -> None:
    rng = canvas.rng
    radius = min(box[2] - box[0], box[3] - box[1]) / 2
    x, y, start = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, rng.uniform(0, 360)
    shares, labelled = rng.dirichlet(np.full(rng.integers(2, 9), 2.5)), rng.random() < 0.6
    for number, share in enumerate(shares):
        end = start + share * 360
        canvas.draw.pieslice(
            (x - radius, y - radius, x + radius, y + radius),
            start,
            end,
            colours[number],
            canvas.look.paper,
            2,
        )
        if labelled:
            middle = math.radians((start + end) / 2)
            at = (x + 0.7 * radius * math.cos(middle), y + 0.7 * radius * math.sin(middle))
            canvas.write(at, f"{share:.0%}", size, anchor="mm")
        start = end
    if rng.random() < 0.35:
        hole = radius * rng.uniform(0.4, 0.75)
        canvas.draw.ellipse((x - hole, y - hole, x + hole, y + hole), canvas.look.paper)
