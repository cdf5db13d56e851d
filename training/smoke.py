"""`make nano-smoke`: every step of the recipe on drawn shapes, in about a minute, with no network.

It uses the code that `make nano` uses: catalogue rows, masters, captions, both towers, export and evaluation.
Only the packages (drawn shapes in their place), WordNet (a few lines of it) and the text teacher (hashed
words) are small.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw

from clipcli.images.resize import resize
from clipcli.models.two_trunks import SIZE
from clipcli.records import Encoder
from training.__main__ import export_calibrated, train_images
from training.budget import Budget
from training.captions import captions, dominant_colour, photo_classes
from training.catalogue import SourceImage
from training.class_words import ClassWords
from training.evaluate import Measure, Task, measures, on_white
from training.examples import Examples, sampling_weights
from training.image_tower import Settings
from training.joined import CONFIG as JOINED
from training.joined import FURTHER_CLASSES, PREPROCESS, Shown, fitted_together, look, networks
from training.prepare import MASTER, shrunk
from training.render import load, render
from training.text_steps import finish_text, log, reword_text, train_text
from training.text_tower import hashed
from training.words import WordNet

COLOURS = {"red": (215, 40, 45), "green": (70, 160, 70), "blue": (50, 115, 205), "yellow": (250, 210, 60)}
CORNERS = {"triangle": 3, "square": 4, "circle": 60}
_VARIANTS = 8
_NOUNS = """\
00000001 06 n 02 square 0 box 0 001 @ 00000004 n 0000 | a shape
00000002 06 n 01 circle 0 001 @ 00000004 n 0000 | a shape
00000003 06 n 01 triangle 0 001 @ 00000004 n 0000 | a shape
00000004 06 n 02 figure 0 pattern 0 000 | a shape
00000005 06 n 01 star 0 001 @ 00000004 n 0000 | a shape that no picture shows
00000006 06 n 01 heart 0 001 @ 00000004 n 0000 | a shape that no picture shows
"""


@dataclass(frozen=True)
class SmokeResult:
    """What a smoke run shows: the mean loss of its first and last steps, top-1, and the model folder."""

    first_loss: float
    last_loss: float
    top1: Measure
    folder: Path


def draw_shapes(folder: Path) -> list[SourceImage]:
    """Polygons in four colours, each a few times, larger or smaller and turned."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    images = []
    for (colour, rgb), (shape, corners), i in itertools.product(
        COLOURS.items(), CORNERS.items(), range(_VARIANTS)
    ):
        image = Image.new("RGBA", (64, 64))
        turn, radius = generator.uniform(0, 2 * math.pi), generator.uniform(18, 30)
        angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
        points = [(32 + radius * math.cos(angle), 32 + radius * math.sin(angle)) for angle in angles]
        ImageDraw.Draw(image).polygon(points, fill=rgb)
        path = folder / f"{colour}-{shape}-{i}.png"
        image.save(path)
        images.append(SourceImage("shapes", path.stem, (f"{colour} {shape}", shape), file=str(path)))
    return images


def tiny_wordnet(folder: Path) -> WordNet:
    """A WordNet of the shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.noun").write_text(_NOUNS)
    index = [(line.split()[4], line.split()[0]) for line in _NOUNS.splitlines()]
    (folder / "index.noun").write_text("".join(f"{word} n 1 1 @ 1 0 {offset}\n" for word, offset in index))
    return WordNet(folder)


def smoke(work: Path, text_steps: int = 30, image_steps: int = 120) -> SmokeResult:
    """Run every step in `work`."""
    wordnet = tiny_wordnet(work / "wordnet")
    render(draw_shapes(work / "shapes"), work / "masters", processes=1)
    masters, images = load(work / "masters")
    train_text(images, wordnet, hashed(), work / "text.pt", Budget(steps=text_steps), described=60)
    found = Examples(
        masters=shrunk(masters, list(range(len(images)))),
        targets=[captions(p, wordnet, dominant_colour(m)) for p, m in zip(images, masters, strict=True)],
        weights=sampling_weights(
            [p.names[0] for p in images], [p.source for p in images], [1.0] * len(images)
        ),
        mono=torch.zeros(len(images), dtype=torch.bool),
        flip=torch.ones(len(images), dtype=torch.bool),
        photos=torch.zeros(0, 4, MASTER, MASTER, dtype=torch.uint8),
        photo_targets=[],
    )
    settings = Settings(Budget(steps=image_steps), batch_size=32, ema=0.9)
    training, weights = train_images(found, work / "text.pt", work / "image.pt", settings, None)
    finished, finish = work / "finished.pt", Budget(steps=text_steps)
    finish_text(images, wordnet, hashed(), work / "text.pt", finished, finish, training.concepts())
    weights.update(torch.load(finished, weights_only=True))
    reword_text(images, wordnet, weights, work / "reworded.pt", finish)
    weights.update(torch.load(work / "reworded.pt", weights_only=True))
    classnames = sorted({p.names[0] for p in images})
    task = Task(
        "shapes", [on_white(m) for m in masters], classnames, [classnames.index(p.names[0]) for p in images]
    )
    folder = work / "nano"
    _, of_drawings = export_calibrated(weights, work / "drawings", task)
    size, encoder = export_calibrated(joined_with_noise(weights, of_drawings, task), folder, task, JOINED)
    log(f"zipped: {size / 1e6:.1f} MB")
    top1 = measures(encoder, task)[0]
    tenth = max(1, len(training.losses) // 10)
    return SmokeResult(
        float(np.mean(training.losses[:tenth])), float(np.mean(training.losses[-tenth:])), top1, folder
    )


def joined_with_noise(
    weights: dict[str, torch.Tensor], encoder: Encoder, task: Task
) -> dict[str, torch.Tensor]:
    """The model of shapes beside a network of random weights, for photographs that are noise."""
    torch.manual_seed(0)
    trunk = networks(timm.create_model("tf_efficientnet_lite0").state_dict(), weights)
    generator = np.random.default_rng(0)
    labels = [*(each.name for each in FURTHER_CLASSES), "person?", *[""] * 8]
    noise = [generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in labels]
    shapes = [np.asarray(resize(Image.fromarray(image), PREPROCESS)) for image in task.images[::4]]
    words = [ClassWords(name, (), ()) for name in photo_classes()]
    shown = [Shown(look(trunk, noise), labels)]
    return fitted_together(trunk, weights, encoder, words, shown, look(trunk, shapes))


def main() -> None:
    """Run it and stop with an error if nothing was learned."""
    parser = argparse.ArgumentParser(prog="python -m training.smoke", description=__doc__)
    parser.add_argument("--work", type=Path, help="where to leave the model; a temporary folder otherwise")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        result = smoke(options.work or Path(folder))
        log(f"loss {result.first_loss:.2f} -> {result.last_loss:.2f}, top-1 {result.top1.single:.0%}")
        if not (result.last_loss < 0.8 * result.first_loss and result.top1.single > 3 * result.top1.chance):
            raise SystemExit("the smoke run learned nothing")


if __name__ == "__main__":
    main()
