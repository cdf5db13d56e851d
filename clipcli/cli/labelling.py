"""`clipcli eval`: how well one model labels images, with one set of labels and templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli import console

if TYPE_CHECKING:
    from clipcli.cli.comparisons import Labelled
    from clipcli.cli.interrupts import StopOnSignal
    from clipcli.cli.passes import Passes
    from clipcli.cli.session import Session
    from clipcli.models.request import ModelRequest
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item, Outcome
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.evaluation import Evaluation
    from clipcli.scoring.fitting import FitOptions, FitReport
    from clipcli.scoring.targets import Targets


def measure(
    request: ModelRequest,
    prompts: PromptSet,
    labelled: Labelled,
    passes: Passes,
    title: str,
    fit: tuple[Path | None, FitOptions | None],
) -> None:
    """Classify images whose true labels are known, and show and write the figures.

    Args:
        request: the model.
        prompts: of the labels to choose from.
        labelled: the images.
        passes: how they are encoded, and where the figures go.
        title: of reports.
        fit: where a fitted classifier goes, or None, and how it is fitted.

    Raises:
        typer.Exit: the run was interrupted, or images could not be read.
        UsageError: no true label is one of the labels.
        OutputError: a file cannot be written.
    """
    from clipcli.cli import fitting, progress, reports, truths
    from clipcli.output.evaluators import evaluator
    from clipcli.output.report.records import About, Judged
    from clipcli.output.report.writer import ReportWriter
    from clipcli.scoring.targets import match_truths

    pages, tables = reports.parted(passes.outputs)
    counts = labelled.counts
    targets = match_truths(counts, prompts.classnames, labelled.separator)
    left_out = truths.tell_left_out(counts, targets, labelled.separator)
    to_fit = fitting.begin(*fit, targets)
    summary = progress.Summary()
    with passes.opened(request) as run:
        encoder = run.encoder()
        classifier = run.classifier(encoder, prompts)
        measured = evaluator(classifier, targets)
        writers = [ReportWriter(path, Judged(classifier, targets)) for path in pages]
        outcomes = partial(_outcomes, labelled.images, targets, encoder, classifier, passes, run)
        consumers = [measured, *writers, *([to_fit.collected] if to_fit else [])]
        run.run(outcomes, consumers, summary, lambda: counts.total() - left_out)
    evaluation = measured.result()
    _show(evaluation)
    fitted = to_fit.finish(classifier) if to_fit else None
    about = {"model": encoder.name, "fingerprint": encoder.fingerprint}
    _write(tables, evaluation, {**about, "failed": summary.failed, "left_out": left_out}, fitted)
    shown = About(title, encoder.name, prompts.classnames, evaluation)
    reports.write_all(writers, shown, passes.decoding.max_pixels, passes.workers)
    summary.print(", ".join(map(str, filter(None, [*passes.outputs, fit[0]]))))
    if summary.failed and not passes.allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _outcomes(
    images: Iterable[Item | ImageFailure],
    targets: Targets,
    encoder: Encoder,
    classifier: Classifier,
    passes: Passes,
    run: Session,
    stop: StopOnSignal,
) -> Iterator[Outcome]:
    """The cosines of all images that have a class."""
    from clipcli import api
    from clipcli.cli import truths

    return api.classify(
        truths.with_a_class(images, targets),
        encoder,
        classifier,
        top_k=1,
        score="cosine",
        batch_size=passes.batch_size,
        workers=passes.workers,
        decoding=passes.decoding,
        cache=run.cache,
        stop=stop,
    )


def _show(evaluation: Evaluation) -> None:
    from clipcli.cli import figures

    figures.show(evaluation)
    figures.warn_of_doubtful(evaluation)


def _write(
    paths: Sequence[Path], evaluation: Evaluation, about: dict[str, Any], fitted: FitReport | None
) -> None:
    from clipcli.output.metrics_file import write_metrics

    for path in paths:
        write_metrics(path, evaluation, about, fitted)
