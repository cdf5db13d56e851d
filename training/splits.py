"""What is never trained on. Written down before the training, and not changed after it.

- Final style: EmojiOne (`@iconify-json/emojione`; its v1 and monotone sets are not used at all). It is looked
  at once, when the trained model is evaluated. Thresholds set beforehand on the common nouns
  (common_nouns.txt): top-1 of at least 55 %, and of at least 80 % among 10 random classes.
- Development style: OpenMoji. Decisions may look at it, so its figures flatter.
- Held-out concepts: held_out.txt. No image whose names or keywords hold one of these words is trained on,
  in any style. Images of them in Noto and Fluent 3D, which are trained on otherwise, make the test, and
  those in EmojiOne and OpenMoji.
- Tux Paint's stamps: tested on only.
- examples/drawings/: no set that an image in that folder comes from is among the sources (sources.py).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.catalogue import SourceImage

FINAL_STYLE = "emojione"
DEVELOPMENT_STYLE = "openmoji"
NEVER_TRAINED = {FINAL_STYLE, DEVELOPMENT_STYLE, "tuxpaint"}

# Trade marks that the sets do not name as brands: "apple" is a fruit.
_BRANDS = re.compile(
    r"mdi:(android|apple|docker|ember|fedora)|iconoir:(apple|google)|mingcute:(android|apple-fill|apple-int|google)"
    r"|icons8:google"
)

_FOLDER = Path(__file__).parent
COMMON = (_FOLDER / "common_nouns.txt").read_text().splitlines()
HELD_OUT = (_FOLDER / "held_out.txt").read_text().splitlines()  # as `draw_held_out` drew them
# CLDR's names of the emoji that the common noun stands for, where the two differ.
CLDR_NAME = {
    "bee": "honeybee", "tree": "deciduous tree", "cheese": "cheese wedge", "car": "automobile",
    "book": "open book", "clock": "alarm clock", "heart": "red heart", "moon": "full moon",
    "gift": "wrapped gift", "hand": "raised hand",
}  # fmt: skip
# Emoji groups of CLDR that hold things: animals and nature, food, travel and places, activities, objects.
_THINGS = {3, 4, 5, 6, 7}
# The sources that version 0 of the model was trained on, by which its held-out concepts were drawn.
_DRAWN_FROM = {
    "fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast", "noto", "noto-v1", "twemoji",
    "emojione", "streamline-emojis", "fxemoji", "fluent-3d",
}  # fmt: skip


def draw_held_out(images: Iterable[SourceImage], groups: Mapping[str, int]) -> list[str]:
    """A tenth of the concepts that can be tested: how `HELD_OUT` was drawn (seed 7).

    A concept is a CLDR name of one or two words that at least two sources draw, that is a thing, and that
    shares no word with the common nouns.
    """
    drawn_by: dict[str, set[str]] = {}
    for image in images:
        if image.emoji and image.source in _DRAWN_FROM:
            drawn_by.setdefault(image.names[0], set()).add(image.source)
    candidates = [
        name for name, sources in sorted(drawn_by.items()) if len(sources) >= 2 and _can_test(name, groups)
    ]
    return sorted(random.Random(7).sample(candidates, len(candidates) // 10))


def _can_test(name: str, groups: Mapping[str, int]) -> bool:
    words = name.split()
    return (
        groups.get(name) in _THINGS
        and len(words) <= 2
        and not any(word in COMMON for word in words)
        and not any(part in name for part in ("clock", "moon", "face"))
        and re.fullmatch(r"[a-z \-]+", name) is not None
    )


def mentions(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the words, or its plural, as a whole word."""
    return re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")s?\b")


def may_train(image: SourceImage, held_out: re.Pattern[str]) -> bool:
    """Whether an image is of a source that may be trained on, names no held-out concept and is no brand."""
    said = " | ".join(image.names + image.tags)
    if image.source in NEVER_TRAINED or _BRANDS.match(f"{image.source}:{image.key}"):
        return False
    return not held_out.search(said)
