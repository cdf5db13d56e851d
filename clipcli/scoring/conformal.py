"""Sets of labels that hold the true one as often as is asked for: split conformal prediction.

Images whose true class is known show how low the probability of a true class may be; a set is all classes
that are at least as probable. Whatever the model, the set of a new image holds its true class with at least
the probability that was asked for, provided that the new image and those that were measured are drawn alike
(Vovk, Gammerman and Shafer 2005; Papadopoulos et al. 2002 for the split). The guarantee is for all images
together, not for each class, and ends where new images are of another kind.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clipcli.scoring.metrics import Scores, Target, checked_target

Float64Array: TypeAlias = npt.NDArray[np.float64]


def nonconformity(probs: Scores, target: Target) -> Float64Array:
    """How improbable the true class of each image is: 1 - p(true class) -> (N,) from 0 to 1.

    It is the score of the least ambiguous set-valued classifier (LAC; Sadinle, Lei and Wasserman 2019), whose
    sets are the smallest on average for probabilities that are right.

    Args:
        probs: (N, C) of each class, by softmax or by sigmoid.
        target: (N,) indices of the true classes.

    Raises:
        ValueError: as in `metrics.ranks`.
    """
    indices = checked_target(probs, target)
    return 1 - probs[np.arange(len(indices)), indices].astype(np.float64)


def fewest_images(coverage: float) -> int:
    """The least number of images that can show a coverage: with fewer, sets must hold all classes.

    Args:
        coverage: from 0 to below 1.
    """
    share = Fraction(str(coverage))
    return math.ceil(share / (1 - share))


def conformal_quantile(nonconformities: Scores, coverage: float) -> float:
    """The nonconformity up to which classes are in a set, for sets to hold the true one so often.

    It is the k-th smallest of n, k = ceil((n + 1) · coverage): the empirical quantile at k / n, which makes
    up for the new image being one more (Angelopoulos and Bates 2021, section 1). Where k exceeds n, no number
    is large enough, and it is infinite. The product is exact: 0.9 means nine tenths.

    Args:
        nonconformities: (N,) of images that nothing else was fitted to.
        coverage: from 0 to below 1.

    Raises:
        ValueError: a coverage outside that range, or a nonconformity that is no number.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage of {coverage}")
    if np.isnan(nonconformities).any():
        raise ValueError("a nonconformity is NaN")
    rank = math.ceil((len(nonconformities) + 1) * Fraction(str(coverage)))
    if rank > len(nonconformities):
        return math.inf
    return float(np.partition(nonconformities, rank - 1)[rank - 1])


def in_sets(probs: Scores, quantile: float) -> npt.NDArray[np.bool_]:
    """Which classes are in the set of each image: those with 1 - p at most the quantile -> (N, C).

    A set can be empty: where no class is as probable as true ones mostly are.

    Args:
        probs: (N, C) of each class.
        quantile: from `conformal_quantile`.
    """
    return np.asarray(1 - probs.astype(np.float64) <= quantile)
