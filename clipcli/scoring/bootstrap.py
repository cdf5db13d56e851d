"""How certain a figure is that was measured on some images: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
FEW_RESAMPLES = 1000
"""For figures that must be computed anew for each."""


def bootstrap_interval(
    values: npt.NDArray[Any],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    counts: npt.NDArray[np.integer[Any]] | None = None,
) -> tuple[float, float]:
    """The interval in which the mean over images lies: the percentile bootstrap.

    As many images as there are are drawn with replacement, again and again, and the interval holds the middle
    share of the means (Efron and Tibshirani 1993, section 13.3). How often each distinct value is drawn is
    multinomial, so the draws themselves need not be made. Where all values are equal, so are both ends.

    Args:
        values: (N,) one for each image, few of them different: 1 for a right one and 0 for a wrong one, or
            the difference of two such.
        confidence: how likely the interval holds the true mean.
        resamples: how often images are drawn.
        seed: of the draws; equal seeds give equal intervals.
        counts: (N,) of how many cases each value is the sum, such as the captions of each image; None is 1.
            The mean is that over cases, but images are drawn, for cases of one image are alike (a cluster
            bootstrap: Davison and Hinkley 1997, section 3.8).

    Raises:
        ValueError: there is no image.
    """
    if not len(values):
        raise ValueError("no image, and so no interval")
    cases = np.ones(len(values)) if counts is None else counts
    pairs = np.stack([values, cases], axis=1).astype(np.float64)  # (N, 2)
    distinct, found = np.unique(pairs, axis=0, return_counts=True)  # (U, 2), (U,)
    drawn = np.random.default_rng(seed).multinomial(len(values), found / len(values), resamples)  # (R, U)
    means = (drawn @ distinct[:, 0]) / (drawn @ distinct[:, 1])  # (R,)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_interval_of(
    figure: Callable[[npt.NDArray[np.intp]], float],
    count: int,
    confidence: float = 0.95,
    resamples: int = FEW_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a figure that is no mean over images, such as a calibration error.

    The percentile bootstrap, less its estimate of the bias (Efron and Tibshirani 1993, section 10.2): drawing
    images again moves some figures in one direction, and so the interval is moved back, until the mean of the
    figures drawn is the figure itself.

    Args:
        figure: of the images with these indices (N,), which may occur several times.
        count: N.
        confidence: how likely the interval holds the true figure.
        resamples: how often images are drawn.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        ValueError: there is no image.
    """
    if not count:
        raise ValueError("no image, and so no interval")
    generator = np.random.default_rng(seed)
    drawn = np.array([figure(generator.integers(0, count, count)) for _ in range(resamples)])  # (R,)
    return interval_around(figure(np.arange(count)), drawn, confidence)


def interval_around(
    figure: float, drawn: npt.NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    """The middle share of figures that were drawn, moved until their mean is the figure itself.

    Args:
        figure: of all images.
        drawn: (R,) the same of images drawn again.
        confidence: the share.
    """
    moved = drawn + (figure - drawn.mean())
    low, high = np.quantile(moved, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
