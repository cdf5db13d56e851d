"""How well scores tell images that show one of the labels from others, and thresholds fitted to both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.choices import RejectMethod
from clipcli.errors import ClipcliError
from clipcli.records import Float32Array
from clipcli.scoring.evaluation import Estimate
from clipcli.scoring.fitting import share
from clipcli.scoring.rejection import threshold_between, threshold_for_rate

Indices = npt.NDArray[np.integer[Any]]
RejectScores = Mapping[RejectMethod, Float32Array]
"""The scores (N,) of N images by each method."""


class Separation(NamedTuple):
    """How well one method tells images of the labels from outliers; see `auroc` and `fpr95`."""

    method: RejectMethod
    auroc: float
    fpr95: float


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
    found = [
        Separation(method, auroc(scores, outside[method]), fpr95(scores, outside[method]))
        for method, scores in inside.items()
    ]
    return OutlierReport(images, outliers, sorted(found, key=lambda one: -one.auroc))


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
