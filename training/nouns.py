"""The nouns that `--reject negatives` compares images with: `python -m training.nouns`.

From WordNet, fetched as for training: nouns of one or two words for concrete things (no persons, groups or
quantities, which the authors of NegLabel leave out, too), in their first sense, without proper nouns. With
them are their other senses, the senses above, and the other words of all of these, so that nouns that may
mean a label or a kind of it can be left out.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Sequence
from pathlib import Path

from training.evaluate import ROOT
from training.sources import BY_NAME, unpack
from training.words import CONCRETE, WordNet, plain

PERSON = 18
MOST_WORDS = 2
FOLDER = ROOT / "clipcli" / "assets" / "nouns"


def lines(wordnet: WordNet) -> list[str]:
    """A line for each sense: `word|synonym<TAB>steps`; a step leads so many lines away to a sense above.

    A sense of which no noun is a negative label begins with `-`.
    """
    chosen = {offset for offset in wordnet.synsets if _is_chosen(wordnet, offset)}
    words = {wordnet.synsets[offset].words[0] for offset in chosen}
    used = {offset for word in words for offset in wordnet.senses[word]}
    waiting = list(used)
    while waiting:
        new = set(wordnet.synsets[waiting.pop()].above) - used
        used |= new
        waiting.extend(new)
    place = {offset: number for number, offset in enumerate(sorted(used))}
    found = []
    for offset in sorted(used):
        sense = wordnet.synsets[offset]
        steps = " ".join(str(place[above] - place[offset]) for above in sense.above)
        found.append(f"{'' if offset in chosen else '-'}{'|'.join(sense.words)}\t{steps}")
    return found


def _is_chosen(wordnet: WordNet, offset: str) -> bool:
    sense = wordnet.synsets[offset]
    word = sense.words[0]
    is_short = plain(word) and len(word.split()) <= MOST_WORDS
    return sense.lexfile in CONCRETE.keys() - {PERSON} and is_short and wordnet.first.get(word) == offset


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the list into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "training" / "build")
    work = parser.parse_args(arguments).work
    folder = unpack(BY_NAME["wordnet"], work / "packages", work / "unpacked")
    text = "".join(f"{line}\n" for line in lines(WordNet(folder / "package" / "dict")))
    (FOLDER / "nouns.txt.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
