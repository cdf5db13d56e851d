"""Which of several classifiers is better on the same images, and whether the difference may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.scoring.bootstrap import bootstrap_interval
from clipcli.scoring.evaluation import Classification, Estimate

SIGNIFICANCE = 0.05


class Difference(NamedTuple):
    """How much better one classifier is than another on the same images.

    Args:
        first: the name of the other.
        second: the name of the one.
        acc1: the accuracy of the second, less that of the first.
        only_first: images that only the first has right.
        only_second: images that only the second has right.
        p: McNemar's, exact.
    """

    first: str
    second: str
    acc1: Estimate
    only_first: int
    only_second: int
    p: float

    @property
    def is_tie(self) -> bool:
        """Whether the images do not tell the two apart: 0 is in the interval, or `p` is 0.05 or more."""
        return self.acc1.low <= 0 <= self.acc1.high or self.p >= SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """Several classifiers on the same images.

    Args:
        what: they differ in, such as `templates`.
        names: of the K classifiers.
        figures: of each.
        pairs: the differences of all pairs; those to the first classifier come first, in order.
    """

    what: str
    names: Sequence[str]
    figures: Sequence[Classification]
    pairs: Sequence[Difference]

    @property
    def images(self) -> int:
        """On how many images they are compared."""
        return self.figures[0].images

    def to_first(self, index: int) -> Difference | None:
        """The difference of a classifier to the first; None for the first itself."""
        return self.pairs[index - 1] if index else None


def all_differences(names: Sequence[str], right: npt.NDArray[np.bool_]) -> list[Difference]:
    """The differences of all pairs.

    Args:
        names: of K classifiers.
        right: (K, N), which classifier has which image right.

    Raises:
        ValueError: there is no image.
    """
    pairs = combinations(range(len(names)), 2)
    return [difference(names[one], names[other], right[one], right[other]) for one, other in pairs]


def difference(
    first: str, second: str, first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]
) -> Difference:
    """How much better the second is on N images: both are measured on each, so the images are drawn in pairs.

    The interval is the percentile bootstrap of the mean of the differences, each -1, 0 or 1, of an image.

    Args:
        first: the name of the one.
        second: the name of the other.
        first_right: (N,) which images the first has right.
        second_right: (N,) the same for the second.

    Raises:
        ValueError: there is no image.
    """
    gain = second_right.astype(np.int8) - first_right.astype(np.int8)
    interval = bootstrap_interval(gain)
    only_first, only_second = int((gain < 0).sum()), int((gain > 0).sum())
    estimate = Estimate(float(gain.mean()), *interval)
    return Difference(first, second, estimate, only_first, only_second, mcnemar_p(only_first, only_second))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """How likely two equally good classifiers would differ at least as much.

    Each image that just one has right is as likely the one's as the other's, so their number is binomial
    with 1/2, two-sided (McNemar 1947; exact as in Dietterich 1998, section 3.1). 1 where there is none.

    Args:
        only_first: images that only the first has right.
        only_second: images that only the second has right.
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0
