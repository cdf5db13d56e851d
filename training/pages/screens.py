"""Screenshots, drawn by a program: web pages, programs with windows and menus, telephones, terminals."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from training.pages.camera import Photo
from training.pages.canvas import Box, Canvas, Colour, Rng, colour, mixed, screen_look
from training.pages.screen_parts import (
    article,
    button,
    cards,
    details,
    dots,
    field,
    printed,
    profile,
    program_text,
    rows,
    tree,
)


def screenshot(rng: Rng, photos: Sequence[Photo]) -> Image.Image:
    """One of the screens below, of a computer or a telephone."""
    screens = [
        (_web, 0.3),
        (_program, 0.2),
        (_dialog, 0.17),
        (_telephone, 0.15),
        (_desktop, 0.1),
        (_terminal, 0.08),
    ]
    which = rng.choice(len(screens), p=[share for _, share in screens])
    if screens[which][0] is _telephone:
        width = int(rng.integers(320, 430))
        size = (width, int(width * rng.uniform(1.6, 2.2)))
    else:
        width = int(rng.integers(800, 1300))
        size = (width, int(width * rng.choice([0.5625, 0.625, 0.75, 0.575, rng.uniform(0.5, 1.4)])))
    canvas = Canvas(size, rng, screen_look(rng, 0.35), photos)
    screens[which][0](canvas, (0, 0, *size))
    return canvas.image


def _web(canvas: Canvas, box: Box) -> None:
    """A web page, perhaps in a browser's window: a bar, a picture, then text, cards or a profile."""
    rng, (left, top, right, bottom) = canvas.rng, box
    if rng.random() < 0.4:
        top = _browser(canvas, box)
    wide, size = right - left, (right - left) / rng.uniform(60, 90)
    canvas.panel((left, top, right, bottom), canvas.look.paper)
    hero = rng.choice(["none", "some", "all"], p=[0.25, 0.5, 0.25])
    end = {"none": top, "some": top + (bottom - top) * rng.uniform(0.25, 0.6), "all": bottom}[str(hero)]
    light: Colour = (255, 255, 255)
    if hero != "none":
        canvas.picture((left, top, right, end), rng.uniform(0, 0.7))
        middle, y = rng.random() < 0.7, (top + end) / 2 - size * 2
        x, anchor = ((left + right) / 2, "ma") if middle else (left + wide * 0.08, "la")
        canvas.write(
            (x, y), canvas.words(rng.integers(1, 5)), size * rng.uniform(2.2, 4.5), fill=light, anchor=anchor
        )
        canvas.write(
            (x, y + size * 4.5), canvas.words(rng.integers(4, 9)), size * 1.3, fill=light, anchor=anchor
        )
        for number in range(rng.integers(0, 3)):
            start = x + number * size * 10 - (size * 8 if middle else 0)
            button(canvas, (start, y + size * 7, start + size * 9, y + size * 9.4), size)
    plain = hero == "none" or rng.random() < 0.4
    if plain:
        canvas.panel(
            (left, top, right, top + size * 3.5), canvas.look.paper if rng.random() < 0.6 else canvas.accent()
        )
    ink = canvas.look.ink if plain else light
    canvas.write((left + size * 2, top + size), canvas.words(1), size * 1.3, fill=ink, bold=True)
    for number in range(rng.integers(2, 7)):
        canvas.write(
            (right - size * (4 + 7 * number), top + size * 1.2), canvas.words(1), size, fill=ink, anchor="ra"
        )
    if end < bottom - size * 4:
        body = (left, max(end, top + size * 4), right, bottom)
        (profile, cards, article, rows)[rng.choice(4, p=[0.2, 0.35, 0.3, 0.15])](canvas, body, size)


def _browser(canvas: Canvas, box: Box) -> float:
    """Tabs and an address -> where the page begins."""
    rng, (left, top, right, _) = canvas.rng, box
    bar = colour(rng, 240, 200) if rng.random() < 0.7 else colour(rng, 70, 30)
    canvas.panel((left, top, right, top + 74), bar)
    for number in range(rng.integers(1, 6)):
        x = left + 80 + number * 170
        canvas.panel(
            (x, top + 6, min(x + 160, right), top + 36),
            canvas.look.paper if number == 0 else bar,
            6,
            rim=True,
        )
        canvas.write((x + 12, top + 14), canvas.words(2), 12)
    dots(canvas, left + 14, top + 18)
    canvas.panel((left + 100, top + 42, right - 60, top + 68), canvas.look.paper, 12)
    canvas.write((left + 116, top + 48), canvas.words(1).lower() + ".example/" + canvas.words(1).lower(), 13)
    return top + 74


