"""`clipcli eval`: images whose labels are known in, accuracy out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from clipcli.cli import console, fit_options, options
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.inputs.inputs import Inputs
    from clipcli.inputs.truth import Truth
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item
    from clipcli.scoring.evaluation import Evaluation
    from clipcli.scoring.fitting import FitReport
    from clipcli.scoring.targets import Targets


def evaluate(
    inputs: options.Inputs = None,
    truth: options.Truth = None,
    truth_column: options.TruthColumn = None,
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    fit: fit_options.Fit = None,
    min_precision: fit_options.MinPrecision = None,
    coverage: fit_options.Coverage = None,
    seed: fit_options.Seed = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the figures to a .json or .csv file, or a report with all images to an .html file."
            " Can be given several times.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    max_pixels: options.MaxPixels = None,
    exact_decode: options.ExactDecode = False,
    gpu_decode: options.GpuDecode = False,
    truncated: options.Truncated = "error",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    verify: options.Verify = False,
    allow_failures: options.AllowFailures = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log: options.Log = None,
) -> None:
    """Measure how well a model labels images whose true labels are known.

    The true label of an image is the name of the folder that it lies in, unless `--truth` or
    `--truth-column` says where it is. The labels to choose from are those of `--labels` or `--classes`,
    otherwise all true labels. A true label and a label are the same whatever their case, `_` or `-`.

    You see the accuracy with its interval, the calibration error, figures of each class, which classes are
    confused, and images whose true label may be mistaken. If images have several labels, you see the average
    precision of each class.

    With `--fit`, a classifier is fitted to half of the images and measured on the other half. Its file makes
    `clipcli classify` give calibrated scores, the status `unknown` below a threshold for each label, and sets
    of labels: `clipcli eval labelled-photos/ --min-precision 0.95 --fit fitted.safetensors`.

    Exit codes: 0 all images were measured; 1 the run failed; 2 the command was used wrongly;
    3 some images could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli eval labelled-photos/ -o metrics.json`
    """
    console.begin(quiet, verbose, log)
    from clipcli import api
    from clipcli.cli import figures, fitting, mistakes, progress, reports, session, startup
    from clipcli.images.decode import MAX_PIXELS, DecodeOptions
    from clipcli.models.registry import DEFAULT_MODEL
    from clipcli.models.request import ModelRequest
    from clipcli.output.evaluators import evaluator
    from clipcli.output.metrics_file import check_outputs
    from clipcli.output.report.records import About, Judged
    from clipcli.output.report.writer import ReportWriter
    from clipcli.scoring.targets import match_truths

    startup.lift_pillow_limit()
    check_outputs(output or [])
    pages, tables = reports.parted(output or [])
    chosen = fitting.check(fit, min_precision, coverage, seed)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    decoding = DecodeOptions(limit, exact_decode, truncated, gpu_decode)
    with mistakes.told_from_labels(inputs or (), labels):
        source = _source(inputs or [], from_file, truth, truth_column)
        found = source.inputs(include or [], exclude or [], image_column)
    images = source.labelled(found)
    counts = _counted(images)
    _check_truths(counts, found)
    if labels is not None or label or classes:
        prompts = session.prompt_set(labels, label, classes, templates, concept)
    else:
        prompts = _own_labels(counts, source.separator, templates, concept)
    targets = match_truths(counts, prompts.classnames, source.separator)
    left_out = _tell_left_out(counts, targets, source.separator)
    to_fit = fitting.begin(fit, chosen, targets)

    request = ModelRequest(model or DEFAULT_MODEL, pretrained, device, precision, offline)
    summary = progress.Summary()
    with session.opened(request, cache, no_cache, verify) as run:
        encoder = run.encoder()
        classifier = run.classifier(encoder, prompts)
        measured = evaluator(classifier, targets)
        writers = [ReportWriter(path, Judged(classifier, targets)) for path in pages]
        run.run(
            lambda stop: api.classify(
                _measured(images, targets),
                encoder,
                classifier,
                top_k=1,
                score="cosine",
                batch_size=batch_size,
                workers=workers,
                decoding=decoding,
                cache=run.cache,
                stop=stop,
            ),
            [measured, *writers, *([to_fit.collected] if to_fit else [])],
            summary,
            lambda: counts.total() - left_out,
        )
    evaluation = measured.result()
    figures.show(evaluation)
    figures.warn_of_doubtful(evaluation)
    report = to_fit.finish(classifier) if to_fit else None
    counted = {"failed": summary.failed, "left_out": left_out}
    _write_tables(tables, evaluation, encoder, counted, report)
    title = reports.title(inputs, from_file or truth)
    reports.write_all(writers, About(title, encoder.name, prompts.classnames, evaluation), limit, workers)
    summary.print(", ".join(map(str, [*(output or ()), *([fit] if fit else [])])))
    if summary.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _write_tables(
    paths: list[Path],
    evaluation: Evaluation,
    encoder: Encoder,
    counted: dict[str, int],
    fit: FitReport | None,
) -> None:
    """Write the figures to each of some files, with what they are of."""
    from clipcli.output.metrics_file import write_metrics

    about = {"model": encoder.name, "fingerprint": encoder.fingerprint, **counted}
    for path in paths:
        write_metrics(path, evaluation, about, fit)


class _Source(NamedTuple):
    """Which images the user named, and where their true labels are."""

    paths: list[str]
    from_file: str | None
    truth: Truth

    @property
    def separator(self) -> str | None:
        """What parts several labels; the name of a folder is one label."""
        from clipcli.inputs.truth import FolderTruth
        from clipcli.scoring.targets import SEPARATOR

        return None if isinstance(self.truth, FolderTruth) else SEPARATOR

    def inputs(self, include: list[str], exclude: list[str], image_column: str | None) -> Inputs:
        """The images."""
        from clipcli.cli import session
        from clipcli.inputs.inputs import Inputs
        from clipcli.inputs.truth import ColumnTruth

        keep = (self.truth.column,) if isinstance(self.truth, ColumnTruth) else None
        column = image_column and session.as_text(image_column)
        return Inputs(tuple(self.paths), self.from_file, tuple(include), tuple(exclude), column, keep)

    def labelled(self, found: Inputs) -> Iterable[Item | ImageFailure]:
        """The images with their true labels, as often as they are asked for."""
        from clipcli.inputs.truth import Labelled

        images = Labelled(found, self.truth)
        return list(images) if found.is_read_once else images


def _source(paths: list[str], from_file: str | None, truth: str | None, column: str | None) -> _Source:
    from clipcli.cli import session
    from clipcli.inputs.truth import ColumnTruth, FolderTruth, TableTruth, truth_column_of

    column = column and session.as_text(column)
    if truth is not None and not paths and from_file is None:  # the images are those that it labels
        return _Source([], truth, ColumnTruth(truth_column_of(truth, column)))
    if truth is not None:
        return _Source(paths, from_file, TableTruth(truth, column, paths))
    if column is None:
        return _Source(paths, from_file, FolderTruth(paths))
    if from_file is None:
        raise UsageError("`truth_column` names a column, but there is no table", "Name it with `truth`.")
    return _Source(paths, from_file, ColumnTruth(column))


def _counted(images: Iterable[Item | ImageFailure]) -> Counter[str]:
    """How many images have which true label; without one it is an empty text."""
    from clipcli.records import ImageFailure

    return Counter(image.truth or "" for image in images if not isinstance(image, ImageFailure))


def _check_truths(counts: Counter[str], found: Inputs) -> None:
    """Refuse images of which none has a true label.

    Raises:
        UsageError: none has, or there is no image.
    """
    if not counts:
        from clipcli.cli import session

        session.at_least_one(found)
    if not any(counts):
        raise UsageError(
            "no image has a true label",
            "Paths in a table of true labels start at its folder, at the working directory or at an input."
            " Without one, images lie in a folder for each class.",
        )


def _measured(images: Iterable[Item | ImageFailure], targets: Targets) -> Iterator[Item | ImageFailure]:
    """The images whose true label meets a label, and what could not be listed."""
    from clipcli.records import ImageFailure

    for image in images:
        if isinstance(image, ImageFailure) or targets.indices.get(image.truth or ""):
            yield image


def _own_labels(
    truths: Iterable[str], separator: str | None, templates: list[str] | None, concept: str
) -> PromptSet:
    """The prompts of the true labels; in those, a name has spaces for `_`."""
    from clipcli.cli import session
    from clipcli.prompts.class_lists import ClassSpec
    from clipcli.scoring.targets import labels_of

    labels = labels_of(truths, separator)
    if len(labels) < 2:
        hint = "Name the folder whose subfolders are the classes, a table with `truth`, or the `labels`."
        raise UsageError(f"all images have the same true label, {labels[0]!r}", hint)
    specs = [ClassSpec(label, name=label.replace("_", " ").strip()) for label in labels]
    return session.prompts_of(specs, templates, concept)


def _tell_left_out(counts: Counter[str], targets: Targets, separator: str | None) -> int:
    """Name the true labels that meet no label; returns how many images have no other.

    Raises:
        UsageError: all of them.
    """
    from clipcli.cli import figures
    from clipcli.scoring.targets import split_truth

    lost: Counter[str] = Counter()
    for text, count in counts.items():
        lost.update({one: count for one in split_truth(text, separator) if one in targets.unmatched})
    told = figures.some(
        f"{one} ({count}{f', nearest: {near}' if (near := targets.unmatched[one]) else ''})"
        for one, count in lost.most_common()
    )
    left_out = sum(count for text, count in counts.items() if not targets.indices[text])
    if left_out == counts.total():
        raise UsageError("no true label is one of the labels", f"The true labels are: {told}.")
    if lost:
        console.warn(f"true labels that are none of the labels: {told}")
    if left_out:
        console.warn(
            f"left out, without a true label among the labels: {left_out} of {counts.total()} images"
        )
    return left_out
