"""Speed of clipcli beside open_clip's own loops: `make bench`.

Both sides load the same weights and see the same pictures, labels and threads. They run in turn, several
times, in one process; what is printed are ratios, because the times themselves say more about the
machine than about the program. Start-up is not counted.

    .venv/bin/python bench/run.py [--images FOLDER] [--model FOLDER] [--repeats 5] [--cached 20000]

`--cached N` then classifies N pictures by ImageNet's 1000 classes as whole processes, cold and cached,
and prints the peak memory of a tenth of them beside that of all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

import clipcli
from clipcli import prompts
from clipcli.classifier import build_classifier
from clipcli.encoder import OpenClipEncoder
from clipcli.models import locate, parse_model
from clipcli.pipeline import EngineOptions, classify
from clipcli.sources import Inputs

ROOT = Path(__file__).parent.parent
LABELS = ["cat", "fish", "sun", "house", "bicycle", "rocket", "umbrella", "camera", "book", "key"]
BATCH = 32


class Peer:
    """open_clip used as its README shows: load, transform and encode picture after picture, in batches."""

    def __init__(self, folder: str, precision: str = "fp32") -> None:
        name = f"local-dir:{folder}"
        self.model, self.transform = open_clip.create_model_from_pretrained(name, precision=precision)
        self.tokenizer = open_clip.get_tokenizer(name)
        self.model.eval()

    def classes(self, classnames: list[str], templates: list[str]) -> torch.Tensor:
        return open_clip.build_zero_shot_classifier(self.model, self.tokenizer, classnames, templates)

    def classify(self, paths: list[str], weights: torch.Tensor) -> list[int]:
        found: list[int] = []
        for start in range(0, len(paths), BATCH):
            images = [self.transform(_rgb(path)) for path in paths[start : start + BATCH]]
            with torch.no_grad():
                features = self.model.encode_image(torch.stack(images), normalize=True)
                logits = self.model.logit_scale.exp() * features @ weights
            found += logits.softmax(dim=-1).argmax(dim=-1).tolist()
        return found


def _rgb(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def ours(encoder: OpenClipEncoder, paths: list[str], classifier: Any) -> list[int]:
    outcomes = classify(paths, encoder, classifier, options=EngineOptions(batch_size=BATCH))
    return [int(outcome.scores.argmax()) for outcome in outcomes if hasattr(outcome, "scores")]


def in_turn(candidates: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each candidate, run one after the other, `repeats` times after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(title: str, seconds: dict[str, list[float]], amount: int, unit: str) -> None:
    """Rates, and ratios to the first candidate, turn by turn: median (lowest to highest)."""
    print(f"\n{title}")
    first = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(first, times, strict=True)]
        rate = amount / statistics.median(times)
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {name:<34}{rate:>9.1f} {unit}/s   {statistics.median(ratios):>6.2f}x {spread}")


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a process, started by a small one: memory at the fork would count."""
    launcher = "import resource, subprocess, sys, time; start = time.perf_counter();"
    launcher += "subprocess.run(sys.argv[1:], check=True); print(time.perf_counter() - start,"
    launcher += "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    done = subprocess.run(
        [sys.executable, "-c", launcher, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def cached(model: str, paths: list[str], amount: int) -> None:
    """Whole processes: everything encoded, then everything from the cache; and their memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "pictures")
        folder.mkdir()
        data = [Path(path).read_bytes() for path in paths]
        for number in range(amount):  # trailing bytes make each file's content its own
            (folder / f"{number:07}").write_bytes(data[number % len(data)] + number.to_bytes(4, "little"))
            os.utime(folder / f"{number:07}", (1_500_000_000, 1_500_000_000))
        names = sorted(map(str, folder.iterdir()))
        print(f"\n{amount} pictures, 1000 classes, whole processes")
        for label, some in (
            ("a tenth, cold", names[: amount // 10]),
            ("all, cold", names),
            ("all, cached", names),
        ):
            Path(name, "list").write_text("\n".join(some))
            command = [sys.executable, "-m", "clipcli", "classify", "--from-file", f"{name}/list", "-q"]
            command += ["-c", "imagenet", "-t", "photo", "-m", model, "--cache", f"{name}/cache"]
            seconds, memory = measured([*command, "-o", f"{name}/out.csv"])
            rate = len(some) / seconds
            print(f"  {label:<34}{rate:>9.1f} images/s   {seconds:>7.1f} s   peak {memory:.0f} MB")


def main() -> None:
    """Compare, and print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default=str(ROOT / "examples"))
    parser.add_argument("--model", default=str(ROOT / "clipcli" / "assets" / "nano"), help="a local folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, default=20, help="for the comparison of prompts")
    parser.add_argument("--cached", type=int, default=0, metavar="N")
    arguments = parser.parse_args()

    paths = [path for path in Inputs((arguments.images,)) if isinstance(path, str)]
    templates = list(prompts.load_templates(["imagenet7"]))
    prompt_set = prompts.build_prompts([prompts.ClassSpec(label) for label in LABELS], templates)
    files = locate(parse_model(f"local-dir:{arguments.model}"))
    peer = Peer(arguments.model)
    weights = peer.classes(LABELS, templates)
    encoders = {precision: OpenClipEncoder(files, "cpu", precision) for precision in ("fp32", "auto")}
    classifiers = {
        precision: build_classifier(encoder, prompt_set) for precision, encoder in encoders.items()
    }

    print(f"{len(paths)} pictures, {len(LABELS)} classes, {arguments.model}")
    print(f"clipcli {clipcli.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}")
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    seconds = in_turn(
        {
            "open_clip, plain loop, fp32": lambda: peer.classify(paths, weights),
            "clipcli, fp32": lambda: ours(encoders["fp32"], paths, classifiers["fp32"]),
            f"clipcli, auto ({encoders['auto'].precision})": lambda: ours(
                encoders["auto"], paths, classifiers["auto"]
            ),
        },
        arguments.repeats,
    )
    report("classify", seconds, len(paths), "images")

    names = [spec.name for spec in prompts.load_classes("imagenet")[: arguments.classes]]
    eighty = list(prompts.load_templates(["imagenet80"]))
    many = prompts.build_prompts([prompts.ClassSpec(name) for name in names], eighty)
    seconds = in_turn(
        {
            "open_clip, fp32": lambda: peer.classes(names, eighty),
            "clipcli, fp32": lambda: build_classifier(encoders["fp32"], many),
            f"clipcli, auto ({encoders['auto'].precision})": lambda: build_classifier(encoders["auto"], many),
        },
        min(arguments.repeats, 3),
    )
    report(f"prompts, {len(names)} classes x 80 templates", seconds, len(names) * len(eighty), "prompts")
    if arguments.cached:
        cached(arguments.model, paths, arguments.cached)


if __name__ == "__main__":
    main()
