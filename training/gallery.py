"""The gallery of the model card: `python -m training.gallery [FOLDER]` prints its tables.

Twenty of the photographs in `examples/` by ten lists of words, as somebody might type them. The lists, and
what is right of each photograph, were written down before a model with both networks saw them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcli import build_classifier, load_model
from clipcli.stages import load_pixels
from training.captions import ENSEMBLE

PHOTOGRAPHS = Path(__file__).parents[1] / "examples" / "photographs"
LABEL_SETS = (
    ("cat", "dog", "receipt"),
    ("person", "animal", "vehicle", "food", "building"),
    ("portrait", "landscape", "product", "document", "screenshot"),
    ("indoors", "outdoors"),
    ("day", "night", "sunset"),
    ("city", "street", "mountain", "river", "beach", "forest"),
    ("squirrel", "cat", "dog", "butterfly", "bird", "horse"),
    ("car", "rocket", "train", "bicycle", "boat"),
    ("bag", "shoe", "camera", "laptop", "phone", "watch"),
    ("drink", "money", "electronics", "clothes", "furniture"),
)
RIGHT = {
    "astronaut-1.jpg": "person portrait indoors",
    "backpack-1.jpg": "person outdoors bag day",
    "butterfly-1.jpg": "animal butterfly outdoors day",
    "camera-1.jpg": "product indoors camera electronics",
    "car-1.jpg": "vehicle outdoors car street",
    "cat-1.jpg": "cat animal portrait",
    "circuit-board-1.jpg": "product electronics",
    "city-1.jpg": "building landscape outdoors day sunset city",
    "coffee-1.jpg": "food product drink indoors",
    "coins-1.jpg": "product money",
    "dog-1.jpg": "dog animal portrait indoors",
    "handbag-1.jpg": "person product indoors bag clothes",
    "laptop-1.jpg": "product indoors laptop electronics",
    "mountain-1.jpg": "landscape outdoors day mountain",
    "river-1.webp": "landscape outdoors day river forest",
    "rocket-1.jpg": "vehicle outdoors night rocket",
    "shoe-1.png": "product shoe clothes",
    "squirrel-1.jpg": "animal outdoors day squirrel forest",
    "street-1.jpg": "building outdoors street city landscape",
    "sunset-1.jpg": "landscape outdoors sunset mountain",
}
"""Every word of the lists that is right of a photograph. Of a list without one, nothing is right."""


def answer(labels: Sequence[str], probs: npt.NDArray[np.floating[Any]], right: set[str]) -> str:
    """The best label as a cell tells it: bold where it is right, in brackets where no label could be.

    Args:
        labels: the list of words.
        probs: (C,) their probabilities.
        right: the words that are right.
    """
    best = labels[int(probs.argmax())]
    told = f"{best} {100 * probs.max():.0f}"
    if not right & set(labels):
        return f"({told})"
    return f"**{told}**" if best in right else told


def table(encoder: Any, sets: Sequence[Sequence[str]]) -> tuple[str, int, int]:
    """One row a photograph and one column a list -> the table, how many answers are right, and could be."""
    names = list(RIGHT)
    pixels = np.stack([load_pixels(str(PHOTOGRAPHS / name), encoder.preprocess) for name in names])
    features = encoder.encode_images(pixels)
    classifiers = [build_classifier(encoder, list(labels), ENSEMBLE) for labels in sets]
    columns = [each.scores(each.similarities(features)) for each in classifiers]
    lines = ["| photograph | " + " | ".join(", ".join(labels) for labels in sets) + " |"]
    lines.append("|" + "---|" * (len(sets) + 1))
    for row, name in enumerate(names):
        right = set(RIGHT[name].split())
        cells = [answer(labels, probs[row], right) for labels, probs in zip(sets, columns, strict=True)]
        picture = f'<img src="../../../examples/photographs/{name}" width="90" alt="{name}">'
        lines.append(f"| {picture} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    possible = sum(bool(set(words.split()) & set(labels)) for words in RIGHT.values() for labels in sets)
    return text, text.count("**") // 2, possible


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="a model folder; the bundled one without")
    options = parser.parse_args()
    name = f"local-dir:{options.model.resolve()}" if options.model else "nano"
    encoder = load_model(name, device="cpu", precision="fp32")
    right = possible = 0
    told = []
    for sets in (LABEL_SETS[:5], LABEL_SETS[5:]):
        text, of_these, could_be = table(encoder, sets)
        right, possible = right + of_these, possible + could_be
        told.append(text)
    told.append(f"Where a word of the list is right, so is the answer in {right} of {possible}.\n")
    sys.stdout.write("\n".join(told))


if __name__ == "__main__":
    main()
