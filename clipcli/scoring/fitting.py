"""A classifier fitted to labelled images, and measured on others: temperature, thresholds and label sets.

One half of the images is fitted to, the other is measured, so that the figures are those of new images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.errors import ClipcliError, ClipcliWarning, UsageError
from clipcli.records import Float32Array
from clipcli.scoring.bootstrap import bootstrap_interval, bootstrap_interval_of
from clipcli.scoring.calibration import TEMPERATURES, expected_calibration_error, fit_platt, fit_temperature
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.conformal import conformal_quantile, in_sets, nonconformity
from clipcli.scoring.evaluation import Estimate, Indices
from clipcli.scoring.metrics import checked_target, wilson_interval
from clipcli.scoring.targets import SEPARATOR
from clipcli.scoring.thresholds import fit_thresholds


@dataclass(frozen=True)
class FitOptions:
    """What is fitted.

    Args:
        min_precision: the share of right ones among images that keep a label; None for the best F1.
        coverage: the share of sets that hold the true label.
        seed: of the split into halves.

    Raises:
        UsageError: a value outside its range.
    """

    min_precision: float | None = None
    coverage: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("min_precision", self.min_precision), ("coverage", self.coverage)):
            if value is not None and not 0 < value < 1:
                hint = f"{value:g} percent is {value / 100:g}." if 1 < value < 100 else ""
                raise UsageError(f"`{name}` must be a number between 0 and 1, not {value:g}", hint)
        if self.seed < 0:
            raise UsageError(f"`seed` must be at least 0, not {self.seed}")


class ClassThreshold(NamedTuple):
    """The threshold of one class, and what became of the images that were measured.

    `threshold` is None for a class with too few images and `thresholds.NEVER` for one of which no score is
    high enough. `fitted_on` counts the images, of the half that was fitted to, of which the class is the best
    one; `measured_on` those of the other half, `kept` those that keep the label, and `precision` is the share
    of right ones among these, None if there are none.
    """

    label: str
    threshold: float | None
    fitted_on: int
    measured_on: int
    kept: int
    precision: Estimate | None


class Measures(NamedTuple):
    """How a fitted classifier does on images that it was not fitted to.

    Args:
        ece_before: expected calibration error of the scores before, in 15 bins of as many images each.
        ece_after: the same of the calibrated ones.
        acc1: share of images whose true label is the best.
        unknown: share of images that are `unknown`.
        acc1_kept: share of right ones among the others; None if there are none.
        coverage: share of sets that hold the true label.
        set_size: labels in a set, on average.
    """

    ece_before: Estimate
    ece_after: Estimate
    acc1: Estimate
    unknown: Estimate
    acc1_kept: Estimate | None
    coverage: Estimate
    set_size: Estimate


@dataclass(frozen=True)
class FitReport:
    """What was fitted to one half of the images, and how it does on the other.

    Args:
        fitted_on: images of the half that was fitted to.
        images: images of the other half, on which everything is measured.
        options: what was asked for.
        fitted_acc1: share of the images fitted to whose true label is the best.
        temperature: None where the images do not tell it, and it stays 1.
        quantile: infinite if there are too few images for the coverage, so that sets hold all labels.
        measures: of all classes together.
        per_class: all C classes, in their order.
    """

    fitted_on: int
    images: int
    options: FitOptions
    fitted_acc1: float
    temperature: float | None
    quantile: float
    measures: Measures
    per_class: Sequence[ClassThreshold]


def check_labels(classnames: Sequence[str]) -> None:
    """Refuse labels to which nothing can be fitted.

    Raises:
        UsageError: there is only one, or one holds the separator of sets.
    """
    if len(classnames) < 2:
        raise UsageError("nothing can be fitted to one label", "Give at least two labels.")
    for label in classnames:
        if SEPARATOR in label:
            message = f"a fitted classifier writes sets of labels as a{SEPARATOR}b, and so no label may hold"
            raise UsageError(f"{message} {SEPARATOR}, as {label!r} does", "Rename it.")


def fit_classifier(
    classifier: Classifier, cosines: Float32Array, target: Indices, options: FitOptions
) -> tuple[Classifier, FitReport]:
    """Fit to one half of the images, and measure on the other.

    Args:
        classifier: nothing is fitted to it yet. Thresholds of its class list are replaced, with a warning.
        cosines: (N, C) of the images.
        target: (N,) indices of the true classes.
        options: what is fitted.

    Returns:
        the fitted classifier, whose provenance says to which half it was fitted, and the report.

    Raises:
        UsageError: labels to which nothing can be fitted, or a classifier that is fitted already.
        ClipcliError: fewer than two images.
        ValueError: as in `metrics.ranks`.
    """
    _check(classifier, cosines, target)
    fit, rest = halves(target, options.seed)
    calibrated = calibrate(classifier, cosines[fit], target[fit])
    base, best = calibrated or classifier, classifier.ranked_by(cosines[fit]).argmax(axis=1)
    least, quantile = _cuts(base.scores(cosines[fit]), best, target[fit], options)
    fitted = replace(
        base,
        thresholds=least,
        conformal_quantile=min(quantile, 1.0),  # which does the same as any larger one
        provenance={**classifier.provenance, "fitted": _told(options, len(fit), len(rest))},
    )
    report = FitReport(
        fitted_on=len(fit),
        images=len(rest),
        options=options,
        fitted_acc1=float((best == target[fit]).mean()),
        temperature=calibrated.temperature if calibrated else None,
        quantile=quantile,
        measures=measure(classifier, fitted, cosines[rest], target[rest]),
        per_class=_per_class(fitted, least, best, cosines[rest], target[rest]),
    )
    return fitted, report


def _check(classifier: Classifier, cosines: Float32Array, target: Indices) -> None:
    check_labels(classifier.classnames)
    if classifier.temperature != 1 or classifier.conformal_quantile is not None:
        raise UsageError("the classifier is fitted already", "Fit the one that it was made from.")
    if classifier.thresholds is not None:
        message = "thresholds are fitted: those in min_score of the class list are not used"
        warnings.warn(message, ClipcliWarning, stacklevel=3)
    if len(target) < 2:
        raise ClipcliError("a classifier is fitted to one half of the images: two are needed at least")
    checked_target(cosines, target)


def halves(target: Indices, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The images to fit to and those to measure: half of each class, and half of all, up to one image.

    Args:
        target: (N,) indices of the true classes.
        seed: of the draw.

    Returns:
        two arrays of indices, in ascending order.
    """
    shuffled = np.random.default_rng(seed).permutation(len(target))
    by_class = shuffled[np.argsort(np.asarray(target)[shuffled], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])


