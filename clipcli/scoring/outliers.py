"""How well scores tell images that show one of the labels from others, and thresholds fitted to both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.choices import RejectMethod
from clipcli.errors import ClipcliError
from clipcli.records import Float32Array
from clipcli.scoring.bootstrap import FEW_RESAMPLES, interval_around
from clipcli.scoring.evaluation import Estimate
from clipcli.scoring.fitting import share
from clipcli.scoring.rejection import threshold_between, threshold_for_rate

Indices = npt.NDArray[np.integer[Any]]
RejectScores = Mapping[RejectMethod, Float32Array]
"""The scores (N,) of N images by each method."""


class Separation(NamedTuple):
    """How well one method tells images of the labels from outliers; see `auroc` and `fpr95`, whose intervals
    are those of `separation`.
    """

    method: RejectMethod
    auroc: Estimate
    fpr95: Estimate


@dataclass(frozen=True)
class OutlierReport:
    """How well each method tells N images of the labels from M outliers.

    Args:
        images: N.
        outliers: M.
        methods: the best AUROC first.
    """

    images: int
    outliers: int
    methods: Sequence[Separation]


@dataclass(frozen=True)
class RejectFit:
    """A threshold that was fitted to one half of the images, and what it does to the other.

    Args:
        method: which score has the threshold.
        threshold: an image with a lower score is `unknown`.
        rate: the share of images of the labels that were to be rejected; None where outliers told.
        rejected: share of the images of the labels that are rejected, of those not fitted to.
        outliers_rejected: the same of outliers; None where there are none.
    """

    method: RejectMethod
    threshold: float
    rate: float | None
    rejected: Estimate
    outliers_rejected: Estimate | None


def auroc(inside: Float32Array, outside: Float32Array) -> float:
    """How likely an image of the labels scores higher than an outlier, ties counting half.

    It is the area under the ROC curve, by scikit-learn's `roc_auc_score`: 0.5 is chance, 1 tells all apart.

    Args:
        inside: (N,) scores of images that show the labels.
        outside: (M,) scores of outliers.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def fpr95(inside: Float32Array, outside: Float32Array) -> float:
    """The share of outliers that pass where 95 % of the images of the labels do: the FPR at 95 % TPR.

    The threshold is the highest one that at least 95 % of the images of the labels reach, which is the
    ceil(0.95 · N)-th largest of their scores; outliers that reach it are counted.

    Args:
        inside: (N,) scores of images that show the labels.
        outside: (M,) scores of outliers.
    """
    reached = math.ceil(len(inside) * 95 / 100)
    threshold = np.sort(inside)[len(inside) - reached]
    return float((outside >= threshold).mean())


def separation(
    method: RejectMethod, inside: Float32Array, outside: Float32Array, seed: int = 0
) -> Separation:
    """The figures of one method, with their 95 % intervals.

    As many images of the labels as there are, and as many outliers, are drawn with replacement, again and
    again, and the figures of what is drawn are as `bootstrap.interval_around` has it. The draws depend on the
    seed alone, so that the methods are compared on the same ones.

    Args:
        method: that scores images.
        inside: (N,) scores of images that show the labels.
        outside: (M,) scores of outliers.
        seed: of the draws.
    """
    figures = (auroc(inside, outside), fpr95(inside, outside))
    drawn = np.array(list(_drawn_figures(inside, outside, seed)))  # (R, 2)
    intervals = (interval_around(*pair) for pair in zip(figures, drawn.T, strict=True))
    found = [
        Estimate(figure, max(low, 0.0), min(high, 1.0))
        for figure, (low, high) in zip(figures, intervals, strict=True)
    ]
    return Separation(method, *found)


def _drawn_figures(inside: Float32Array, outside: Float32Array, seed: int) -> Iterator[tuple[float, float]]:
    """AUROC and FPR95 of images and outliers drawn again; both are sorted once, and then counted."""
    generator = np.random.default_rng(seed)
    count, others = len(inside), len(outside)
    ascending, sorted_outside = np.sort(inside), np.sort(outside)
    lower, up_to = (np.searchsorted(sorted_outside, ascending, side) for side in ("left", "right"))  # (N,)
    reached = math.ceil(count * 95 / 100)
    for _ in range(FEW_RESAMPLES):
        times = np.bincount(generator.integers(0, count, count), minlength=count)  # (N,)
        drawn = np.bincount(generator.integers(0, others, others), minlength=others)  # (M,)
        outliers = np.concatenate([[0], np.cumsum(drawn)])  # (M + 1,) the drawn ones before each place
        pairs = times @ (outliers[lower] + outliers[up_to]) / 2  # in the right order
        at = count - 1 - np.searchsorted(np.cumsum(times[::-1]), reached)  # where the threshold lies
        yield float(pairs / (count * others)), float(1 - outliers[lower[at]] / others)


def separate(inside: RejectScores, outside: RejectScores) -> OutlierReport:
    """The figures of all methods.

    Args:
        inside: of N images that show the labels.
        outside: of M outliers, by the same methods.

    Raises:
        ClipcliError: there is no image, or no outlier.
    """
    images, outliers = (len(next(iter(one.values()))) for one in (inside, outside))
    if not images or not outliers:
        missing = "outlier" if images else "image with a known label"
        raise ClipcliError(f"no {missing} could be read", "The warnings above say why.")
    found = [separation(method, scores, outside[method]) for method, scores in inside.items()]
    return OutlierReport(images, outliers, sorted(found, key=lambda one: -one.auroc.value))


def fit_rejection(
    inside: RejectScores,
    outside: RejectScores | None,
    parts: tuple[Indices, Indices],
    seed: int,
    rate: float | None,
) -> RejectFit:
    """Fit a threshold to one half of the images, and measure it on the other.

    Args:
        inside: of N images that show the labels; if by several methods, the one with the best AUROC on the
            half that is fitted to is taken.
        outside: of M outliers, by the same methods, or None. One half, drawn with the seed, is fitted to.
        parts: the two halves of the N images, as indices.
        seed: of the halves of the outliers.
        rate: which share of images of the labels may be rejected; None is told by the outliers.

    Raises:
        ClipcliError: too few images or outliers.
    """
    fit, rest = parts
    if outside is None:
        ((method, scores),) = inside.items()
        threshold = threshold_for_rate(scores[fit], 0.05 if rate is None else rate)
        return RejectFit(method, threshold, rate, _below(scores[rest], threshold), None)
    fit_out, rest_out = _halves(len(next(iter(outside.values()))), seed)
    method = max(inside, key=lambda one: auroc(inside[one][fit], outside[one][fit_out]))
    scores, others = inside[method], outside[method]
    if rate is None:
        threshold = threshold_between(scores[fit], others[fit_out])
    else:
        threshold = threshold_for_rate(scores[fit], rate)
    return RejectFit(
        method, threshold, rate, _below(scores[rest], threshold), _below(others[rest_out], threshold)
    )


def _halves(count: int, seed: int) -> tuple[Indices, Indices]:
    if count < 2:
        raise ClipcliError("a threshold is fitted to one half of the outliers: two are needed at least")
    shuffled = np.random.default_rng(seed).permutation(count)
    return np.sort(shuffled[::2]), np.sort(shuffled[1::2])


def _below(scores: Float32Array, threshold: float) -> Estimate:
    return share(scores < np.float32(threshold))
