"""Images a second from files to labels, models side by side: `python -m training.speed FOLDER OTHER_FOLDER`.

The models take turns over the images of examples/drawings/, many times each, so that whatever else the
machine does falls on all of them alike; the median of the turns counts, and its ratio to the first model's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipcli import build_classifier, load_model
from clipcli.inputs.item import FileItem
from clipcli.pipeline import classify
from clipcli.scoring.classifier import Classifier

ROOT = Path(__file__).parents[1]


def images_per_second(paths: Sequence[str], encoder: Any, classifier: Classifier) -> float:
    """Classify all files once."""
    began = time.perf_counter()
    count = sum(1 for _ in classify(map(FileItem, paths), encoder, classifier))
    return count / (time.perf_counter() - began)


def compare(models: Sequence[Path], turns: int, repeats: int) -> dict[str, list[float]]:
    """The speed of each model in each turn; a first turn warms up and is not counted."""
    images = [
        str(path)
        for path in sorted((ROOT / "examples" / "drawings").iterdir())
        if path.suffix in {".png", ".jpg", ".webp"}
    ]
    labels = (ROOT / "examples" / "drawings" / "classes.txt").read_text().splitlines()
    encoders = [
        load_model(f"local-dir:{model.resolve()}", device="cpu", precision="fp32") for model in models
    ]
    classifiers = [build_classifier(encoder, labels) for encoder in encoders]
    speeds: dict[str, list[float]] = {str(model): [] for model in models}
    for turn in range(turns + 1):
        for model, encoder, classifier in zip(models, encoders, classifiers, strict=True):
            speed = images_per_second(images * repeats, encoder, classifier)
            if turn:
                speeds[str(model)].append(speed)
    return speeds


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    speeds = compare(options.models, options.turns, options.repeats)
    first = statistics.median(next(iter(speeds.values())))
    for model, found in speeds.items():
        middle = statistics.median(found)
        sys.stdout.write(
            f"{model}: {middle:.0f} images/s ({min(found):.0f} to {max(found):.0f}), {middle / first:.2f}\n"
        )


if __name__ == "__main__":
    main()
