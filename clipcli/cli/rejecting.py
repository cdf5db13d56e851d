"""Images that show none of the labels: what `classify` and `eval` are to make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from clipcli.choices import RejectMethod, Score
from clipcli.cli import console, progress
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.image_options import Picked
    from clipcli.cli.session import Session
    from clipcli.output.reject_scores import RejectScores
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item, Outcome
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.evaluation import Indices
    from clipcli.scoring.fitting import FitOptions
    from clipcli.scoring.outliers import OutlierReport, RejectFit
    from clipcli.scoring.targets import Targets


# --- Classify ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What the options of `classify` say of the scores, besides their kind.

    Args:
        prior: the shares of the classes; none if they are not known.
        score: what the score of a label will be.
        method: the score by which images are rejected, or None.
        below: its threshold, or None for the one of a classifier's file.
    """

    prior: Sequence[float]
    score: Score
    method: RejectMethod | None
    below: float | None

    def check(self, named: Classifier | PromptSet) -> bool:
        """Whether images get a reject score.

        Raises:
            UsageError: options that need or exclude each other.
        """
        from clipcli.scoring.classifier import Classifier

        stored = named.rejector if isinstance(named, Classifier) else None
        if self.below is not None and not math.isfinite(self.below):
            raise UsageError(f"`reject_below` must be a number, not {self.below}")
        if self.method is None and stored is None and self.below is not None:
            hint = "Say which score is meant, such as `reject` mcm."
            raise UsageError("`reject_below` needs `reject`", hint)
        if self.method is not None and stored is not None:
            message = f"the classifier rejects by {stored.method} already, and so `reject` cannot be given"
            raise UsageError(message, "Leave it out.")
        if self.method == "negatives" and isinstance(named, Classifier):
            hint = "Make the file with `clipcli prompts --reject negatives`, which knows all names of labels."
            raise UsageError("`reject` negatives needs the labels, not their embeddings", hint)
        return self.method is not None or stored is not None

    def applied(
        self, classifier: Classifier, run: Session, encoder: Encoder, named: Classifier | PromptSet
    ) -> Classifier:
        """The classifier with the prior, and with what rejects images.

        Raises:
            UsageError: a prior that cannot be.
        """
        if self.prior:
            from clipcli import learning

            classifier = learning.with_prior(classifier, self.prior, self.score)
        if self.method is not None:
            classifier = added(classifier, self.method, run, encoder, named)
        rejector = classifier.rejector
        if rejector is None:
            return classifier
        if self.below is not None:
            rejector = replace(rejector, threshold=self.below)
        if rejector.threshold is None:
            console.note("no image is rejected, because reject scores have no threshold: see --reject-below")
        return replace(classifier, rejector=rejector)


def added(
    classifier: Classifier,
    method: RejectMethod,
    run: Session,
    encoder: Encoder,
    named: Classifier | PromptSet,
) -> Classifier:
    """The classifier with a rejector that has no threshold yet."""
    from clipcli import learning
    from clipcli.scoring.classifier import Classifier

    names = () if isinstance(named, Classifier) else [name for names in named.names for name in names]
    with progress.working("encoding nouns", method == "negatives"):
        return learning.add_rejector(classifier, encoder, method, names=names, cache=run.cache)


