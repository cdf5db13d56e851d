"""What words mean, from WordNet: can it be drawn, what else is it called, its kind and its definition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# WordNet's lexicographer files of things that can be drawn.
CONCRETE = {
    5: "animal",
    6: "artifact",
    8: "body",
    13: "food",
    17: "object",
    18: "person",
    19: "phenomenon",
    20: "plant",
}
_PERSON = 18
# Hypernyms that say nothing about how a thing looks.
VAGUE = {
    "entity", "whole", "object", "artifact", "unit", "matter", "thing", "instrumentality", "substance",
    "group", "part", "device", "equipment", "structure", "organism", "being", "covering", "implement",
    "commodity", "material", "way", "passage", "area", "line", "surface", "creation", "product", "causal",
    "agent", "stuff",
}  # fmt: skip


@dataclass(frozen=True)
class Synset:
    """One sense of a noun: its words, its lexicographer file, the senses above it and its definition."""

    words: tuple[str, ...]
    lexfile: int
    above: tuple[str, ...]
    gloss: str


class WordNet:
    """Nouns by their first sense."""

    def __init__(self, folder: Path) -> None:
        self.synsets = dict(map(_synset, _rows(folder / "data.noun")))
        self.senses = dict(map(_offsets, _rows(folder / "index.noun")))
        self.first = {word: offsets[0] for word, offsets in self.senses.items()}

    def singular(self, word: str) -> str:
        """The noun that WordNet knows for a word that may be a plural; the word itself when there is none."""
        if word in self.first:
            return word
        for ending, stem in (("ies", "y"), ("es", ""), ("s", "")):
            if word.endswith(ending) and word[: -len(ending)] + stem in self.first:
                return word[: -len(ending)] + stem
        return word

    def sense(self, word: str) -> Synset | None:
        """The first sense of a noun or of its plural."""
        return self.synsets.get(self.first.get(self.singular(word), ""))

    def concrete(self, name: str) -> bool:
        """Whether the name, or its last word, is in its first sense a thing that can be drawn."""
        senses = (self.sense(name), self.sense(name.rsplit(maxsplit=1)[-1]) if name.strip() else None)
        return any(sense is not None and sense.lexfile in CONCRETE for sense in senses)

    def thing(self, name: str) -> Synset | None:
        """The first sense of a name, or else of its last word, that is a thing and no person."""
        return next((s for s in self._senses(name) if s.lexfile in CONCRETE and s.lexfile != _PERSON), None)

    def definition(self, name: str) -> str:
        """What a name means as a thing, or else in its first sense; "" if it is no noun."""
        first = next(iter(self._senses(name)), None)
        sense = self.thing(name) or first
        return sense.gloss if sense else ""

    def kinds(self, name: str) -> frozenset[Synset]:
        """The sense that `definition` tells, and all senses above it."""
        senses = self._senses(name)
        waiting = [self.thing(name) or senses[0]] if senses else []
        found: set[Synset] = set()
        while waiting:
            sense = waiting.pop()
            if sense not in found:
                found.add(sense)
                waiting.extend(self.synsets[offset] for offset in sense.above)
        return frozenset(found)

    def _senses(self, name: str) -> list[Synset]:
        """All senses of a noun, a plural, or else of its last word, most common first."""
        words = [self.singular(word) for word in (name, *name.split()[-1:])]
        offsets = next((self.senses[word] for word in words if word in self.senses), ())
        return [self.synsets[offset] for offset in offsets]

    @cache  # noqa: B019  (one WordNet lives as long as the run)
    def synonyms(self, name: str) -> tuple[str, ...]:
        """Other words of the first sense of a concrete noun."""
        sense = self.sense(name)
        if sense is None or sense.lexfile not in CONCRETE:
            return ()
        return tuple(word for word in sense.words if word not in {name, self.singular(name)} and plain(word))[
            :3
        ]

    @cache  # noqa: B019
    def hypernyms(self, name: str) -> tuple[str, ...]:
        """Up to two words for the kind of thing that a concrete noun names, nearest first."""
        found: list[str] = []
        sense = self.sense(name)
        for _ in range(3):
            if sense is None or sense.lexfile not in CONCRETE or not sense.above:
                break
            sense = self.synsets[sense.above[0]]
            if plain(sense.words[0]) and not VAGUE & set(sense.words[0].split()):
                found.append(sense.words[0])
        return tuple(found[:2])


def plain(word: str) -> bool:
    """Whether a word is made of lower-case letters, spaces and hyphens."""
    return re.fullmatch(r"[a-z][a-z' \-]+", word) is not None


def _rows(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith(" ")]


def _synset(line: str) -> tuple[str, Synset]:
    data, gloss = line.split(" | ", maxsplit=1)
    fields = data.split()
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
    pointers = fields[5 + 2 * count :]
    above = tuple(pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in {"@", "@i"})
    definition = re.sub(r';? *".*', "", gloss).strip()  # without the sentences that use the word
    return fields[0], Synset(words, int(fields[1]), above, definition)


def _offsets(line: str) -> tuple[str, tuple[str, ...]]:
    fields = line.split()
    return fields[0].replace("_", " "), tuple(fields[4 + int(fields[3]) + 2 :])