def _program(canvas: Canvas, box: Box) -> None:
    """A program's window: a title, menus, a list at the side, and what it shows."""
    rng, (left, top, right, bottom) = canvas.rng, box
    size = float(rng.uniform(11, 15))
    bar = canvas.look.pale if rng.random() < 0.6 else canvas.accent()
    canvas.panel((left, top, right, top + size * 2), bar)
    dots(canvas, left + 8 if rng.random() < 0.5 else right - 70, top + 6)
    canvas.write(((left + right) / 2, top + size), canvas.words(3), size, anchor="mm")
    canvas.panel((left, top + size * 2, right, bottom), canvas.look.paper)
    for number in range(rng.integers(3, 9)):
        canvas.write((left + size + number * size * 5, top + size * 2.6), canvas.words(1)[:7], size)
    y = top + size * 4.4
    for number in range(rng.integers(0, 20)):
        x = left + size + number * size * 2.4
        canvas.panel((x, y, x + size * 2, y + size * 2), colour(rng, 230, 60), 3)
    y += size * 2.6
    side = left + (right - left) * (rng.uniform(0.12, 0.28) if rng.random() < 0.65 else 0)
    canvas.panel((left, y, side, bottom), canvas.look.pale if rng.random() < 0.5 else canvas.look.paper)
    for line in range(int((bottom - y) / (size * 2)) if side > left else 0):
        canvas.write(
            (left + size * (1 + line % 3), y + line * size * 2 + 4), canvas.words(rng.integers(1, 3)), size
        )
    (program_text, rows, article, cards, tree, details)[rng.choice(6, p=[0.35, 0.1, 0.15, 0.1, 0.1, 0.2])](
        canvas, (side + 4, y, right, bottom), size
    )


def _dialog(canvas: Canvas, box: Box) -> None:
    """A small window that asks: a title, fields, boxes to tick, perhaps a tree, buttons at the bottom."""
    rng, (left, top, right, bottom) = canvas.rng, box
    grey = int(rng.integers(225, 256)) if sum(canvas.look.paper) > 400 else int(rng.integers(40, 70))
    size = (right - left) / rng.uniform(38, 70)
    canvas.panel(box, (grey, grey - 2, grey - 5), rim=True)
    blue = mixed((60, 110, 200), canvas.look.paper, rng.uniform(0, 1))
    canvas.panel((left, top, right, top + size * 2.2), blue if rng.random() < 0.6 else canvas.look.pale)
    canvas.write((left + size * (0.6 + 18 * (rng.random() < 0.3)), top + size * 0.5), canvas.words(3), size)
    for number in range(rng.integers(1, 4)):
        x = right - size * (2.2 + 2.2 * number)
        canvas.panel(
            (x, top + size * 0.3, x + size * 1.7, top + size * 1.8),
            (200, 70, 60) if number == 0 else None,
            2,
            True,
        )
    side, y = left, top + size * 3
    if rng.random() < 0.4:
        side = left + (right - left) * rng.uniform(0.2, 0.5)
        canvas.panel((left + size, y, side, bottom - size * 4), canvas.look.paper, rim=True)
        tree(canvas, (left + size * 1.5, y + 4, side, bottom - size * 4), size)
    if rng.random() < 0.3:
        canvas.panel((side + size, y, right - size, bottom - size * 4), canvas.look.paper, rim=True)
        (tree, rows, details)[rng.choice(3, p=[0.3, 0.2, 0.5])](
            canvas, (side + size, y, right - size, bottom - size * 4), size
        )
        y = bottom
    while y < bottom - size * 6:
        field(canvas, (side + size * 2, y, right - size * 2, y + size * 2), size)
        y += size * rng.uniform(2, 4)
    for number in range(rng.integers(1, 5)):
        x = right - size * (9 + 9 * number)
        canvas.panel(
            (x, bottom - size * 3.2, x + size * 8, bottom - size),
            canvas.look.pale if number else None,
            3,
            True,
        )
        canvas.write((x + size * 4, bottom - size * 2.1), canvas.words(1), size, anchor="mm")


def _terminal(canvas: Canvas, box: Box) -> None:
    """A terminal, mostly light on dark."""
    canvas.look = screen_look(canvas.rng, 0.85)
    top = box[1]
    if canvas.rng.random() < 0.5:
        top += 24
        canvas.panel((box[0], box[1], box[2], top), canvas.look.pale)
        canvas.write(((box[0] + box[2]) / 2, box[1] + 12), canvas.words(2), 12, anchor="mm")
    size = (box[2] - box[0]) / canvas.rng.uniform(45, 95)
    what = program_text if canvas.rng.random() < 0.5 else printed
    what(canvas, (box[0], top, box[2], box[3]), size)