# --- Eval ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What `eval` is to find out.

    Args:
        methods: the scores that are compared, or the one that is fitted.
        outliers: makes the images that show none of the labels, or None.
        rate: the share of images of the labels that may be rejected, or None.
    """

    methods: tuple[RejectMethod, ...]
    outliers: Callable[[], Iterable[Item | ImageFailure]] | None
    rate: float | None


def asked(
    method: RejectMethod | None,
    outliers: str | None,
    rate: float | None,
    fit: Path | None,
    picked: Picked,
) -> Asked | None:
    """What the options ask for, or None.

    Args:
        method: the only score, or None for all.
        outliers: the folder of images that show none of the labels.
        rate: which share of images of the labels may be rejected.
        fit: where a fitted classifier goes.
        picked: what to take from folders.

    Raises:
        UsageError: an option that lacks another, a share outside its range, or no such folder.
    """
    check_rate(rate)
    if method is None and outliers is None:
        if rate is not None:
            raise UsageError(
                "`reject_rate` needs `reject`", "Say which score is meant, such as `reject` mcm."
            )
        return None
    if outliers is None and fit is None:
        raise UsageError("`reject` needs `outliers` or `fit`", "Name a folder of images that show no label.")
    if rate is not None and fit is None:
        raise UsageError("`reject_rate` needs `fit`", "Name the file to write the fitted classifier to.")
    methods = get_args(RejectMethod) if method is None else (method,)
    return Asked(methods, None if outliers is None else images_of(outliers, picked), rate)


def images_of(folder: str, picked: Picked) -> Callable[[], Iterable[Item | ImageFailure]]:
    """What makes the images of a folder, after making sure that there is one.

    Raises:
        UsageError: there is none.
    """
    from clipcli.cli import session

    found = picked.inputs([folder])
    session.at_least_one(found)
    return lambda: found


def check_rate(rate: float | None) -> None:
    """Refuse a share outside its range.

    Raises:
        UsageError: it is.
    """
    if rate is not None and not 0 < rate < 1:
        hint = f"{rate:g} percent is {rate / 100:g}." if 1 <= rate < 100 else ""
        raise UsageError(f"`reject_rate` must be a number between 0 and 1, not {rate:g}", hint)


def scoring(
    classifier: Classifier, asked: Asked, run: Session, encoder: Encoder, named: Classifier | PromptSet
) -> Classifier:
    """The classifier as it scores images here: with negative labels, if these are asked for.

    A classifier from a file has those that it brings, and otherwise takes its labels for all names.
    """
    stored = classifier.rejector
    if "negatives" not in asked.methods:
        return replace(classifier, rejector=None)
    if stored is not None and stored.method == "negatives":
        return replace(classifier, rejector=replace(stored, threshold=None))
    return added(classifier, "negatives", run, encoder, named)


@dataclass
class Rejecting:
    """The scores that `eval` collects.

    Args:
        asked: what is to be found out.
        inside: takes the images with a known label.
        outside: takes the outliers.
    """

    asked: Asked
    inside: RejectScores
    outside: RejectScores

    def add_outliers(self, run: Session, outcomes: Callable[..., Iterable[Outcome]]) -> int:
        """Score the outliers; returns how many could not be read.

        Args:
            run: the open session.
            outcomes: makes the outcomes of images, given what tells when to stop.

        Raises:
            typer.Exit: the run was interrupted.
        """
        if self.asked.outliers is None:
            return 0
        summary, images = progress.Summary(), self.asked.outliers()
        run.run(partial(outcomes, images), [self.outside], summary, lambda: sum(1 for _ in images))
        return summary.failed

    def report(self) -> OutlierReport | None:
        """The figures, which are shown.

        Raises:
            ClipcliError: no image or no outlier could be read.
        """
        if self.asked.outliers is None:
            return None
        from clipcli.cli import figures
        from clipcli.scoring.outliers import separate

        report = separate(self.inside.result(), self.outside.result())
        figures.show_outliers(report)
        return report

    def fitted(
        self, fitted: Classifier, scored_by: Classifier, target: Indices, options: FitOptions
    ) -> tuple[Classifier, RejectFit]:
        """A fitted classifier with a fitted threshold, whose figures are shown.

        Args:
            fitted: the classifier.
            scored_by: the one whose rejector has the negative labels, if any.
            target: (N,) of the images, which tell their halves.
            options: with the seed of the halves.

        Raises:
            ClipcliError: too few images.
        """
        from clipcli.cli import figures
        from clipcli.scoring.fitting import halves
        from clipcli.scoring.outliers import fit_rejection
        from clipcli.scoring.rejection import Rejector

        outside = None if self.asked.outliers is None else self.outside.result()
        parts = halves(target, options.seed)
        found = fit_rejection(self.inside.result(), outside, parts, options.seed, self.asked.rate)
        figures.show_reject_fit(found)
        negatives = scored_by.rejector.negatives if scored_by.rejector else None
        own = negatives if found.method == "negatives" else None
        return replace(fitted, rejector=Rejector(found.method, found.threshold, own)), found


def begun(
    asked: Asked | None,
    run: Session,
    encoder: Encoder,
    named: Classifier | PromptSet,
    targets: Targets,
) -> tuple[Classifier, Rejecting | None]:
    """The classifier by which images are scored, and what takes the outcomes, if that is asked for."""
    from clipcli.output.reject_scores import RejectScores

    classifier = run.classifier(encoder, named)
    if asked is None:
        return classifier, None
    classifier = scoring(classifier, asked, run, encoder, named)
    inside, outside = (RejectScores(classifier, asked.methods, one) for one in (targets, None))
    return classifier, Rejecting(asked, inside, outside)
