"""Parts of labelled images for cross-validation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipcli.scoring.evaluation import Indices

ALWAYS_TRAINED = -1
"""The fold of images that are never held out."""


def folds_of(target: Indices, folds: int, seed: int) -> npt.NDArray[np.intp]:
    """The fold of each image -> (N,), from 0: as many images of each class in each, up to one.

    The only image of a class is never held out, and so its fold is -1: nothing would be known of the class
    without it. A class with at most as many images as there are folds loses one at a time.

    Args:
        target: (N,) indices of the true classes.
        folds: how many.
        seed: of the draw.
    """
    target = np.asarray(target)
    shuffled = np.random.default_rng(seed).permutation(len(target))
    by_class = shuffled[np.argsort(target[shuffled], kind="stable")]
    by_class = by_class[np.bincount(target)[target[by_class]] > 1]
    found = np.full(len(target), ALWAYS_TRAINED, dtype=np.intp)
    found[by_class] = np.arange(len(by_class)) % folds
    return found
