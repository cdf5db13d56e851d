"""What pages, screens and charts are drawn with: words, colours, and an image that is drawn on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.pages.camera import Photo, gradient

Rng = np.random.Generator
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]
Box = tuple[float, float, float, float]  # left, top, right, bottom
WORDS = [
    "a", "and", "as", "at", "be", "by", "for", "from", "has", "in", "is", "it", "no", "not", "of", "on",
    "or", "that", "the", "this", "to", "was", "we", "with", "you", "are", "able", "about", "account",
    "address", "after", "again", "amount", "answer", "area", "before", "below", "between", "book", "bread",
    "call", "change", "choice", "city", "class", "coffee", "company", "condition", "cost", "country",
    "course", "data", "date", "day", "delivery", "detail", "development", "different", "door", "each",
    "east", "end", "example", "family", "figure", "first", "form", "free", "garden", "group", "help",
    "history", "home", "hour", "house", "image", "income", "information", "item", "january", "key",
    "language", "large", "letter", "level", "light", "list", "local", "market", "measure", "member",
    "message", "method", "model", "month", "name", "national", "new", "next", "note", "number", "office",
    "open", "order", "other", "page", "paper", "part", "people", "percent", "period", "place", "plan",
    "point", "price", "problem", "product", "project", "public", "question", "rate", "reason", "report",
    "result", "river", "road", "room", "sample", "school", "search", "section", "service", "set", "small",
    "state", "station", "story", "street", "study", "summer", "system", "table", "tax", "term", "time",
    "title", "total", "town", "under", "unit", "use", "value", "version", "view", "water", "week", "west",
    "work", "world", "year", "young",
]  # fmt: skip


class Look(NamedTuple):
    """Colours that go together."""

    paper: Colour
    ink: Colour
    pale: Colour  # lines, borders
    accents: tuple[Colour, ...]


class Canvas:
    """An image that is drawn on, with the chance and the colours by which it is done."""

    def __init__(self, size: tuple[int, int], rng: Rng, look: Look, photos: Sequence[Photo] = ()) -> None:
        self.size, self.rng, self.look, self.photos = size, rng, look, photos
        self.image = Image.new("RGB", size, look.paper)
        self.draw = ImageDraw.Draw(self.image)

    def accent(self) -> Colour:
        """One of the colours that stand out."""
        return self.look.accents[self.rng.integers(len(self.look.accents))]

    def words(self, count: int | np.signedinteger[Any]) -> str:
        """So many words, the first with a capital."""
        return " ".join(self.rng.choice(WORDS, max(int(count), 1))).capitalize()

    def write(self, xy: tuple[float, float], text: str, size: float, **more: Any) -> None:
        """A line of text; `bold`, `fill` and `anchor` as wanted."""
        heavy = more.pop("bold", False)
        self.draw.text(xy, text, font=_font(max(6, int(size))), stroke_width=size / 28 if heavy else 0,
                       **{"fill": self.look.ink, **more})  # fmt: skip

    def lines(self, box: Box, size: float, fill: Colour | None = None, justified: bool = False) -> None:
        """Paragraphs that fill a box."""
        left, y, right, bottom = box
        font, ink, step = _font(max(6, int(size))), fill or self.look.ink, size * self.rng.uniform(1.2, 1.6)
        until = self.rng.integers(3, 12)  # lines of the paragraph
        while y + size <= bottom:
            words, last = [self.words(1)], until == 0
            end = right - (self.rng.uniform(0.1, 0.8) if last else 0) * (right - left)
            while font.getlength(" ".join(words)) < end - left:
                words.append(str(self.rng.choice(WORDS)))
            words, x = words[:-1] or words, left
            gap = font.getlength(" ")
            if justified and not last and len(words) > 1:
                gap = (right - left - sum(map(font.getlength, words))) / (len(words) - 1)
            for word in words if justified else [" ".join(words)]:
                self.draw.text((x, y), word, font=font, fill=ink)
                x += font.getlength(word) + gap
            y, until = y + step * (1.5 if last else 1), self.rng.integers(3, 12) if last else until - 1

    def picture(self, box: Box, dark: float = 0) -> None:
        """A photograph, or a gradient where there is none, that fills a box."""
        left, top, right, bottom = map(int, box)
        size = (max(1, right - left), max(1, bottom - top))
        if len(self.photos) and self.rng.random() < 0.85:
            source = Image.fromarray(self.photos[int(self.rng.integers(len(self.photos)))])
            scale = max(size[0] / source.width, size[1] / source.height) / self.rng.uniform(0.6, 1)
            picture = source.resize((math.ceil(source.width * scale), math.ceil(source.height * scale)))
            picture = picture.crop((0, 0, *size))
        else:
            picture = gradient(size, self.accent(), self.accent(), self.rng)
        black = Image.new("RGB", size, tuple(value // 6 for value in self.accent()))
        self.image.paste(Image.blend(picture, black, dark), (left, top))

    def panel(self, box: Box, fill: Colour | None = None, radius: float = 0, rim: bool = False) -> None:
        """A rectangle, with round corners or a rim."""
        left, top, right, bottom = box
        self.draw.rounded_rectangle(
            (left, top, max(left, right), max(top, bottom)), radius, fill, self.look.pale if rim else None
        )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def colour(rng: Rng, lightest: int = 255, darkest: int = 0) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(darkest, lightest, 3, endpoint=True))
    return red, green, blue


def vivid(rng: Rng) -> Colour:
    values = rng.permutation([rng.integers(0, 110), rng.integers(60, 200), rng.integers(150, 256)])
    return int(values[0]), int(values[1]), int(values[2])


def screen_look(rng: Rng, dark: float = 0.3) -> Look:
    """Colours of a screen: dark ink on light paper, or the other way round."""
    accents = tuple(vivid(rng) for _ in range(rng.integers(1, 7)))
    if rng.random() < dark:
        return Look(colour(rng, 50), colour(rng, 255, 190), colour(rng, 95, 60), accents)
    paper = (255, 255, 255) if rng.random() < 0.7 else colour(rng, 255, 225)
    ink = colour(rng, 80) if rng.random() < 0.4 else (int(rng.integers(70)),) * 3
    return Look(paper, ink, colour(rng, 225, 190), accents)


def paper_look(rng: Rng, faint: int = 60) -> Look:
    """Colours of printed paper; the ink is no lighter than `faint`."""
    shade, ink = int(rng.integers(225, 256)), int(rng.integers(0, faint))
    paper = (shade, shade - int(rng.integers(0, 8)), shade - int(rng.integers(0, 22)))
    paper = (255, 255, 255) if rng.random() < 0.4 else paper
    dark = (ink, ink, ink + int(rng.integers(0, 25)))
    return Look(paper, dark, (150, 150, 150), (vivid(rng), (20, 20, 20), (60, 60, 60)))


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two, so much of the first."""
    red, green, blue = (int(a * share + b * (1 - share)) for a, b in zip(one, other, strict=True))
    return red, green, blue
