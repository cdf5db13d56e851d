"""`clipcli probe`: what is asked for, the examples and the words, and what is done with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from clipcli.cli import console
from clipcli.errors import UsageError
from clipcli.files import shown as shown_path

if TYPE_CHECKING:
    from clipcli.cli.image_options import Picked
    from clipcli.cli.passes import Passes
    from clipcli.models.request import ModelRequest
    from clipcli.output.labelled import LabelledFeatures
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.probe import ProbeOptions
    from clipcli.scoring.probe_choice import Task

_SEEDS = 5


class Asked(NamedTuple):
    """What is to be fitted, or measured if there are shots, and the files that it goes to."""

    options: ProbeOptions
    shots: Sequence[int]
    seeds: int
    outputs: Sequence[Path]


def asked(options: ProbeOptions, shots: str | None, seeds: int | None, outputs: Sequence[Path]) -> Asked:
    """See that the options fit together, before the work is done.

    Raises:
        UsageError: they do not, or an output has no format.
        OutputError: a file cannot be written.
    """
    from clipcli.files import check_place

    if seeds is not None and shots is None:
        raise UsageError("`seeds` needs `shots`", "Such as 1,2,4,8,16.")
    suffixes = (".safetensors",) if shots is None else (".csv", ".svg")
    for path in outputs:
        if path.suffix.lower() not in suffixes:
            raise UsageError(
                f"cannot write {'a classifier' if shots is None else 'a curve'} as {path.name}",
                f"Use {' or '.join(suffixes)}; the figures of `shots` are .csv or .svg.",
            )
        check_place(path)
    return Asked(options, _numbers(shots) if shots else (), _SEEDS if seeds is None else seeds, outputs)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(f"`shots` must be whole numbers, not {text}", "Such as 1,2,4,8,16.") from None


# --- Examples and words --------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The examples, and how many have which true label; without one it is an empty text."""

    images: Sequence[Item | ImageFailure]
    counts: Counter[str]

    @property
    def labelled(self) -> Counter[str]:
        """The same without images that have no true label."""
        return Counter({truth: count for truth, count in self.counts.items() if truth})


def examples_of(paths: Sequence[str], column: str | None, picked: Picked) -> Found:
    """The images that folders and tables name, with their true labels.

    Raises:
        UsageError: there are none, none has a label, or one has several.
    """
    from clipcli.cli import truths
    from clipcli.records import ImageFailure

    if not paths:
        raise UsageError(
            "no examples are named", "Name a folder with a subfolder for each class, or a table."
        )
    tables = [path for path in paths if _is_table(path)]
    folders = [path for path in paths if path not in tables]
    sources = [truths.source([], None, table, column) for table in tables]
    sources += [truths.source(folders, None, None, None if tables else column)] if folders else []
    images: list[Item | ImageFailure] = []
    counts: Counter[str] = Counter()
    for source in sources:
        inputs = source.inputs(picked, None)
        new = list(source.labelled(inputs))
        counts += truths.counted(new, inputs)
        images += [one for one in new if isinstance(one, ImageFailure) or one.truth]
    _check_labels(images)
    if counts[""]:
        console.warn(f"left out, without a label: {counts['']} of {counts.total()} images")
    return Found(images, counts)


def _is_table(path: str) -> bool:
    from clipcli.inputs.tables.parted import is_parted
    from clipcli.inputs.tables.recognise import table_format

    return is_parted(path) or (table_format(path) is not None and Path(path).is_file())


def _check_labels(images: Sequence[Item | ImageFailure]) -> None:
    """Refuse several labels of one image.

    Raises:
        UsageError: an image has several, in one place or in two.
    """
    from clipcli.records import ImageFailure
    from clipcli.scoring.targets import SEPARATOR

    known: dict[str, str] = {}
    for image in images:
        if isinstance(image, ImageFailure) or not image.truth:
            continue
        first = known.setdefault(os.path.realpath(image.name), image.truth)
        if SEPARATOR in image.truth or first != image.truth:
            both = image.truth if first == image.truth else f"{first} and {image.truth}"
            raise UsageError(f"{image.name} has several labels: {both}", "Give each example one label.")


class Words(NamedTuple):
    """The words of the classes, as the options name them."""

    labels: str | None
    label: list[str] | None
    classes: str | None
    templates: list[str] | None
    concept: str
    no_words: bool

    def prompts(self, found: Found) -> PromptSet | None:
        """The prompts of the labels that are named, or else of the true labels; None without words.

        Raises:
            UsageError: words are named and refused at once, or there is one class only.
        """
        from clipcli.cli import session, truths

        named = self.labels is not None or self.label or self.classes
        if self.no_words:
            if named or self.templates or self.concept:
                raise UsageError("`no_words` takes neither labels nor templates", "Leave one of them out.")
            return None
        if named:
            return session.prompt_set(self.labels, self.label, self.classes, self.templates, self.concept)
        return truths.own_labels(found.labelled, None, self.templates, self.concept)


# --- Work ----------------------------------------------------------------------------------------


def measure(
    asked: Asked, found: Found, prompts: PromptSet | None, request: ModelRequest, passes: Passes
) -> None:
    """Encode the examples, and fit a probe, or measure many.

    Raises:
        typer.Exit: examples could not be read, or the run was interrupted.
        UsageError: examples from which nothing can be learned.
        OutputError: a file cannot be written.
    """
    from clipcli.output.labelled import LabelledFeatures
    from clipcli.scoring.probe_classes import check_words

    collected = LabelledFeatures()
    with passes.encoding.opened(request) as run:
        encoder = run.encoder()
        words = run.classifier(encoder, prompts) if prompts else None
        if words is not None:
            check_words(words)
        summary = passes.over(found.images, run, encoder, collected, lambda: len(found.images))
    if asked.shots:
        _measure_curve(asked, encoder, collected, words)
    else:
        _fit(asked, encoder, collected, words)
    summary.print(", ".join(map(shown_path, asked.outputs)))
    if summary.failed and not passes.allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _fit(asked: Asked, encoder: Encoder, collected: LabelledFeatures, words: Classifier | None) -> None:
    from clipcli import api, learning
    from clipcli.cli import probe_figures, progress

    options = asked.options
    with progress.working("fitting"):
        classifier, report = learning.fit_probe(
            encoder,
            collected.features(),
            collected.truths,
            words,
            method=options.method,
            seed=options.seed,
        )
    probe_figures.show(report)
    for path in asked.outputs:
        api.save_classifier(classifier, path)


def _measure_curve(
    asked: Asked, encoder: Encoder, collected: LabelledFeatures, words: Classifier | None
) -> None:
    from clipcli.cli import probe_figures, progress
    from clipcli.output.curve_file import write_curve
    from clipcli.scoring.few_shot import few_shot_curve
    from clipcli.scoring.probe_classes import probe_task

    _, task = probe_task(encoder, collected.features(), collected.truths, words)
    _tell_small_classes(task, max(asked.shots))
    with progress.working("fitting"):
        curve = list(few_shot_curve(task, asked.shots, asked.seeds, asked.options))
    probe_figures.show_curve(curve, asked.seeds)
    for path in asked.outputs:
        write_curve(path, curve)


def _tell_small_classes(task: Task, most: int) -> None:
    import numpy as np

    count = np.bincount(task.target)
    small = int(((count > 0) & (count <= most)).sum())
    if small:
        console.warn(
            f"{small} classes have {most} images or fewer: all but one of each are the most examples that"
            " they have"
        )
