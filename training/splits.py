"""What is never trained on. Written down before the training, and not changed after it.

- Final style: EmojiOne (`@iconify-json/emojione`; its v1 and monotone sets are not used at all). It is looked at
  once, when the trained model is evaluated. Thresholds set beforehand on 109 common nouns: top-1 of at least
  55 %, and of at least 80 % among 10 random classes.
- Development style: OpenMoji. Decisions may look at it, so its figures flatter.
- Held-out concepts: `HELD_OUT`. No picture whose names or keywords hold one of these words is trained on, in any
  style; pictures of them in Noto and Fluent 3D, styles that are trained on, make the test, and those in EmojiOne.
- Tux Paint's stamps: tested on only.
- examples/: no set that a picture in that folder comes from is among the sources (sources.py).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping

from training.catalogue import Picture

FINAL_STYLE = "emojione"
DEVELOPMENT_STYLE = "openmoji"
NEVER_TRAINED = {FINAL_STYLE, DEVELOPMENT_STYLE, "tuxpaint"}

COMMON = [
    word.replace("_", " ")
    for word in """cat dog mouse rabbit fox bear panda koala tiger lion cow pig frog monkey chicken penguin bird duck
    owl bat wolf horse unicorn bee butterfly snail ant spider turtle snake octopus crab whale dolphin fish elephant
    tree cactus mushroom rose sunflower tulip apple banana lemon strawberry watermelon grapes pineapple peach cherries
    tomato carrot avocado eggplant pizza hamburger hot_dog taco bread cheese egg cookie doughnut ice_cream candy house
    car bus taxi bicycle motorcycle train airplane rocket sailboat helicopter tractor key hammer scissors pencil book
    envelope umbrella guitar trumpet violin camera television laptop telephone clock crown ring heart star sun moon
    snowman gift bell balloon soccer_ball basketball tooth eye ear hand""".split()
]
# CLDR's names of the emoji that the common noun stands for, where the two differ.
CLDR_NAME = {
    "bee": "honeybee", "tree": "deciduous tree", "cheese": "cheese wedge", "car": "automobile", "book": "open book",
    "clock": "alarm clock", "heart": "red heart", "moon": "full moon", "gift": "wrapped gift", "hand": "raised hand",
}  # fmt: skip
# As `draw_held_out` drew them.
HELD_OUT = [
    " ".join(concept.split())
    for concept in """
    beverage box, boar, bookmark, bookmark tabs, broccoli, broken chain, broom, bubbles, bucket, camel,
    canned food, chart increasing, chocolate bar, circus tent, classical building, cloud, coconut,
    cricket, crystal ball, delivery truck, donkey, dumpling, flamingo, flashlight, flying saucer,
    glasses, hair pick, headstone, herb, hyacinth, ice hockey, japanese castle, love hotel, mate,
    megaphone, military medal, mobile phone, mount fuji, passenger ship, peanuts, pickup truck, puzzle
    piece, radio, running shirt, running shoe, sandwich, satellite antenna, scroll, skateboard, spade
    suit, tamale, thread, volcano, watch, wheel, wing, wrench
    """.split(",")
]
# Emoji groups of CLDR that hold things: animals and nature, food, travel and places, activities, objects.
_THINGS = {3, 4, 5, 6, 7}
# The sources that version 0 of the model was trained on, by which its held-out concepts were drawn.
_DRAWN_FROM = {
    "fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast", "noto", "noto-v1", "twemoji", "emojione",
    "streamline-emojis", "fxemoji", "fluent-3d",
}  # fmt: skip


def draw_held_out(pictures: Iterable[Picture], groups: Mapping[str, int]) -> list[str]:
    """A tenth of the concepts that can be tested: how `HELD_OUT` was drawn (seed 7).

    A concept is a CLDR name of one or two words that at least two sources draw, that is a thing, and that
    shares no word with the common nouns.
    """
    drawn_by: dict[str, set[str]] = {}
    for picture in pictures:
        if picture.emoji and picture.source in _DRAWN_FROM:
            drawn_by.setdefault(picture.names[0], set()).add(picture.source)
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


def may_train(picture: Picture, held_out: re.Pattern[str]) -> bool:
    """Whether a picture is of a source that may be trained on and names no held-out concept."""
    said = " | ".join(picture.names + picture.tags)
    return picture.source not in NEVER_TRAINED and not held_out.search(said)
