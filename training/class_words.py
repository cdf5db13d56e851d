"""What ImageNet's classes are called beside their names: WordNet's synonyms, and the kinds of thing they are.

ImageNet's classes are senses of WordNet. A name alone says too little where it is rare: that a Pekingese is a
dog and that a tabby is a cat is what their kinds tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from training.captions import photo_classes
from training.words import CONCRETE, VAGUE, Synset, WordNet, plain

_KINDS = 6  # how far up
_WORDS = 2  # of each kind


class ClassWords(NamedTuple):
    """The name of a class, other words for it, and words for its kinds, nearest first."""

    name: str
    synonyms: tuple[str, ...]
    kinds: tuple[tuple[str, ...], ...]


def class_words(wordnet: WordNet) -> list[ClassWords]:
    """The words of ImageNet's thousand classes, in their order."""
    from timm.data import ImageNetInfo

    described = ImageNetInfo().label_descriptions(detailed=True)
    return [
        words_of(name, sense_of(description, wordnet), wordnet)
        for name, description in zip(photo_classes(), described, strict=True)
    ]


def words_of(name: str, sense: Synset | None, wordnet: WordNet) -> ClassWords:
    """The words of one class; a class without a sense has its name alone."""
    synonyms = tuple(word.lower() for word in sense.words) if sense else ()
    kinds = tuple(
        words
        for kind in _above(sense, wordnet)
        if (words := tuple(word for word in kind.words if plain(word) and not VAGUE & set(word.split())))
    )
    return ClassWords(name, tuple(filter(plain, synonyms)), tuple(words[:_WORDS] for words in kinds))


def _above(sense: Synset | None, wordnet: WordNet) -> Sequence[Synset]:
    """The senses above, nearest first, as long as they are things that can be drawn."""
    found: list[Synset] = []
    while sense and sense.above and len(found) < _KINDS:
        sense = wordnet.synsets[sense.above[0]]
        if sense.lexfile not in CONCRETE:
            break
        found.append(sense)
    return found


def sense_of(description: str, wordnet: WordNet) -> Synset | None:
    """The sense whose words and definition these are, "tabby, tabby cat: a cat with a grey …".

    The versions of WordNet differ in the wording of some definitions, so the most similar one is taken.
    """
    words, gloss = description.split(": ", maxsplit=1)
    offsets = (o for word in words.split(", ") for o in wordnet.senses.get(word.lower(), ()))
    senses = [wordnet.synsets[offset] for offset in dict.fromkeys(offsets)]
    return max(senses, key=lambda sense: SequenceMatcher(None, sense.gloss, gloss).ratio(), default=None)
