"""Every measure of the model card, for any model folder: `python -m training.evaluate FOLDER` writes JSON.

Images go through the model's own preprocessing as in `clipcli classify`. Top-1 among k random classes is
the exact expectation over all choices of k - 1 other classes. Intervals are Wilson's, 95 %, over images.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipcli import build_classifier, load_model
from clipcli.images.resize import resize
from clipcli.scoring.metrics import Scores, accuracy, ranks, wilson_interval
from clipcli.stages import load_pixels
from training.captions import ENSEMBLE, SINGLE, photo_classes
from training.catalogue import EmojiNames, SourceImage
from training.photographs import photographs
from training.prepare import fashion
from training.render import Masters, load
from training.sources import BY_NAME, with_role
from training.splits import CLDR_NAME, COMMON, DEVELOPMENT_STYLE, FINAL_STYLE, HELD_OUT, NEVER_TRAINED
from training.words import CONCRETE, WordNet

ROOT = Path(__file__).parents[1]
EXAMPLE_FOLDERS = ("examples/drawings", "examples/photographs")  # under ROOT; the tasks are called alike
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
BY_PICTURES = "top-1, by pictures of other styles in place of names"
Features = npt.NDArray[np.float32]  # (N, D) unit norm


@dataclass(frozen=True)
class Task:
    """Images, what they may be called, and which name is right.

    Args:
        among: top-1 is also computed among this many random classes.
        others: images of the same classes in other styles, and their labels.
    """

    name: str
    images: list[npt.NDArray[np.uint8]]
    classnames: list[str]
    labels: list[int]
    among: tuple[int, ...] = ()
    others: tuple[list[npt.NDArray[np.uint8]], list[int]] = ([], [])


@dataclass(frozen=True)
class Measure:
    """One row of the card; shares of 1."""

    task: str
    measure: str
    single: float
    low: float
    high: float
    ensemble: float
    ensemble_low: float
    ensemble_high: float
    chance: float
    pictures: int
    classes: int


def right_among(rank: npt.NDArray[np.int64], classes: int, k: int) -> npt.NDArray[np.float64]:
    """The chance that none of the classes above is among k - 1 others drawn from all -> (N,)."""
    total = math.comb(classes - 1, k - 1)
    return np.array([math.comb(max(classes - 1 - int(r), 0), k - 1) / total for r in rank])


def image_features(encoder: Any, images: Sequence[npt.NDArray[np.uint8]]) -> Features:
    """(H, W, 3) uint8 each, in the model's own preprocessing -> (N, D)."""
    return np.concatenate([
        encoder.encode_images(np.stack([fitted(p, encoder) for p in images[i : i + 256]]))
        for i in range(0, len(images), 256)
    ])  # fmt: skip


def class_means(features: Features, labels: Sequence[int], classes: int) -> Features:
    """The mean feature of each class, unit norm; 0 for one without an image -> (C, D)."""
    total = np.zeros((classes, features.shape[1]), np.float32)
    np.add.at(total, list(labels), features)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9), np.float32)


def measures(encoder: Any, task: Task) -> list[Measure]:
    """Top-1, top-5 and top-1 among fewer classes, with one template and with the default ensemble.

    Where there are images in other styles, top-1 also with their mean in place of each name: this is how far
    the image tower alone would get.
    """
    features = image_features(encoder, task.images)
    single, ensemble = (
        _shares(build_classifier(encoder, task.classnames, templates).cosines(features), task)
        for templates in (SINGLE, ENSEMBLE)
    )
    chances = _chances(task)
    rows = [_measure(task, name, single[name], ensemble[name], chances[name]) for name in single]
    images, labels = task.others
    if images:
        means = class_means(image_features(encoder, images), labels, len(task.classnames))
        share = accuracy(features @ means.T, task.labels, (1,))["acc1"]
        rows.append(_measure(task, BY_PICTURES, share, share, chances["top-1"]))
    return rows


def _shares(cosines: Scores, task: Task) -> dict[str, float]:
    """How often (N, C) cosines are right, by the name of the measure."""
    classes, rank = len(task.classnames), ranks(cosines, task.labels)
    accuracies = accuracy(cosines, task.labels, (1, 5))
    shares = {"top-1": accuracies["acc1"]}
    if classes > 20:
        shares["top-5"] = accuracies["acc5"]
    return shares | {f"among {k} random": float(np.mean(right_among(rank, classes, k))) for k in task.among}


def _chances(task: Task) -> dict[str, float]:
    """What guessing would give, by the name of the measure."""
    classes = len(task.classnames)
    return {"top-1": 1 / classes, "top-5": 5 / classes} | {f"among {k} random": 1 / k for k in task.among}


