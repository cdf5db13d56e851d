"""`clipcli eval`: how well one model labels images, with one set of labels and templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipcli.cli import console
from clipcli.errors import UsageError
from clipcli.files import shown as shown_path

if TYPE_CHECKING:
    from clipcli.cli.comparisons import Labelled
    from clipcli.cli.fitting import Fitting
    from clipcli.cli.interrupts import StopOnSignal
    from clipcli.cli.passes import Passes
    from clipcli.cli.progress import Summary
    from clipcli.cli.rejecting import Asked, Rejecting
    from clipcli.cli.session import Session
    from clipcli.models.request import ModelRequest
    from clipcli.output.consumers import Consumer
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, ImageFeatures, Item, Outcome
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.evaluation import Evaluation
    from clipcli.scoring.fitting import FitOptions, FitReport
    from clipcli.scoring.outliers import OutlierReport, RejectFit
    from clipcli.scoring.targets import Targets


@dataclass(frozen=True)
class Wanted:
    """What is to be found out besides the figures of labels.

    Args:
        fit: where a fitted classifier goes, or None.
        options: how it is fitted.
        outliers: what is asked of images that show none of the labels.
        roll_up: the least score of an answer that may be a group of labels, or None.
    """

    fit: Path | None
    options: FitOptions | None
    outliers: Asked | None
    roll_up: float | None

    def check(self, named: PromptSet | Classifier) -> None:
        """Refuse to roll up what cannot be, before the model is loaded.

        Raises:
            UsageError: a value outside its range, labels without groups, or a classifier that is yet to be
                fitted.
        """
        from clipcli.scoring.groups import check_roll_up
        from clipcli.scoring.ranking import Ranking

        check_roll_up(Ranking(roll_up=self.roll_up), named.parents)
        if self.roll_up is not None and self.fit is not None:
            hint = "Measure the file with `classifier` and `roll_up`, on other images."
            raise UsageError("`roll_up` and `fit` cannot be used together", hint)

    def tell(self, classifier: Classifier) -> None:
        """Tell what rolling up does not do here."""
        from clipcli.scoring.groups import warn_of_no_sums
        from clipcli.scoring.ranking import Ranking

        warn_of_no_sums(Ranking(roll_up=self.roll_up), classifier.activation)
        if self.roll_up is not None and classifier.rejector is not None:
            console.note("images that the classifier rejects are rolled up here as the others are")


def measure(
    request: ModelRequest,
    prompts: PromptSet | Classifier,
    labelled: Labelled,
    passes: Passes,
    title: str,
    wanted: Wanted,
) -> None:
    """Classify images whose true labels are known; show and write the figures.

    Args:
        request, prompts, labelled: the model, the labels to choose from or a classifier, and the images.
        passes: how they are encoded, and where the figures go.
        title: of reports.
        wanted: what else is to be found out.

    Raises:
        UsageError: no true label is one of the labels.
    """
    from clipcli.cli import fitting, progress, rejecting, reports, truths
    from clipcli.output.evaluators import evaluator
    from clipcli.output.report.about import About
    from clipcli.output.report.records import Judged

    pages, tables = reports.parted(passes.outputs)
    targets, left_out = _matched(labelled, prompts.classnames)
    to_fit = fitting.begin(wanted.fit, wanted.options, targets)
    summary = progress.Summary()
    with passes.encoding.opened(request) as run:
        encoder = run.encoder()
        classifier, scores = rejecting.begun(wanted.outliers, run, encoder, prompts, targets)
        wanted.tell(classifier)
        measured = evaluator(classifier, targets, wanted.roll_up)
        writers = reports.writers(pages, Judged(classifier, targets))
        outcomes = partial(_outcomes, encoder=encoder, classifier=classifier, passes=passes, run=run)
        known = partial(outcomes, truths.with_a_class(labelled.images, targets))
        consumers = [measured, *writers, *_collecting(to_fit, scores)]
        run.run(known, consumers, summary, lambda: labelled.counts.total() - left_out)
        failed = summary.failed + (scores.add_outliers(run, outcomes) if scores else 0)
    evaluation = _shown(measured.result())
    counted = {"failed": failed, "left_out": left_out}
    _write(tables, evaluation, encoder, counted, _others(to_fit, classifier, scores))
    about = About(title, encoder.name, prompts.classnames, evaluation)
    reports.write_all(writers, about, passes.encoding.decoding.max_pixels, passes.encoding.workers)
    _end(summary, [*passes.outputs, wanted.fit], failed, passes.allow_failures)


def _matched(labelled: Labelled, classnames: Sequence[str]) -> tuple[Targets, int]:
    """The classes that true labels mean, and how many images have none."""
    from clipcli.cli import truths
    from clipcli.scoring.targets import match_truths

    targets = match_truths(labelled.counts, classnames, labelled.separator)
    return targets, truths.tell_left_out(labelled.counts, targets, labelled.separator)


def _outcomes(
    images: Iterable[Item | ImageFailure],
    stop: StopOnSignal,
    encoder: Encoder,
    classifier: Classifier,
    passes: Passes,
    run: Session,
) -> Iterator[Outcome]:
    """What labels are ranked by: the cosines of images, or the logits of a probe, as their scores. Of a
    probe, all labels are among the predictions, with their cosines.
    """
    from clipcli import api

    size, workers, decoding = passes.encoding.batch_size, passes.encoding.workers, passes.encoding.decoding
    how = {"batch_size": size, "workers": workers, "decoding": decoding, "cache": run.cache, "stop": stop}
    if classifier.weights is None:
        return api.classify(images, encoder, classifier, top_k=1, score="cosine", **how)  # type: ignore[arg-type]
    return map(partial(_ranked, classifier), api.encode(images, encoder, **how))  # type: ignore[arg-type]


def _ranked(classifier: Classifier, outcome: ImageFeatures | ImageFailure) -> Outcome:
    from clipcli.records import ImageFailure
    from clipcli.scoring.ranking import Ranking

    if isinstance(outcome, ImageFailure):
        return outcome
    features = outcome.features[None]  # (1, D)
    (found,) = classifier.predict([outcome.image], features, Ranking(len(classifier.classnames)))
    (logits,) = classifier.similarities(features)
    return found._replace(scores=logits, columns=outcome.columns, truth=outcome.truth)


def _shown(evaluation: Evaluation) -> Evaluation:
    from clipcli.cli import figures

    figures.show(evaluation)
    figures.warn_of_doubtful(evaluation)
    return evaluation


def _end(summary: Summary, files: Sequence[Path | None], failed: int, allow_failures: bool) -> None:
    summary.print(", ".join(map(shown_path, filter(None, files))))
    if failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _collecting(to_fit: Fitting | None, scores: Rejecting | None) -> list[Consumer[Outcome]]:
    """What keeps of the images by which something is fitted."""
    fitting: list[Consumer[Outcome]] = [to_fit.collected] if to_fit else []
    return [*fitting, *([scores.inside] if scores else [])]


def _others(
    to_fit: Fitting | None, classifier: Classifier, scores: Rejecting | None
) -> tuple[FitReport | None, RejectFit | None, OutlierReport | None]:
    """The figures of outliers, and of what is fitted; they are shown."""
    outliers = scores.report() if scores else None
    fitted = to_fit.finish(classifier, scores) if to_fit else (None, None)
    return (*fitted, outliers)


def _write(
    paths: Sequence[Path],
    evaluation: Evaluation,
    encoder: Encoder,
    counted: dict[str, int],
    others: tuple[FitReport | None, RejectFit | None, OutlierReport | None],
) -> None:
    from clipcli.output.metrics_file import write_metrics

    fitted, rejected, outliers = others
    for path in paths:
        about = {"model": encoder.name, "fingerprint": encoder.fingerprint, **counted}
        write_metrics(path, evaluation, about, fitted, outliers, rejected)
