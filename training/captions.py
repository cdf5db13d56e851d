"""What is true of an image, in words: names, keywords, synonyms, kinds and colours, in templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from clipcli.prompts.templates import list_template_sets, load_templates
from training.catalogue import SourceImage
from training.words import WordNet, plain

# What the text tower learns to look through: a name in any of these, or in any template set of the command,
# means what the name alone means.
_OF_DRAWINGS = (
    "a photo of a {}", "a photo of the {}", "an image of a {}", "a picture of a {}", "a drawing of a {}",
    "an illustration of a {}", "a cartoon {}", "clip art of a {}", "a clipart {}", "an icon of a {}",
    "a {} icon", "an emoji of a {}", "a {} emoji", "a sticker of a {}", "a pictogram of a {}",
    "a silhouette of a {}", "a symbol of a {}", "a 3d render of a {}", "a cut-out photo of a {}",
    "a greyscale photo of a {}", "a product photo of a {}", "this is a {}", "a {}", "the {}",
    "a black and white {}", "a small {}", "art of a {}",
)  # fmt: skip
TEMPLATES = tuple(dict.fromkeys([*_OF_DRAWINGS, *load_templates(list(list_template_sets()))]))
PLURAL_TEMPLATES = ("{}", "many {}", "a photo of {}", "two {}")
SINGLE = ("a photo of a {}.",)
# What `clipcli classify` averages by default; the image tower learns to hit these averages.
ENSEMBLE = load_templates()
# Fashion-MNIST's ten classes: its own name first, then what else it is called.
FASHION = (
    ("t-shirt/top", "t-shirt", "top"), ("trouser", "trousers", "pants"), ("pullover", "sweater"), ("dress",),
    ("coat",), ("sandal",), ("shirt",), ("sneaker",), ("bag", "handbag"), ("ankle boot", "boot"),
)  # fmt: skip


def photo_classes() -> list[str]:
    """ImageNet's thousand classes by open_clip's names: what the image tower knows at its start."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


_SHARES = {"first": 0.8, "names": 0.08, "tags": 0.06, "synonyms": 0.03, "kinds": 0.02, "colour": 0.03}
_MOST_TAGS = 8
_LONGEST = 40
_DESCRIBING = (
    "cute", "old", "big", "small", "happy", "sad", "angry", "open", "closed", "broken", "wooden", "toy",
    "baby", "flying", "sleeping",
)  # fmt: skip
# Prototypes of the colour words, in RGB.
_COLOURS = {
    "red": (215, 40, 45), "orange": (245, 140, 35), "yellow": (250, 210, 60), "green": (70, 160, 70),
    "blue": (50, 115, 205), "purple": (130, 75, 175), "pink": (245, 140, 175), "brown": (130, 85, 55),
    "black": (25, 25, 28), "white": (245, 245, 245), "grey": (140, 145, 150),
}  # fmt: skip


def captions(image: SourceImage, wordnet: WordNet, colour: str | None = None) -> dict[str, float]:
    """What is true of the image -> the share of each caption; they add up to 1.

    Args:
        colour: the word of `dominant_colour`; "red" gives the caption "red apple".
    """
    first = image.names[0]
    synonyms = [word for name in image.names for word in wordnet.synonyms(name)]
    kinds = [word for name in image.names[:2] for word in wordnet.hypernyms(name)]
    shares: Counter[str] = Counter({first: _SHARES["first"]})
    coloured = [f"{colour} {first}"] if colour and len(first.split()) <= 2 else []
    words_of = {"names": image.names, "tags": image.tags[:_MOST_TAGS], "synonyms": synonyms, "kinds": kinds}
    for kind, words in {**words_of, "colour": coloured}.items():
        kept = [word for word in dict.fromkeys(words) if len(word) <= _LONGEST]
        for word in kept:
            shares[word] += _SHARES[kind] / len(kept)
    total = sum(shares.values())
    return {word: share / total for word, share in shares.items()}


def dominant_colour(master: npt.NDArray[np.uint8]) -> str | None:
    """The colour word of a premultiplied RGBA image, if one covers 60 % of what is drawn; else None."""
    pixels = master[::3, ::3].reshape(-1, 4)
    drawn = pixels[pixels[:, 3] > 200][:, :3].astype(np.int32)  # (P, 3)
    if len(drawn) < 30:
        return None
    prototypes = np.array(list(_COLOURS.values()))  # (C, 3)
    nearest = np.square(drawn[:, None] - prototypes).sum(axis=2).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(prototypes))
    best = int(counts.argmax())
    return list(_COLOURS)[best] if counts[best] >= 0.6 * len(drawn) else None


def plural(name: str) -> str:
    """The plural of a name that is written in the regular way."""
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def phrases(
    bank: Sequence[str],
    wordnet: WordNet,
    length: Callable[[str], int],
    described: int,
    generator: np.random.Generator,
) -> list[str]:
    """The bank of captions, the common nouns and some coloured or described ones, which have no image.

    The words never seen with an image are learned from them.

    Args:
        length: how many tokens a text has; CLIP's vocabulary has one token for a common word.
        described: how many described nouns.
    """
    common = [word for word in wordnet.first if plain(word) and _common(word, wordnet, length)]
    drawn = [word for word in bank if " " not in word and wordnet.concrete(word)] or list(bank)
    adjectives = [*_COLOURS, *_DESCRIBING]
    pairs = {
        f"{adjectives[i]} {drawn[j]}"
        for i, j in zip(
            generator.integers(len(adjectives), size=described),
            generator.integers(len(drawn), size=described),
            strict=True,
        )
    }
    return list(dict.fromkeys([*bank, *common, *sorted(pairs)]))


def things(wordnet: WordNet, length: Callable[[str], int]) -> list[str]:
    """The nouns of up to two words and three tokens that are things, in any sense."""
    return [
        noun
        for noun in wordnet.first
        if plain(noun) and len(noun.split()) <= 2 and length(noun) <= 3 and wordnet.thing(noun)
    ]


def _common(noun: str, wordnet: WordNet, length: Callable[[str], int]) -> bool:
    """Whether a noun is one token, or two and a thing that can be drawn."""
    tokens = length(noun)
    return tokens == 1 or (tokens == 2 and wordnet.concrete(noun))
