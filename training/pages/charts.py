"""Charts, maps and diagrams, drawn by a program."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.pages.camera import Photo, relief
from training.pages.canvas import Box, Canvas, Colour, Rng, colour, mixed, screen_look, vivid

Point = tuple[float, float]
Points = list[Point]


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
    """Of the parts of a chart: all kinds, shades of one, the well-known ones of plotting programs, or no colour."""
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
                canvas.panel((left + lane * (right - left), bottom - (start + value) * (bottom - top),
                              left + end * (right - left), bottom - start * (bottom - top)), fill)  # fmt: skip
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


# --- Maps ----------------------------------------------------------------------------------------


def map_(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """Streets of a town, countries in colours, or hills and coasts, with names."""
    width = int(rng.integers(420, 800))
    size = (width, int(width * rng.uniform(0.6, 1.5)))
    kind = rng.choice(["streets", "countries", "hills"], p=[0.5, 0.25, 0.25])
    canvas = Canvas(size, rng, screen_look(rng, 0.12 if kind == "streets" else 0), photos)
    {"streets": _streets, "countries": _countries, "hills": _hills}[str(kind)](canvas)
    for _ in range(rng.integers(2, 30)):
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
    layers = [(heights < rng.uniform(0.05, 0.3), (30, 50, 75) if dark else (int(rng.integers(150, 190)), 210, 240)),
              (heights > rng.uniform(0.72, 0.92), (35, 60, 45) if dark else (200, 228, int(rng.integers(170, 200))))]  # fmt: skip
    for where, fill in layers:
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
    roads += [(_road(canvas, rng.uniform(0, math.pi), rng.normal(0, width / 3), rng.normal(0, gap * 2)), gap * rng.uniform(0.3, 0.5))
              for _ in range(rng.integers(1, 6))]  # fmt: skip
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
    heights = relief(canvas.size, rng, rng.uniform(1, 4), 6)
    stops = [0, 0.25, 0.5, 0.8, 1]
    ramp = [[(120, 170, 110), (170, 195, 130), (225, 215, 160), (190, 150, 110), (245, 245, 245)],
            [(235, 240, 225), (215, 230, 200), (235, 225, 195), (225, 205, 175), (240, 235, 230)]][rng.integers(2)]  # fmt: skip
    pixels = np.stack(
        [np.interp(heights, stops, [stop[channel] for stop in ramp]) for channel in range(3)], axis=-1
    )
    if rng.random() < 0.7:
        slope = np.asarray(np.gradient(heights)).sum(0)
        pixels *= (1 + slope * rng.uniform(10, 50))[..., None].clip(0.55, 1.3)
    if rng.random() < 0.6:
        levels = (heights * rng.integers(10, 30)).astype(int)
        lines = (np.diff(levels, axis=0, prepend=levels[:1]) != 0) | (
            np.diff(levels, axis=1, prepend=levels[:, :1]) != 0
        )
        pixels[lines] = pixels[lines] * 0.75
    if rng.random() < 0.6:
        pixels[heights < rng.uniform(0.2, 0.45)] = (160, 200, 230)
    canvas.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    for _ in range(rng.integers(0, 6)):
        points = _road(
            canvas, rng.uniform(0, math.pi), rng.normal(0, canvas.size[0] / 3), canvas.size[0] / 12
        )
        canvas.draw.line(
            points,
            ((200, 60, 50), (70, 120, 190), (240, 180, 60))[rng.integers(3)],
            int(rng.integers(1, 4)),
            "curve",
        )


# --- Diagrams ------------------------------------------------------------------------------------


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
    for number, (one, other) in enumerate(zip(layers, layers[1:], strict=False)):
        pairs = [(a, b) for a in one for b in other]
        if not layered and number > 1 and rng.random() < 0.7:
            pairs.append((one[0], layers[rng.integers(number)][0]))
        for start, end in pairs:
            canvas.draw.line((start, end), canvas.look.ink, line)
    radius = min(width, height) / (2.6 * max(*counts, 3)) * rng.uniform(0.4, 0.9)
    for x, y in (place for layer in layers for place in layer):
        _form(canvas, (x - radius, y - radius, x + radius, y + radius), "oval", fills[rng.integers(4)], line)


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
    for (_, start), (end, _) in zip(ends, ends[1:], strict=False):
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
