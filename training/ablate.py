"""What each choice of the recipe brings: short runs that differ in one (`python -m training.ablate`).

Every run sees the same number of views. They are much shorter than the run that makes the model, so that the
differences are what a choice brings early; the last ones of a long run may be smaller.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clipcli import load_model
from training.__main__ import WORK, train_images
from training.budget import Budget
from training.evaluate import ROOT, Task, folder_measures, measures, tasks
from training.examples import Examples
from training.export import CONFIG, export
from training.image_tower import Settings
from training.prepare import examples, material
from training.text_steps import log
from training.views import Chances

_NO_CHANGES = Chances(0, 0, 0, 0, 0, 0, 0, 0)
_TASKS = {
    "OpenMoji, common nouns": "top-1",
    "held-out concepts, OpenMoji": "top-5",
    "Tux Paint stamps": "among 10 random",
}


@dataclass(frozen=True)
class Choice:
    """One run: how it differs from the recipe.

    Args:
        name: what the table calls it.
        settings, examples: what is changed of them.
        from_photographs: whether the image tower starts from the network of photographs.
    """

    name: str
    settings: Callable[[Settings], Settings] = lambda settings: settings
    examples: Callable[[Examples], Examples] = lambda examples: examples
    from_photographs: bool = True


def first_names_only(examples: Examples) -> Examples:
    """Images whose only caption is their first name: no keywords, synonyms, kinds or colours."""
    return replace(examples, targets=[{next(iter(shares)): 1.0} for shares in examples.targets])


def forgotten(examples: Examples) -> Examples:
    """Nothing kept of what the tower starts from but its weights."""
    nothing = torch.zeros(0, 0)
    return replace(examples, reference=nothing, directions=nothing, direction_names=())


def evenly_drawn(examples: Examples) -> Examples:
    """Every image as often as any other."""
    count = len(examples.weights)
    return replace(examples, weights=np.full(count, 1 / count))


CHOICES = (
    Choice("the recipe"),
    Choice("image tower from random weights", examples=forgotten, from_photographs=False),
    Choice("depthwise filters learn too", settings=lambda s: replace(s, fixed_filters=False)),
    Choice("first blocks learn too", settings=lambda s: replace(s, fixed_blocks=0)),
    Choice("64 pixels", settings=lambda s: replace(s, size=64)),
    Choice("neither resemblance nor class directions", examples=forgotten),
    Choice("no augmentation but moves and backgrounds", settings=lambda s: replace(s, chances=_NO_CHANGES)),
    Choice("captions: first names only", examples=first_names_only),
    Choice("pictures drawn evenly", examples=evenly_drawn),
)


def run(
    choice: Choice, found: Examples, work: Path, steps: int, wanted: Sequence[Task], photos: Path | None
) -> dict[str, float]:
    """Train by one choice and measure -> the share of each measure."""
    with tempfile.TemporaryDirectory() as folder:
        start = work / "unpacked" / "lite0" if choice.from_photographs else None
        settings = choice.settings(Settings(Budget(steps=steps)))
        checkpoint = Path(folder) / "image.pt"
        _, weights = train_images(choice.examples(found), work / "text.pt", checkpoint, settings, None, start)
        model = Path(folder) / "nano"
        export(weights, model, sized(settings.size, Path(folder) / "sized.json"))
        encoder = load_model(f"local-dir:{model}", device="cpu", precision="fp32")
        rows = [row for task in wanted for row in measures(encoder, task) if row.measure == _TASKS[task.name]]
        rows += folder_measures(encoder, ROOT / "examples/drawings", "examples/drawings")[:1]
        if photos:
            rows += folder_measures(encoder, photos, "photographs")[-1:]
    return {f"{row.task}, {row.measure}": row.single for row in rows}


def sized(size: int, path: Path) -> Path:
    """Write nano's configuration for images of another size."""
    config = json.loads(CONFIG.read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = config["preprocess_cfg"]["size"] = size
    path.write_text(json.dumps(config))
    return path


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """One line a choice, in per cent."""
    heads = list(next(iter(results.values())))
    lines = ["| choice | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for name, shares in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * shares[head]:.1f}" for head in heads) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every choice; the file is written anew after each."""
    parser = argparse.ArgumentParser(prog="python -m training.ablate", description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK, help="the work folder of `python -m training`")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--photos", type=Path, help="a folder of photographs with labels.csv (image,label)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    found = material(options.work)
    every = tasks(found.masters, found.images, found.emoji, found.wordnet)
    wanted = [task for task in every if task.name in _TASKS]
    shown = examples(found, options.work)
    results: dict[str, dict[str, float]] = {}
    for choice in CHOICES:
        results[choice.name] = run(choice, shown, options.work, options.steps, wanted, options.photos)
        log(f"{choice.name}: {results[choice.name]}")
        options.output.write_text(json.dumps({"steps": options.steps, "results": results}, indent=1) + "\n")
    log("\n" + table(results))


if __name__ == "__main__":
    main()
