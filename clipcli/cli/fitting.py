"""`clipcli eval --fit`: what is asked for, and what to think of what was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli import console, figures
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.rejecting import Rejecting
    from clipcli.output.labelled import LabelledCosines
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.fitting import FitOptions, FitReport
    from clipcli.scoring.outliers import RejectFit
    from clipcli.scoring.targets import Targets


@dataclass(frozen=True)
class Fitting:
    """A classifier that is to be fitted.

    Args:
        path: of its file.
        options: what is fitted.
        collected: the images.
    """

    path: Path
    options: FitOptions
    collected: LabelledCosines

    def finish(
        self, classifier: Classifier, rejecting: Rejecting | None = None
    ) -> tuple[FitReport, RejectFit | None]:
        """Fit, show the figures, and write the file.

        Args:
            classifier: nothing is fitted to it yet.
            rejecting: the scores of images and outliers, to which a threshold is fitted.

        Raises:
            ClipcliError: fewer than two images.
            OutputError: the file cannot be written.
        """
        from clipcli import api
        from clipcli.scoring.fitting import fit_classifier

        images = self.collected
        fitted, report = fit_classifier(classifier, images.cosines, images.target, self.options)
        figures.show_fit(report)
        _warn_of_unfitted(report)
        found = None
        if rejecting is not None:
            fitted, found = rejecting.fitted(fitted, classifier, images.target, self.options)
        api.save_classifier(fitted, self.path)
        return report, found


def check(
    path: Path | None, min_precision: float | None, coverage: float | None, seed: int | None
) -> FitOptions | None:
    """What is to be fitted, if anything, before the work is done.

    Raises:
        UsageError: values outside their range, without a file, or a file that is no .safetensors.
        OutputError: the file cannot be written.
    """
    from clipcli.scoring.classifier_file import check_output
    from clipcli.scoring.fitting import FitOptions

    given = {"min_precision": min_precision, "coverage": coverage, "seed": seed}
    chosen = {name: value for name, value in given.items() if value is not None}
    if path is None:
        if chosen:
            name = next(iter(chosen))
            raise UsageError(f"`{name}` needs `fit`", "Name the file to write the fitted classifier to.")
        return None
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"cannot write a classifier as {path.name}", "Name a .safetensors file.")
    check_output(path)
    return FitOptions(**chosen)  # type: ignore[arg-type]


def begin(path: Path | None, options: FitOptions | None, targets: Targets) -> Fitting | None:
    """The classifier that is to be fitted, if any, once the labels are known.

    Raises:
        UsageError: labels or true labels to which nothing can be fitted.
    """
    if path is None or options is None:
        return None
    from clipcli.output.labelled import LabelledCosines
    from clipcli.scoring.fitting import check_labels

    check_labels(targets.classnames)
    if targets.is_multilabel:
        message = "a classifier is fitted to images with one true label each, and some have several"
        raise UsageError(message, "Leave `fit` out, or give each image one label.")
    return Fitting(path, options, LabelledCosines(targets))


def _warn_of_unfitted(report: FitReport) -> None:
    """Tell what could not be fitted, and what that means for images."""
    from clipcli.scoring import conformal, thresholds

    if report.temperature is None:
        why = "all of them are right" if report.fitted_acc1 == 1 else "high scores are no sign of true labels"
        message = f"the {report.fitted_on} images fitted to do not tell how sure scores should be: {why}"
        console.warn(f"{message}. Scores stay as they are")
    if report.quantile == math.inf:
        coverage = report.options.coverage
        console.warn(
            f"every set holds all labels: {report.fitted_on} images cannot show a coverage of {coverage:.4g},"
            f" which takes {conformal.fewest_images(coverage)}"
        )
    few = [one for one in report.per_class if one.threshold is None]
    if few:
        fewest = thresholds.fewest_images(report.options.min_precision)
        names = figures.some(f"{one.label} ({one.fitted_on})" for one in few)
        console.warn(f"labels without a threshold, because fewer than {fewest} images got them: {names}")
    never = [one for one in report.per_class if one.threshold == thresholds.NEVER]
    if never:
        names = figures.some(f"{one.label} ({one.fitted_on})" for one in never)
        console.warn(f"labels of which no score is high enough, so that their images are unknown: {names}")
    least = report.options.min_precision or 0.0
    short = [
        (one.label, one.precision.value)
        for one in report.per_class
        if one.threshold is not None and one.precision and one.precision.high < least
    ]
    if short:
        names = figures.some(f"{label} ({precision:.1%})" for label, precision in short)
        console.warn(f"labels whose precision on the images measured falls short of {least:.4g}: {names}")