def _measure(task: Task, name: str, single: float, ensemble: float, chance: float) -> Measure:
    count = len(task.labels)
    intervals = (single, *wilson_interval(single, count), ensemble, *wilson_interval(ensemble, count))
    return Measure(task.name, name, *intervals, chance, count, len(task.classnames))


def fitted(image: npt.NDArray[np.uint8], encoder: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (S, S, 3), resized for the model."""
    return np.asarray(resize(Image.fromarray(image), encoder.preprocess))


def on_white(master: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A premultiplied RGBA master on white -> (S, S, 3)."""
    return master[..., :3] + (255 - master[..., 3:])


def tasks(masters: Masters, images: Sequence[SourceImage], emoji: EmojiNames, wordnet: WordNet) -> list[Task]:
    """The tasks made of masters."""
    where: dict[str, dict[str, int]] = {}
    for row, image in enumerate(images):
        for name in image.names:
            where.setdefault(image.source, {}).setdefault(name, row)
    found = []
    for style, note in ((FINAL_STYLE, "EmojiOne"), (DEVELOPMENT_STYLE, "OpenMoji")):
        rows = {
            noun: row
            for noun in COMMON
            if (row := _first(where[style], CLDR_NAME.get(noun, noun), noun, f"{noun} face")) is not None
        }
        found.append(_task(f"{note}, common nouns", masters, rows, (10, 30)))
    trained = {p.names[0] for p in images if p.emoji and p.source not in NEVER_TRAINED} - set(HELD_OUT)
    for style, note in ((FINAL_STYLE, "EmojiOne"), (DEVELOPMENT_STYLE, "OpenMoji")):
        seen = {
            name: row
            for name, row in where[style].items()
            if name in trained and not name.startswith("flag of")
        }
        found.append(_task(f"{note}, all trained concepts", masters, seen))
    for style, note in (
        (FINAL_STYLE, "EmojiOne"),
        (DEVELOPMENT_STYLE, "OpenMoji"),
        ("noto", "Noto"),
        ("fluent-3d", "Fluent 3D"),
    ):
        held = {name: row for name in HELD_OUT if (row := where[style].get(name)) is not None}
        task = _among_all(_task(f"held-out concepts, {note}", masters, held, (10,)), HELD_OUT)
        found.append(replace(task, others=_other_styles(masters, where, style)))
        nouns = {other.name: other for other in found}.get(f"{note}, common nouns")
        if nouns:
            beside = _among_all(task, [*HELD_OUT, *nouns.classnames])
            found.append(replace(beside, name=f"held-out concepts beside the common nouns, {note}", among=()))
    found.append(stamps_task(masters, images, wordnet))
    return found


def _first(rows: Mapping[str, int], *names: str) -> int | None:
    return next((rows[name] for name in names if name in rows), None)


def _task(name: str, masters: Masters, rows: Mapping[str, int], among: tuple[int, ...] = ()) -> Task:
    return Task(
        name, [on_white(masters[row]) for row in rows.values()], list(rows), list(range(len(rows))), among
    )


def _other_styles(
    masters: Masters, where: Mapping[str, Mapping[str, int]], style: str
) -> tuple[list[npt.NDArray[np.uint8]], list[int]]:
    """The held-out concepts in the coloured emoji sets that another author drew, and their labels."""
    drawn = [
        (row, label)
        for source in with_role("train")
        if source.style == "emoji" and _author(source.name) != _author(style)
        for label, name in enumerate(HELD_OUT)
        if (row := where.get(source.name, {}).get(name)) is not None  # test_folders.py draws a few sources
    ]
    return [on_white(masters[row]) for row, _ in drawn], [label for _, label in drawn]


def _author(source: str) -> str:
    """The first of a source's authors."""
    return BY_NAME[source].author.split(";")[0]


def _among_all(task: Task, classnames: list[str]) -> Task:
    """The same images among all of the class names, not only those that have an image."""
    labels = [classnames.index(task.classnames[label]) for label in task.labels]
    return replace(task, classnames=classnames, labels=labels)


def stamps_task(masters: Masters, images: Sequence[SourceImage], wordnet: WordNet) -> Task:
    """Tux Paint's stamps whose caption is a thing of one or two words."""
    kept = [
        (row, p.names[0])
        for row, p in enumerate(images)
        if p.source == "tuxpaint" and len(p.names[0].split()) <= 2
        and (sense := wordnet.sense(p.names[0])) is not None and sense.lexfile in CONCRETE
    ]  # fmt: skip
    classnames = sorted({name for _, name in kept})
    labels = [classnames.index(name) for _, name in kept]
    return Task("Tux Paint stamps", [on_white(masters[row]) for row, _ in kept], classnames, labels, (10, 30))


def fashion_task(folder: Path) -> Task:
    """Fashion-MNIST's test split, with its own class names."""
    pixels, labels = fashion(folder, "t10k")
    return Task(
        "Fashion-MNIST test",
        [np.repeat(p[..., None], 3, 2) for p in pixels],
        list(FASHION_NAMES),
        labels.tolist(),
    )


def folder_task(encoder: Any, folder: Path, name: str, labels: Path | None = None) -> Task:
    """The images of a folder: one of `EXAMPLE_FOLDERS`, or photographs of one's own.

    Args:
        encoder: whose preprocessing is used.
        folder: where the images are.
        name: of the task.
        labels: a table with the columns image and label; None is labels.csv in the folder.
    """
    with (labels or folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [(folder / row["image"], row["label"]) for row in csv.DictReader(file)]
    return photo_task(encoder, rows, name)


def photo_task(encoder: Any, rows: Sequence[tuple[Path, str]], name: str) -> Task:
    """Image files, each with what it shows, among all that any of them shows."""
    classnames = sorted({label for _, label in rows})
    images = [load_pixels(str(path), encoder.preprocess) for path, _ in rows]
    among = (10,) if len(classnames) > 20 else ()
    return Task(name, images, classnames, [classnames.index(label) for _, label in rows], among)


def imagenet_task(encoder: Any, folder: Path, name: str) -> Task:
    """Photographs whose file names begin with WordNet's number of their class, among all names of ImageNet.

    Two classes that share a name are one.
    """
    from timm.data import ImageNetInfo

    info, names = ImageNetInfo(), photo_classes()
    row_of = {info.index_to_label_name(row): row for row in range(len(names))}
    found = [(path, row_of.get(path.name.split("_")[0])) for path in sorted(folder.iterdir())]
    classnames = list(dict.fromkeys(names))
    kept = [(path, classnames.index(names[row])) for path, row in found if row is not None]
    images = [load_pixels(str(path), encoder.preprocess) for path, _ in kept]
    return Task(name, images, classnames, [label for _, label in kept], (10,))


def folder_measures(encoder: Any, folder: Path, name: str) -> list[Measure]:
    """The measures of a folder with labels.csv (image, label)."""
    return measures(encoder, folder_task(encoder, folder, name))


def photo_tasks(
    encoder: Any, work: Path, folders: Sequence[Sequence[Path]] = (), imagenet: Path | None = None
) -> list[Task]:
    """The everyday photographs, and those that the caller names."""
    everyday = [(found.file, found.label) for found in photographs(work)]
    tasks = [photo_task(encoder, everyday, "photographs, everyday nouns")]
    for number, (folder, *labels) in enumerate(folders, start=1):
        tasks.append(folder_task(encoder, folder, f"photographs {number}", *labels))
    return tasks + ([imagenet_task(encoder, imagenet, "photographs, ImageNet's names")] if imagenet else [])


def evaluate(
    model: Path, work: Path, folders: Sequence[Sequence[Path]] = (), imagenet: Path | None = None
) -> list[Measure]:
    """All measures of a model folder.

    Args:
        model: in open_clip's local format.
        work: holds the masters and the unpacked packages.
        folders: further photographs: a folder, and the table of their labels if it is not in the folder.
        imagenet: a folder of photographs named as in ImageNet.
    """
    encoder = load_model(f"local-dir:{model.resolve()}", device="cpu", precision="fp32")
    masters, images = load(work / "masters")
    emoji = EmojiNames(work / "unpacked" / "emojibase" / "package" / "en" / "data.json")
    wordnet = WordNet(work / "unpacked" / "wordnet" / "package" / "dict")
    every = [*tasks(masters, images, emoji, wordnet), fashion_task(work / "unpacked" / "fashion-mnist")]
    every += [folder_task(encoder, ROOT / name, name) for name in EXAMPLE_FOLDERS]
    every += photo_tasks(encoder, work, folders, imagenet)
    return [row for task in every for row in measures(encoder, task)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the measures of a model folder as JSON to stdout or a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "training" / "build")
    parser.add_argument(
        "--photos", type=Path, nargs="+", action="append", default=[], metavar="FOLDER [LABELS]",
        help="a folder of photographs, and their labels (image,label) if they are not in its labels.csv",
    )  # fmt: skip
    parser.add_argument(
        "--imagenet", type=Path, help="a folder of photographs whose names begin with WordNet's numbers"
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    found = evaluate(options.model, options.work, options.photos, options.imagenet)
    text = json.dumps([asdict(row) for row in found], indent=1) + "\n"
    if options.output:
        options.output.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
