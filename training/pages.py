"""Pages, screens and charts, drawn by a program: what people sort and ImageNet has no class for.

A further class of nano's classifier needs some 50 images. Of these kinds a program draws as many as are wanted,
each of them different, so that nobody's documents are needed. Paper is also shown as a camera sees it
(`camera.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.camera import Photo, photographed, saved, scanned
from training.canvas import WORDS, Box, Canvas, Rng, colour, paper_look, screen_look, vivid
from training.charts import chart, diagram, map_
from training.screens import screenshot

# How the letters of a hand are drawn: points as digits, x to the right and y down; 3 is the height of an x, 6 the line.
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


# --- Paper ---------------------------------------------------------------------------------------


def _document(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A page of a report, a letter or a book, or some lines of it."""
    width = int(rng.integers(600, 900))
    page = Canvas((width, int(width * rng.uniform(1.2, 1.5))), rng, paper_look(rng), photos)
    height, margin, size = page.size[1], width * rng.uniform(0.05, 0.15), width / rng.uniform(38, 75)
    justified, columns, y = bool(rng.random() < 0.6), int(rng.random() < 0.35) + 1, margin
    if rng.random() < 0.6:
        middle = rng.random() < 0.5
        at, anchor = ((width / 2, y), "ma") if middle else ((margin, y), "la")
        page.write(at, page.words(rng.integers(2, 5)), size * rng.uniform(1.4, 2.4), bold=True, anchor=anchor)
        y += size * 4
    if rng.random() < 0.25:  # a letter's address
        for _ in range(4):
            page.write((margin, y), page.words(3), size)
            y += size * 1.4
        y += 2 * size
    column = (width - 2 * margin + 2 * size) / columns
    for number in range(columns):
        left, top = margin + number * column, y
        bottom = height - margin if rng.random() < 0.75 else height * rng.uniform(0.5, 0.9)
        while top < bottom - 3 * size:
            part = rng.uniform(0.15, 0.9) * height
            end = min(bottom, top + part)
            if rng.random() < 0.12:
                page.picture((left, top, left + column - 2 * size, min(end, top + column * 0.6)))
                end = min(end, top + column * 0.6)
            else:
                page.lines((left, top, left + column - 2 * size, end), size, justified=justified)
            top = end + size
            if rng.random() < 0.6 and top < bottom - 4 * size:
                page.write((left, top), page.words(rng.integers(1, 4)), size * rng.uniform(1, 1.4), bold=True)
                top += size * 2
    page.write((width / 2, height - margin / 2), str(rng.integers(1, 400)), size, anchor="mm")
    if rng.random() < 0.35:  # some lines of it, from near
        across, down = rng.uniform(0.35, 0.8), rng.uniform(0.12, 0.4)
        left, top = rng.uniform(0, 1 - across) * width, rng.uniform(0.05, 0.9 - down) * height
        return page.image.crop((int(left), int(top), int(left + across * width), int(top + down * height)))
    return page.image


def _receipt(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """What a till prints: a shop, items with prices, a total, perhaps a bar code."""
    width, size = int(rng.integers(260, 420)), float(rng.integers(13, 20))
    items = int(rng.integers(3, 22))
    look = paper_look(rng)._replace(ink=colour(rng, 110, 20))
    page = Canvas((width, int((items + rng.integers(14, 26)) * size * 1.45)), rng, look, photos)
    margin, y = width * rng.uniform(0.04, 0.12), size * 1.5

    def pair(name: str, price: str, scale: float = 1, bold: bool = False) -> None:
        nonlocal y
        page.write((margin, y), name, size * scale, bold=bold)
        page.write((width - margin, y), price, size * scale, bold=bold, anchor="ra")
        y += size * 1.4 * scale

    page.write((width / 2, y), page.words(rng.integers(1, 3)).upper(), size * 1.8, bold=True, anchor="ma")
    y += size * 2.8
    for _ in range(rng.integers(1, 5)):
        page.write((width / 2, y), page.words(rng.integers(2, 4)), size, anchor="ma")
        y += size * 1.4
    prices = rng.integers(50, 4000, items) / 100
    for price in prices:
        pair(f"{rng.integers(1, 4)} {page.words(rng.integers(1, 3))}"[:20], f"{price:.2f}")
        if rng.random() < 0.15:
            page.write((margin * 2, y), f"{rng.integers(100000, 9999999)}", size * 0.9)
            y += size * 1.3
    page.write((margin, y), "-" * 60 if rng.random() < 0.5 else "=" * 40, size)
    y += size * 1.4
    pair("TOTAL", f"{prices.sum():.2f}", rng.uniform(1.1, 1.6), bold=True)
    for name in ("Cash", "Change", "Tax", "Card")[: rng.integers(1, 5)]:
        pair(name, f"{rng.uniform(0, 90):.2f}")
    pair(
        f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}.20{rng.integers(10, 30)}",
        f"{rng.integers(8, 22)}:{rng.integers(10, 60)}",
    )
    if rng.random() < 0.5:
        _bars(page, (margin * 2, y + size, width - margin * 2, y + size * 4.5))
        y += size * 5
    page.write((width / 2, y + size), "Thank you", size, anchor="ma")
    return page.image.crop((0, 0, width, min(page.size[1], int(y + size * rng.uniform(3, 6)))))


