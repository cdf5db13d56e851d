"""From which score on a label can be taken: one threshold a class, from images whose true class is known.

Only images count whose best class it is, since no other image gets the label. They are taken in the order of
their scores, the best first, and the threshold lies halfway between the last one that is accepted and the
first one that is not; it is 0 where all are accepted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcli.records import Float32Array
from clipcli.scoring import conformal
from clipcli.scoring.metrics import Scores

FEWEST = 10
"""Images of which a label is the best, without which the threshold of the best F1 would be chance."""

NEVER = math.inf
"""The threshold of a class of which no score is high enough."""


def fewest_images(min_precision: float | None) -> int:
    """The least number of images with which a class can have a threshold.

    For a precision p it is p / (1 - p), rounded up: fewer would not show it, even if all of them were right.

    Args:
        min_precision: below 1; None for the best F1.
    """
    if min_precision is None:
        return FEWEST
    return conformal.fewest_images(min_precision)


def fit_thresholds(
    scores: Scores,
    predicted: npt.NDArray[np.integer[Any]],
    target: npt.NDArray[np.integer[Any]],
    classes: int,
    min_precision: float | None = None,
) -> Float32Array:
    """The threshold of each class -> (C,); NaN for a class with too few images, `NEVER` where none suffices.

    Args:
        scores: (N,) float32, of the best class of each image.
        predicted: (N,) that class.
        target: (N,) the true class.
        classes: C.
        min_precision: the share of right ones among images that keep a label; None for the best F1.
    """
    thresholds = np.full(classes, np.nan, dtype=np.float32)
    fewest = fewest_images(min_precision)
    for index in range(classes):
        given = predicted == index
        if given.sum() >= fewest:
            support = int((target == index).sum())
            right = target[given] == index
            thresholds[index] = class_threshold(scores[given], right, support, min_precision)
    return thresholds


def class_threshold(
    scores: Scores, right: npt.NDArray[np.bool_], support: int, min_precision: float | None = None
) -> float:
    """The threshold of one class, from the n images of which it is the best one.

    With a minimum precision: the lowest one at which (wrong + 1) / (accepted + 1) is at most 1 - precision.
    The two ones stand for a new image, which may be wrong, as in conformal risk control (Angelopoulos et al.
    2022, equation 4); without them the precision of new images would be too low on average. Otherwise: the
    one with the best F1 = 2 · right / (accepted + support), as precision and recall have it; of equal ones
    the lowest.

    Args:
        scores: (n,) of these images.
        right: (n,) whether it is their true class.
        support: images whose true class it is, the best one or not.
        min_precision: below 1.

    Returns:
        the threshold, or `NEVER` where no score is high enough.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]  # (n,), the best first
    accepted = np.arange(1, len(ranked) + 1)  # (n,), if the threshold is below this one
    hits = np.cumsum(right[order])  # (n,)
    is_cut = np.append(ranked[1:] < ranked[:-1], True)  # equal scores are accepted together
    if min_precision is None:
        f1 = np.where(is_cut, 2 * hits / (accepted + support), -1.0)
        count = len(f1) - int(np.argmax(f1[::-1])) if hits[-1] else 0
    else:
        wrong = accepted - hits
        fine = np.flatnonzero(is_cut & (wrong + 1 <= (accepted + 1) * (1 - min_precision) + 1e-9))
        count = int(fine[-1]) + 1 if len(fine) else 0
    if count in (0, len(ranked)):
        return 0.0 if count else NEVER
    last, first = ranked[count - 1], ranked[count]  # accepted, and not
    middle = np.float32((float(last) + float(first)) / 2)
    return float(middle if middle > first else last)
