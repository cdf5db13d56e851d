"""Nouns of WordNet that none of some labels means: candidates for negative labels.

`assets/nouns/nouns.txt.gz`, which `training/nouns.py` makes, has a line for each sense: its words, and where
the senses above it stand. WordNet 3.1 is Princeton University's; its licence lies beside the list.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

NOUNS = Path(__file__).parents[1] / "assets" / "nouns" / "nouns.txt.gz"
_PLURALS = (("ies", "y"), ("es", ""), ("s", ""))


class _Sense(NamedTuple):
    """A sense: its words, the places of the senses above it, and whether its first word may be a negative."""

    words: tuple[str, ...]
    above: tuple[int, ...]
    is_candidate: bool


def nouns_beside(names: Iterable[str]) -> list[str]:
    """The nouns that mean none of some names, nor a kind of them, in the order of the list.

    A name means every sense that has it as a word, in the singular too; if there is none, its last word
    counts ("tabby cat"). A noun is left out if any of its senses is meant, or lies below one that is. Proper
    nouns are not in the list. Both are what NegRefine (ICCV 2025) adds to NegLabel.

    Args:
        names: of the classes, with aliases.
    """
    senses = _senses()
    meant = _meant(names)
    dropped = set(meant)
    waiting = list(meant)
    below = _below()
    while waiting:
        new = set(below.get(waiting.pop(), ())) - dropped
        dropped |= new
        waiting.extend(new)
    words = {word for place in dropped for word in senses[place].words}
    return [one.words[0] for one in senses if one.is_candidate and one.words[0] not in words]


def _meant(names: Iterable[str]) -> set[int]:
    places = _places()
    found: set[int] = set()
    for name in names:
        folded = " ".join(name.replace("_", " ").split()).casefold()
        whole = [places[form] for form in _forms(folded) if form in places]
        last = [places[form] for form in _forms(folded.rpartition(" ")[2]) if form in places]
        found.update(place for sense in (whole or last) for place in sense)
    return found


def _forms(word: str) -> list[str]:
    """A word, and what it may be the plural of."""
    singular = [word[: -len(end)] + stem for end, stem in _PLURALS if word.endswith(end)]
    return [word, *singular]


@lru_cache(maxsize=1)
def _senses() -> Sequence[_Sense]:
    text = gzip.decompress(NOUNS.read_bytes()).decode()
    return [_sense(place, line) for place, line in enumerate(text.splitlines())]


def _sense(place: int, line: str) -> _Sense:
    words, _, steps = line.removeprefix("-").partition("\t")
    above = tuple(place + int(step) for step in steps.split())
    return _Sense(tuple(words.split("|")), above, not line.startswith("-"))


@lru_cache(maxsize=1)
def _places() -> dict[str, list[int]]:
    """Where each word has senses."""
    found: dict[str, list[int]] = {}
    for place, sense in enumerate(_senses()):
        for word in sense.words:
            found.setdefault(word.casefold(), []).append(place)
    return found


@lru_cache(maxsize=1)
def _below() -> dict[int, list[int]]:
    """Which senses stand right below each."""
    found: dict[int, list[int]] = {}
    for place, sense in enumerate(_senses()):
        for above in sense.above:
            found.setdefault(above, []).append(place)
    return found
