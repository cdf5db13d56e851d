"""What screens are made of: cards, lists, text, fields, programs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from training.pages.canvas import Box, Canvas, mixed
from training.pages.charts import chart


def button(canvas: Canvas, box: Box, size: float) -> None:
    filled = canvas.rng.random() < 0.6
    fill = canvas.accent() if filled else None
    canvas.panel(box, fill, (box[3] - box[1]) * canvas.rng.choice([0.1, 0.5]), rim=not filled)
    ink = (255, 255, 255) if filled else canvas.look.ink
    canvas.write(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), canvas.words(1), size, fill=ink, anchor="mm")


def _round(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """A picture in a circle."""
    before, mask = canvas.image.copy(), Image.new("L", canvas.size)
    box = (int(x - radius), int(y - radius), int(x + radius), int(y + radius))
    canvas.picture(box)
    ImageDraw.Draw(mask).ellipse(box, 255)
    canvas.image.paste(Image.composite(canvas.image, before, mask))


def profile(canvas: Canvas, box: Box, size: float) -> None:
    """A face on the edge, a name and a few lines about somebody."""
    middle, y = (box[0] + box[2]) / 2, box[1] + size * 4
    canvas.panel((box[0] + size * 2, box[1], box[2] - size * 2, box[3]), canvas.look.paper)
    _round(canvas, middle, box[1] + size, size * 4)
    canvas.write((middle, y + size * 2), canvas.words(2), size * 2, anchor="ma")
    for line in range(canvas.rng.integers(2, 5)):
        canvas.write((middle, y + size * (5 + 1.5 * line)), canvas.words(10), size, anchor="ma")
    for number in range(canvas.rng.integers(1, 4)):
        x = middle + (number - 1.5) * size * 9
        button(canvas, (x, y + size * 13, x + size * 8, y + size * 16), size)


def cards(canvas: Canvas, box: Box, size: float) -> None:
    """Pictures, figures or charts with a few words each, side by side."""
    rng, (left, top, right, bottom) = canvas.rng, box
    across, gap = int(rng.integers(2, 6)), size * rng.uniform(1, 2.5)
    wide = (right - left - gap) / across
    high = wide * rng.uniform(0.5, 1.2)
    what, tinted = rng.choice(["picture", "figure", "chart", "text"]), rng.random() < 0.3
    y = top + gap
    while y < bottom:
        for number in range(across):
            x = left + gap + number * wide
            card = (x, y, x + wide - gap, min(y + high, bottom))
            canvas.panel(
                card,
                canvas.accent() if tinted and what == "figure" else canvas.look.paper,
                size / 2,
                rim=True,
            )
            if what == "picture":
                canvas.picture((x, y, x + wide - gap, min(y + high * 0.6, bottom)))
            elif what == "figure":
                canvas.write((x + size, y + size), str(rng.integers(10, 9999)), size * 2.5, bold=True)
            elif what == "chart":
                drawing = chart(rng, canvas.photos).resize((max(1, int(wide - gap)), max(1, int(high * 0.6))))
                canvas.image.paste(drawing, (int(x), int(y)))
            canvas.lines((x + size, y + high * 0.65, x + wide - gap - size, card[3] - size), size)
        y += high + gap


def article(canvas: Canvas, box: Box, size: float) -> None:
    """A heading and text, perhaps with a list of links at the side."""
    rng, (left, top, right, bottom) = canvas.rng, box
    indent = (right - left) * rng.uniform(0.03, 0.25)
    canvas.write((left + indent, top + size), canvas.words(rng.integers(2, 6)), size * 2.2, bold=True)
    end = right - indent
    if rng.random() < 0.5:
        end -= (right - left) * 0.2
        for line in range(int((bottom - top) / (size * 2)) - 2):
            canvas.write(
                (end + size * 2, top + size * (4 + line * 2)), canvas.words(2), size, fill=canvas.accent()
            )
    y = top + size * 5
    if rng.random() < 0.4:
        canvas.picture((left + indent, y, end, min(bottom, y + size * 16)))
        y += size * 18
    canvas.lines((left + indent, y, end, bottom), size * rng.uniform(0.9, 1.2))


def rows(canvas: Canvas, box: Box, size: float) -> None:
    """A list of mails, files or orders: rows with a sign, words and a date."""
    rng, (left, top, right, bottom) = canvas.rng, box
    high, avatars = size * rng.uniform(2.2, 4), rng.random() < 0.5
    for row in range(int((bottom - top) / high)):
        y = top + row * high
        canvas.draw.line((left, y, right, y), canvas.look.pale)
        if avatars:
            canvas.draw.ellipse(
                (left + size, y + high * 0.2, left + size + high * 0.6, y + high * 0.8), canvas.accent()
            )
        canvas.write(
            (left + high + size, y + high / 2), canvas.words(rng.integers(1, 4)), size, anchor="lm", bold=True
        )
        canvas.write(
            (left + (right - left) * 0.35, y + high / 2), canvas.words(rng.integers(3, 7)), size, anchor="lm"
        )
        canvas.write(
            (right - size, y + high / 2), f"{rng.integers(1, 13)}:{rng.integers(10, 60)}", size, anchor="rm"
        )


def details(canvas: Canvas, box: Box, size: float) -> None:
    """A list of files or settings: names of columns, then a sign, a name and a few words in each line."""
    rng, (left, top, right, bottom) = canvas.rng, box
    columns = [
        left + size,
        *np.sort(rng.uniform(left + (right - left) * 0.25, right - size * 4, rng.integers(1, 5))),
    ]
    high, chosen = size * rng.uniform(1.5, 2.2), int(rng.integers(0, 30))
    for line in range(int((bottom - top) / high)):
        y = top + line * high
        if line == chosen:
            canvas.panel((left, y, right - 2, y + high), mixed(canvas.accent(), canvas.look.paper, 0.4))
        elif line and rng.random() < 0.9:
            canvas.panel((left + size, y + 2, left + size * 2, y + high - 4), canvas.accent(), 2)
        for number, x in enumerate(columns):
            indent = size * 1.5 if line and number == 0 else 0
            if number == 0 or rng.random() < 0.7:
                canvas.write((x + indent, y + 2), canvas.words(rng.integers(1, 4 - (number > 0))), size)
    canvas.draw.line((left, top + high, right, top + high), canvas.look.pale)


def tree(canvas: Canvas, box: Box, size: float) -> None:
    """Names below each other, more or less indented, each with a sign; one is chosen."""
    rng, (left, top, right, bottom) = canvas.rng, box
    deep, chosen = 0, int(rng.integers(0, 30))
    for row in range(int((bottom - top) / (size * 1.5))):
        x, y = left + deep * size * 1.4, top + row * size * 1.5
        if row == chosen:
            canvas.panel((left, y, right - 2, y + size * 1.4), mixed(canvas.accent(), canvas.look.paper, 0.4))
        canvas.panel(
            (x, y + size * 0.2, x + size, y + size), canvas.accent() if rng.random() < 0.7 else None, 2, True
        )
        canvas.write((x + size * 1.6, y), canvas.words(rng.integers(1, 3)), size)
        deep = max(0, min(4, deep + int(rng.integers(-1, 2))))


def field(canvas: Canvas, box: Box, size: float) -> None:
    """A line that is asked for: a text with a field, a tick or a knob, or words alone."""
    rng, (left, top, right, bottom) = canvas.rng, box
    what = rng.choice(["field", "tick", "words", "knob"])
    start = left + (right - left) * 0.35 if what == "field" else left + size * 2
    if what == "field":
        canvas.panel((start, top, right, bottom), canvas.look.paper, rim=True)
        canvas.write((start + 4, top + size * 0.4), canvas.words(rng.integers(0, 4)), size)
    elif what == "tick":
        canvas.panel(
            (left, top, left + size, top + size),
            canvas.accent() if rng.random() < 0.4 else canvas.look.paper,
            2,
            True,
        )
    elif what == "knob":
        canvas.draw.ellipse((left, top, left + size, top + size), canvas.look.paper, canvas.look.pale)
    at = left if what in {"field", "words"} else start
    canvas.write((at, top), canvas.words(rng.integers(1, 3) if what == "field" else rng.integers(2, 7)), size)


def program_text(canvas: Canvas, box: Box, size: float) -> None:
    """Lines of a program or of a terminal, words in several colours."""
    rng, (left, top, right, bottom) = canvas.rng, box
    canvas.panel(box, canvas.look.paper)
    numbered, inks = rng.random() < 0.6, [canvas.look.ink, *canvas.look.accents]
    deep, y, number = 0, top + size / 2, int(rng.integers(1, 300))
    while y < bottom - size:
        x = left + size * (3.5 if numbered else 1) + deep * size * 2
        if numbered:
            canvas.write((left + size * 2.5, y), str(number), size, fill=canvas.look.pale, anchor="ra")
        for _ in range(rng.integers(0, 8)):
            word = canvas.words(1).lower() + str(rng.choice(["", "(", ")", " =", ":", ".", ","]))
            canvas.write((x, y), word, size, fill=inks[rng.integers(len(inks))])
            x += size * (0.6 * len(word) + 0.6)
            if x > right:
                break
        deep, y, number = max(0, min(5, deep + int(rng.integers(-1, 2)))), y + size * 1.45, number + 1


def printed(canvas: Canvas, box: Box, size: float) -> None:
    """What a program prints: lines of one colour, of any length, down to some line."""
    rng, (left, top, _, bottom) = canvas.rng, box
    canvas.panel(box, canvas.look.paper)
    y, last = top + size / 2, top + (bottom - top) * rng.uniform(0.2, 1)
    while y < last - size:
        ink = canvas.accent() if rng.random() < 0.15 else canvas.look.ink
        canvas.write((left + 4, y), canvas.words(rng.integers(0, 15)).lower(), size, fill=ink)
        y += size * 1.4


def dots(canvas: Canvas, x: float, y: float) -> None:
    for number, fill in enumerate(((240, 95, 85), (250, 190, 60), (60, 200, 75))):
        canvas.draw.ellipse((x + number * 18, y, x + 11 + number * 18, y + 11), fill)