def _bars(page: Canvas, box: Box) -> None:
    x = box[0]
    while x < box[2] - 4:
        wide = float(page.rng.integers(1, 4))
        page.draw.rectangle((x, box[1], x + wide, box[3]), page.look.ink)
        x += wide + page.rng.integers(2, 5)


def _code(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A QR code: modules by chance, with the patterns by which it is found; perhaps on a label."""
    version = int(rng.choice([1, 2, 2, 3, 3, 4, 5, 6, 8, 10]))
    count = 17 + 4 * version
    modules = rng.random((count, count)) < 0.5
    modules[6], modules[:, 6] = np.arange(count) % 2 == 0, np.arange(count) % 2 == 0
    square = np.pad(np.pad(np.ones((3, 3), bool), 1), 1, constant_values=True)  # (7, 7)
    if version > 1:
        modules[-9:-4, -9:-4] = np.pad(np.pad(np.ones((1, 1), bool), 1), 1, constant_values=True)
    for rows, columns in ((0, 0), (0, 1), (1, 0)):
        corner = np.pad(square, ((rows, 1 - rows), (columns, 1 - columns)))
        modules[slice(-8, None) if rows else slice(8), slice(-8, None) if columns else slice(8)] = corner
    look = paper_look(rng)
    if rng.random() < 0.3:
        look = look._replace(ink=tuple(value // 2 for value in vivid(rng)), paper=colour(rng, 255, 215))
    quiet = int(rng.integers(1, 5))
    light, dark = np.array(look.paper, np.uint8), np.array(look.ink, np.uint8)
    code = Image.fromarray(np.where(np.pad(modules, quiet)[..., None], dark, light))
    side = int(rng.integers(260, 520))
    code = code.resize((side, side), Image.Resampling.NEAREST)
    if rng.random() < 0.15:
        middle = side * rng.uniform(0.36, 0.42)
        ImageDraw.Draw(code).ellipse((middle, middle, side - middle, side - middle), vivid(rng))
    if rng.random() < 0.45:
        return code
    right, below = (
        (int(side * rng.uniform(0, 0.9)) if rng.random() < 0.4 else 60),
        int(side * rng.uniform(0.1, 0.5)),
    )
    page = Canvas((side + right, side + below), rng, look, photos)
    page.image.paste(code, (right // 2 if right == 60 else 0, below // 3))
    size = side / rng.uniform(14, 24)
    page.write((page.size[0] / 2, 4), page.words(2), size * 1.3, bold=True, anchor="ma")
    page.lines((20, side + below / 3 + 4, page.size[0] - 20, page.size[1]), size)
    if right > 60:
        page.lines((side + 4, below, page.size[0] - 10, side), size)
    return page.image


def _spreadsheet(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A table of words and numbers, with a header, rules or stripes; perhaps in a program's window."""
    look = screen_look(rng, 0.12) if rng.random() < 0.6 else paper_look(rng)
    rows, columns = int(rng.integers(5, 32)), int(rng.integers(3, 11))
    high, program = int(rng.integers(20, 36)), rng.random() < 0.35
    widths = rng.integers(60, 150, columns)
    left, top = (40, int(rng.integers(60, 130))) if program else rng.integers(0, 40, 2)
    page = Canvas((int(left * 2 + widths.sum()), int(top * 1.3 + high * (rows + 1)) + 10), rng, look, photos)
    size, ruled, striped = (
        high * rng.uniform(0.45, 0.6),
        rng.choice(["all", "rows", "none"]),
        rng.random() < 0.4,
    )
    wide, textual = page.size[0], rng.random(columns) < 0.35
    textual[0] = rng.random() < 0.8
    if program:
        page.panel((0, 0, wide, top - 26), page.accent() if rng.random() < 0.5 else look.pale)
        for number in range(12):
            page.panel((12 + number * 34, 20, 34 + number * 34, 40), colour(rng, 255, 120), 3)
        page.panel((0, top - 24, wide, top - 2), look.paper, rim=True)
    elif top > 24:
        page.write((left, 2), page.words(3), size * 1.2, bold=True)
    head = page.accent() if rng.random() < 0.5 else look.pale
    for row in range(rows + 1):
        y, x = top + row * high, float(left)
        if row == 0 or (striped and row % 2):
            fill = (
                head
                if row == 0
                else tuple((3 * a + b) // 4 for a, b in zip(look.paper, look.pale, strict=True))
            )
            page.panel((left, y, left + widths.sum(), y + high), fill)
        for column, width in enumerate(widths):
            if ruled == "all":
                page.panel((x, y, x + width, y + high), rim=True)
            text = page.words(1) if row == 0 or textual[column] else f"{rng.lognormal(3, 2):,.{column % 3}f}"
            at, anchor = (
                ((x + 5, y + high / 2), "lm") if textual[column] else ((x + width - 5, y + high / 2), "rm")
            )
            if rng.random() < 0.93:
                page.write(at, text[: int(width / size * 1.7)], size, bold=row == 0, anchor=anchor)
            x += width
        if ruled != "none":
            page.draw.line((left, y, left + widths.sum(), y), look.pale)
    if program:
        for row in range(rows + 1):
            page.write((left / 2, top + row * high + high / 2), str(row + 1), size * 0.9, anchor="mm")
    return page.image


def _handwriting(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
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


# --- The kinds -----------------------------------------------------------------------------------

_Drawer = Callable[[Rng, Sequence[Photo]], Image.Image]


class _Kind(NamedTuple):
    draw: _Drawer
    camera: float  # the share of images that a camera takes
    scanner: float = 0  # and a scanner


_KINDS = {
    "screenshot": _Kind(screenshot, 0),
    "document": _Kind(_document, 0.45, 0.25),
    "receipt": _Kind(_receipt, 0.6, 0.2),
    "chart": _Kind(chart, 0.1, 0.1),
    "map": _Kind(map_, 0.2, 0.1),
    "QR code": _Kind(_code, 0.45, 0.1),
    "spreadsheet": _Kind(_spreadsheet, 0.25, 0.15),
    "handwriting": _Kind(_handwriting, 0.5, 0.25),
    "diagram": _Kind(diagram, 0.1, 0.15),
}
KINDS = tuple(_KINDS)


def drawn(kind: str, count: int, seed: int, photos: Sequence[Photo] = ()) -> Iterator[npt.NDArray[np.uint8]]:
    """Images of a kind -> each (H, W, 3), of many sizes and proportions.

    Args:
        kind: one of `KINDS`.
        count: how many.
        seed: the same images come from the same seed and photographs; the first ones do not depend on `count`.
        photos: (H, W, 3) photographs: what paper lies on, and pictures on screens. Patterns take their place
            where there are none.
    """
    how = _KINDS[kind]
    for number in range(count):
        rng = np.random.default_rng([zlib.crc32(kind.encode()), seed, number])
        image, way = how.draw(rng, photos), rng.random()
        if way < how.camera:
            image = photographed(image, rng, photos)
        elif way < how.camera + how.scanner:
            image = scanned(image, rng)
        yield np.asarray(saved(image, rng))
