"""Printed paper, drawn by a program: documents, receipts, QR codes, tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.pages.camera import Photo
from training.pages.canvas import Box, Canvas, Rng, colour, mixed, paper_look, vivid


def document(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A page of a report, a letter or a book, or some lines of it."""
    width, near = int(rng.integers(600, 900)), rng.random() < 0.5
    page = Canvas((width, int(width * rng.uniform(1.2, 1.5))), rng, paper_look(rng), photos)
    height, margin, size = page.size[1], width * rng.uniform(0.05, 0.15), width / rng.uniform(38, 75)
    columns, y = int(rng.random() < 0.35) + 1, margin
    if not near and rng.random() < 0.1:
        _title_page(page, size)
        return page.image
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
        left = margin + number * column
        bottom = height - margin if near or rng.random() < 0.75 else height * rng.uniform(0.5, 0.9)
        _column(page, (left, y, left + column - 2 * size, bottom), size, 0 if near else 0.12)
    page.write((width / 2, height - margin / 2), str(rng.integers(1, 400)), size, anchor="mm")
    if near:  # some lines of it
        across = rng.uniform(0.25, 0.75)
        down = across * rng.uniform(0.4, 0.8) * width / height
        left, top = rng.uniform(0, 1 - across) * width, rng.uniform(0.05, 0.95 - down) * height
        return page.image.crop((int(left), int(top), int(left + across * width), int(top + down * height)))
    return page.image


def _column(page: Canvas, box: Box, size: float, pictures: float) -> None:
    """Paragraphs, lists and headings, perhaps a picture, one below the other."""
    rng, (left, top, right, bottom) = page.rng, box
    justified = bool(rng.random() < 0.6)
    while top < bottom - 3 * size:
        end, part = min(bottom, top + rng.uniform(0.15, 0.9) * page.size[1]), rng.random()
        if part < pictures:
            end = min(end, top + (right - left) * 0.6)
            page.picture((left, top, right, end))
        elif part < pictures + 0.15:
            end = _list(page, (left, top, right, end), size)
        elif part < pictures + 0.23:
            end = _example(page, (left, top, right, end), size)
        else:
            page.lines((left, top, right, end), size, justified=justified)
        top = end + size
        if rng.random() < 0.6 and top < bottom - 4 * size:
            page.write((left, top), page.words(rng.integers(1, 4)), size * rng.uniform(1, 1.4), bold=True)
            top += size * 2


def _list(page: Canvas, box: Box, size: float) -> float:
    """Points, or contents with the numbers of their pages -> where they end."""
    rng, (left, top, right, bottom) = page.rng, box
    contents = rng.random() < 0.5
    for number in range(rng.integers(3, 25)):
        if top > bottom - size * 2:
            break
        indent = left + size * (1 + 2 * (rng.random() < 0.5))
        page.write((indent, top), f"{number + 1}. " + page.words(rng.integers(1, 5)), size)
        if contents:
            page.write((right, top), "." * int(rng.integers(10, 30)) + f" {number * 2}", size, anchor="ra")
        top += size * 1.5
    return top


def _example(page: Canvas, box: Box, size: float) -> float:
    """Short lines, more or less indented, as programs and verses are printed -> where they end."""
    left, top, _, bottom = box
    for _ in range(page.rng.integers(3, 16)):
        if top > bottom - size * 2:
            break
        indent = left + size * 2 * page.rng.integers(1, 5)
        page.write((indent, top), page.words(page.rng.integers(1, 6)).lower(), size * 0.9)
        top += size * 1.3
    return top


def _title_page(page: Canvas, size: float) -> None:
    """Little more than a title and who wrote it."""
    width, height = page.size
    y = height * page.rng.uniform(0.1, 0.4)
    for scale in (page.rng.uniform(2, 3.5), 1.4, 1):
        page.write(
            (width / 2, y), page.words(page.rng.integers(1, 5)), size * scale, bold=scale > 2, anchor="ma"
        )
        y += size * scale * page.rng.uniform(2, 5)
    page.draw.line((width * 0.1, y, width * 0.9, y), page.look.ink, int(page.rng.integers(1, 4)))
    page.write((width / 2, height * 0.9), f"20{page.rng.integers(10, 30)}", size, anchor="ma")


def receipt(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """What a till prints: a shop, items with prices, a total, perhaps a bar code."""
    width, size = int(rng.integers(260, 420)), float(rng.integers(13, 20))
    items = int(rng.integers(3, 22))
    look = paper_look(rng, 120)
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


def code(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """A QR code: modules by chance, with the patterns by which it is found; perhaps on a label."""
    look = paper_look(rng)
    if rng.random() < 0.3:
        look = look._replace(ink=mixed(vivid(rng), (0, 0, 0), 0.5), paper=colour(rng, 255, 215))
    dark = np.pad(modules(rng, int(rng.choice([1, 2, 2, 3, 3, 4, 5, 6, 8, 10]))), int(rng.integers(1, 5)))
    colours = np.array([look.paper, look.ink], np.uint8)
    side = int(rng.integers(260, 520))
    square = Image.fromarray(colours[dark.astype(int)]).resize((side, side), Image.Resampling.NEAREST)
    if rng.random() < 0.15:  # a sign in the middle
        middle = side * rng.uniform(0.36, 0.42)
        ImageDraw.Draw(square).ellipse((middle, middle, side - middle, side - middle), vivid(rng))
    if rng.random() < 0.45:
        return square
    right, below = int(side * rng.choice([0.2, rng.uniform(0.3, 0.9)])), int(side * rng.uniform(0.1, 0.5))
    page, size = Canvas((side + right, side + below), rng, look, photos), side / rng.uniform(14, 24)
    beside = right > side * 0.25
    page.image.paste(square, (0 if beside else right // 2, below // 3))
    page.write((page.size[0] / 2, 4), page.words(2), size * 1.3, bold=True, anchor="ma")
    page.lines((20, side + below / 3 + 4, page.size[0] - 20, page.size[1]), size)
    if beside:
        page.lines((side + 4, below, page.size[0] - 10, side), size)
    return page.image


def modules(rng: Rng, version: int) -> npt.NDArray[np.bool_]:
    """Which modules of a QR code are dark: fixed ones as the standard has them, others by chance."""
    count = 17 + 4 * version
    dark = rng.random((count, count)) < 0.5
    dark[6], dark[:, 6] = np.arange(count) % 2 == 0, np.arange(count) % 2 == 0
    finder = np.pad(np.pad(np.ones((3, 3), bool), 1), 1, constant_values=True)  # (7, 7)
    if version > 1:
        dark[-9:-4, -9:-4] = np.pad(np.pad(np.ones((1, 1), bool), 1), 1, constant_values=True)
    for below, right in ((0, 0), (0, 1), (1, 0)):
        rows, columns = (slice(-8, None) if far else slice(8) for far in (below, right))
        dark[rows, columns] = np.pad(finder, ((below, 1 - below), (right, 1 - right)))
    return dark
