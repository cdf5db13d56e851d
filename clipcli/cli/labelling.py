"""`clipcli eval`: how well one model labels images, with one set of labels and templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipcli.cli import console

if TYPE_CHECKING:
    from clipcli.cli.comparisons import Labelled
    from clipcli.cli.interrupts import StopOnSignal
    from clipcli.cli.passes import Passes
    from clipcli.cli.progress import Summary
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
    """Classify images whose true labels are known; show and write the figures.

    Args:
        request, prompts, labelled: the model, the labels to choose from, and the images.
        passes: how they are encoded, and where the figures go.
        title: of reports.
        fit: where a fitted classifier goes, or None, and how it is fitted.

    Raises:
        UsageError: no true label is one of the labels.
    """
    from clipcli.cli import fitting, progress, reports, truths
    from clipcli.output.evaluators import evaluator
    from clipcli.output.report.records import About, Judged
    from clipcli.output.report.writer import ReportWriter
    from clipcli.scoring.targets import match_truths

    pages, tables = reports.parted(passes.outputs)
    targets = match_truths(labelled.counts, prompts.classnames, labelled.separator)
    left_out = truths.tell_left_out(labelled.counts, targets, labelled.separator)
    to_fit = fitting.begin(*fit, targets)
    summary = progress.Summary()
    with passes.opened(request) as run:
        encoder = run.encoder()
        classifier = run.classifier(encoder, prompts)
        measured = evaluator(classifier, targets)
        writers = [ReportWriter(path, Judged(classifier, targets)) for path in pages]
        outcomes = partial(_outcomes, labelled.images, targets, encoder, classifier, passes, run)
        consumers = [measured, *writers, *([to_fit.collected] if to_fit else [])]
        run.run(outcomes, consumers, summary, lambda: labelled.counts.total() - left_out)
    evaluation = _shown(measured.result())
    fitted = to_fit.finish(classifier) if to_fit else None
    _write(tables, evaluation, encoder, {"failed": summary.failed, "left_out": left_out}, fitted)
    about = About(title, encoder.name, prompts.classnames, evaluation)
    reports.write_all(writers, about, passes.decoding.max_pixels, passes.workers)
    _end(summary, [*passes.outputs, fit[0]], passes.allow_failures)


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


def _shown(evaluation: Evaluation) -> Evaluation:
    from clipcli.cli import figures

    figures.show(evaluation)
    figures.warn_of_doubtful(evaluation)
    return evaluation


def _write(
    paths: Sequence[Path],
    evaluation: Evaluation,
    encoder: Encoder,
    counted: dict[str, int],
    fitted: FitReport | None,
) -> None:
    from clipcli.output.metrics_file import write_metrics

    for path in paths:
        about = {"model": encoder.name, "fingerprint": encoder.fingerprint, **counted}
        write_metrics(path, evaluation, about, fitted)


def _end(summary: Summary, files: Sequence[Path | None], allow_failures: bool) -> None:
    summary.print(", ".join(map(str, filter(None, files))))
    if summary.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)