def _telephone(canvas: Canvas, box: Box) -> None:
    """A telephone: the time above, a title, then a conversation, a list, cards or icons."""
    rng, (left, top, right, bottom) = canvas.rng, box
    size, head = float(rng.uniform(12, 16)), rng.random() < 0.5
    icons = rng.random() < 0.2
    if icons:
        canvas.picture(box, rng.uniform(0, 0.4))
    else:
        canvas.panel((left, top, right, top + size * 5.5), canvas.accent() if head else canvas.look.paper)
        canvas.write((left + size * 2, top + size * 3), canvas.words(2), size * 1.5, bold=True)
    canvas.write((left + size, top + 5), f"{rng.integers(1, 24)}:{rng.integers(10, 60)}", size * 0.9)
    canvas.panel((right - size * 2.5, top + 7, right - size, top + 7 + size * 0.7), canvas.look.ink, 2)
    body = (left, top + size * 6, right, bottom - size * 4)
    if icons:
        cell = (right - left) / 4
        for number in range(rng.integers(8, 25)):
            x, y = left + number % 4 * cell + cell * 0.2, top + size * 5 + number // 4 * cell * 1.3
            canvas.panel((x, y, x + cell * 0.6, y + cell * 0.6), colour(rng), cell * 0.14)
            canvas.write(
                (x + cell * 0.3, y + cell * 0.68),
                canvas.words(1)[:8],
                size * 0.8,
                fill=(255, 255, 255),
                anchor="ma",
            )
    elif rng.random() < 0.4:
        _talk(canvas, body, size)
    else:
        (rows, cards, article, profile)[rng.choice(4)](canvas, body, size)
    if not icons:
        canvas.panel((left, bottom - size * 4, right, bottom), canvas.look.paper, rim=True)
        for number in range(4):
            x = left + (right - left) * (number + 0.5) / 4
            canvas.panel(
                (x - size, bottom - size * 3, x + size, bottom - size),
                canvas.accent() if number == 0 else canvas.look.pale,
                5,
            )


def _talk(canvas: Canvas, box: Box, size: float) -> None:
    """What two people write to each other, in bubbles."""
    rng, (left, top, right, bottom) = canvas.rng, box
    mine, other, y = canvas.accent(), canvas.look.pale, top + size
    while y < bottom - size * 3:
        lines, own = int(rng.integers(1, 5)), rng.random() < 0.5
        wide = (right - left) * (rng.uniform(0.25, 0.6) if lines == 1 else 0.7)
        x = right - wide - size if own else left + size
        high = size * (1.2 + lines * 1.5)
        canvas.panel((x, y, x + wide, min(y + high, bottom)), mine if own else other, size)
        canvas.lines((x + size, y + size * 0.6, x + wide - size * 0.5, min(y + high, bottom)), size,
                     (255, 255, 255) if own else None)  # fmt: skip
        y += high + size * rng.uniform(0.5, 1.5)


def _desktop(canvas: Canvas, box: Box) -> None:
    """A screen with a picture behind, a bar, icons, and windows over each other."""
    rng, (left, top, right, bottom) = canvas.rng, box
    canvas.picture(box, rng.uniform(0, 0.3))
    for number in range(rng.integers(0, 14)):
        x, y = left + 24 + number // 7 * 80, top + 40 + number % 7 * 80
        canvas.panel((x, y, x + 44, y + 44), colour(rng, 240, 60), 8)
        canvas.write((x + 22, y + 48), canvas.words(1)[:8], 11, fill=(255, 255, 255), anchor="ma")
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, 0.4) * right, rng.uniform(0.03, 0.4) * bottom
        wide, high = rng.uniform(0.4, 0.7) * right, rng.uniform(0.4, 0.7) * bottom
        window = Canvas((int(wide), int(high)), rng, screen_look(rng, 0.3), canvas.photos)
        (_program if rng.random() < 0.6 else _web)(window, (0, 0, *window.size))
        window.draw.rectangle((0, 0, window.size[0] - 1, window.size[1] - 1), outline=window.look.pale)
        canvas.image.paste(window.image, (int(x), int(y)))
    canvas.panel(
        (left, bottom - 38, right, bottom), colour(rng, 60) if rng.random() < 0.6 else colour(rng, 250, 220)
    )
    for number in range(rng.integers(4, 14)):
        canvas.panel(
            (left + 10 + number * 44, bottom - 32, left + 38 + number * 44, bottom - 6),
            colour(rng, 240, 60),
            5,
        )