def calibrate(classifier: Classifier, cosines: Float32Array, target: Indices) -> Classifier | None:
    """The classifier with the temperature that fits images best, or None where they do not tell it.

    A softmax model gets one temperature, a sigmoid model a temperature and another bias (Platt scaling: its
    bias was learned with other numbers of wrong labels an image). Images do not tell a temperature if all of
    them are right, so that the scores could not be sure enough, or if high scores are no sign of true labels.

    Args:
        classifier: with a temperature of 1.
        cosines: (N, C).
        target: (N,) indices of the true classes.
    """
    if classifier.activation == "softmax":
        temperature = fit_temperature(classifier.logits(cosines), target)
        return None if temperature in TEMPERATURES else replace(classifier, temperature=temperature)
    slope, intercept = fit_platt(replace(classifier, logit_bias=None).logits(cosines), target)
    if slope <= 0:
        return None
    return replace(classifier, temperature=1 / slope, logit_bias=intercept / slope)


def _cuts(
    probs: Float32Array, best: Indices, target: Indices, options: FitOptions
) -> tuple[Float32Array, float]:
    """The thresholds (C,), and the conformal quantile, of N images with (N, C) probabilities."""
    least = fit_thresholds(_of(probs, best), best, target, probs.shape[1], options.min_precision)
    return least, conformal_quantile(nonconformity(probs, target), options.coverage)


def _told(options: FitOptions, fitted_on: int, measured_on: int) -> dict[str, Any]:
    return {
        "half": f"one of two halves, half of each class, drawn with seed {options.seed}",
        "seed": options.seed,
        "images": fitted_on,
        "images_measured": measured_on,
        "min_precision": options.min_precision,
        "coverage": options.coverage,
    }


# --- Figures -------------------------------------------------------------------------------------


def measure(before: Classifier, after: Classifier, cosines: Float32Array, target: Indices) -> Measures:
    """The figures of N images to which the classifier was not fitted.

    Args:
        before: not yet calibrated.
        after: with thresholds and sets.
        cosines: (N, C).
        target: (N,) indices of the true classes.
    """
    best, probs = after.ranked_by(cosines).argmax(axis=1), after.scores(cosines)
    right, confidence = best == target, _of(probs, best)
    unknown = after.is_unsure(best, confidence)
    sets = in_sets(probs, 1.0 if after.conformal_quantile is None else after.conformal_quantile)  # (N, C)
    sizes = sets.sum(axis=1)
    return Measures(
        ece_before=_calibration_error(_of(before.scores(cosines), best), right),
        ece_after=_calibration_error(confidence, right),
        acc1=share(right),
        unknown=share(unknown),
        acc1_kept=share(right[~unknown]) if not unknown.all() else None,
        coverage=share(sets[np.arange(len(target)), target]),
        set_size=Estimate(float(sizes.mean()), *bootstrap_interval(sizes)),
    )


def _per_class(
    classifier: Classifier, least: Float32Array, fitted_best: Indices, cosines: Float32Array, target: Indices
) -> list[ClassThreshold]:
    """What the thresholds (C,) do to images; `fitted_best` are the best classes of those fitted to."""
    fitted_on = np.bincount(fitted_best, minlength=len(least))  # (C,)
    best = classifier.ranked_by(cosines).argmax(axis=1)
    unknown = classifier.is_unsure(best, _of(classifier.scores(cosines), best))
    found = []
    for index, label in enumerate(classifier.classnames):
        given = best == index
        kept = given & ~unknown
        precision = share(target[kept] == index) if kept.any() else None
        threshold = None if np.isnan(least[index]) else float(least[index])
        counts = (int(fitted_on[index]), int(given.sum()), int(kept.sum()))
        found.append(ClassThreshold(label, threshold, *counts, precision))
    return found


def share(chosen: npt.NDArray[np.bool_]) -> Estimate:
    """The share of chosen ones among N images, with its interval by Wilson."""
    value = float(chosen.mean())
    return Estimate(value, *wilson_interval(value, len(chosen)))


def _calibration_error(confidence: Float32Array, right: npt.NDArray[np.bool_]) -> Estimate:
    def error(indices: npt.NDArray[np.intp]) -> float:
        return expected_calibration_error(confidence[indices], right[indices], equal_mass=True)

    low, high = bootstrap_interval_of(error, len(right))
    return Estimate(error(np.arange(len(right))), max(low, 0.0), high)


def _of(scores: Float32Array, classes: Indices) -> Float32Array:
    """(N, C) scores and (N,) classes -> (N,) the score of each image's class."""
    return np.asarray(np.take_along_axis(scores, classes[:, None], axis=1)[:, 0])
