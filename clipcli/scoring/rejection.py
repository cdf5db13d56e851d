"""Images that show none of the labels: scores that are low for them, and thresholds below which they are.

All scores are the higher, the more an image looks like one of the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from clipcli.choices import RejectMethod
from clipcli.errors import ClipcliError
from clipcli.records import Float32Array
from clipcli.scoring.conformal import conformal_quantile, fewest_images

Float64Array: TypeAlias = npt.NDArray[np.float64]

GROUPS = 100
"""Groups of negative labels, at most, over which `negatives` averages."""
NEGATIVES_TEMPERATURE = 0.01
"""What cosines are divided by in `negatives`."""


@dataclass(frozen=True)
class Rejector:
    """A score of how much an image looks like one of the labels, and the threshold below which it does not.

    Args:
        method: which score.
        threshold: an image with a lower score is `unknown`; None rejects none.
        negatives: (M, D) float32 of unit norm, for the method `negatives` alone: the features of nouns far
            from all labels, group by group.

    Raises:
        ValueError: a value that cannot be.
    """

    method: RejectMethod
    threshold: float | None = None
    negatives: Float32Array | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(RejectMethod):
            raise ValueError(f"no such method to reject by: {self.method!r}")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"a threshold of {self.threshold}")
        if (self.negatives is None) == (self.method == "negatives"):
            raise ValueError(f"negative labels are for the method negatives, and this is {self.method}")
        if self.negatives is not None and (self.negatives.ndim != 2 or not len(self.negatives)):
            raise ValueError(f"negative labels of shape {self.negatives.shape}")

    def scores(
        self, image_features: Float32Array, cosines: Float32Array, logits: Float64Array
    ) -> Float32Array:
        """The scores (N,) of N images.

        Args:
            image_features: (N, D) of unit norm.
            cosines: (N, C) with the labels.
            logits: (N, C), at the model's own scale.
        """
        if self.negatives is None:
            return plain_scores(self.method, cosines, logits)
        negative = image_features.astype(np.float64) @ self.negatives.astype(np.float64).T  # (N, M)
        return negatives_score(cosines, negative).astype(np.float32)

    @property
    def by_logits(self) -> bool:
        """Whether scores are made from logits, to which a prior or a scale is added, and not from cosines."""
        return self.method in ("msp", "energy")

    def rejects(self, scores: Float32Array) -> npt.NDArray[np.bool_]:
        """Which of N images are `unknown`, by their scores (N,)."""
        if self.threshold is None:
            return np.zeros(len(scores), dtype=np.bool_)
        return np.asarray(scores < np.float32(self.threshold))


def plain_scores(method: RejectMethod, cosines: Float32Array, logits: Float64Array) -> Float32Array:
    """The scores (N,) of a method that needs no negative labels, from (N, C) cosines and logits."""
    found = {"msp": msp, "energy": energy}[method](logits) if method != "mcm" else mcm(cosines)
    return found.astype(np.float32)


def msp(logits: Float64Array) -> Float64Array:
    """(N, C) logits -> (N,) the largest softmax probability (Hendrycks and Gimpel 2017, section 2)."""
    return np.asarray(np.exp(logits.max(axis=1) - _log_sum_exp(logits)))


def mcm(cosines: Float32Array) -> Float64Array:
    """(N, C) cosines -> (N,) maximum concept matching: the largest softmax probability of the cosines as they
    are, max_c e^(cos_c / τ) / Σ_k e^(cos_k / τ) with τ = 1 (Ming et al. 2022, equation 1 and section 3).
    """
    return msp(cosines.astype(np.float64))


def energy(logits: Float64Array, temperature: float = 1.0) -> Float64Array:
    """(N, C) logits -> (N,) the negative energy T · log Σ_c e^(logit_c / T) (Liu et al. 2020, equation 4)."""
    return temperature * _log_sum_exp(logits / temperature)


def negatives_score(positive: Float32Array, negative: Float64Array) -> Float64Array:
    """The share of the labels in the softmax over labels and negative labels, averaged over groups of these.

    S = 1/G · Σ_g  Σ_c e^(cos_c / τ) / (Σ_c e^(cos_c / τ) + Σ_m∈g e^(cos_m / τ)) with τ = 0.01
    (NegLabel; Jiang et al. 2024, equation 7 and section 3.3, and the authors' `ScalableClassifier.grouping`).

    Args:
        positive: (N, C) cosines with the labels.
        negative: (N, M) cosines with the negative labels, which make min(100, M) groups of as many each, in
            their order; what is left over is not used.

    Returns:
        (N,) from 0 to 1.
    """
    groups = min(GROUPS, negative.shape[1])
    used = negative.shape[1] // groups * groups
    grouped = negative[:, :used].reshape(len(negative), groups, -1) / NEGATIVES_TEMPERATURE  # (N, G, M / G)
    labels = _log_sum_exp(positive.astype(np.float64) / NEGATIVES_TEMPERATURE)  # (N,)
    odds = _log_sum_exp(grouped) - labels[:, None]  # (N, G): log of negative mass over the labels'
    return np.asarray(np.exp(-np.logaddexp(0.0, odds)).mean(axis=1))


def threshold_for_rate(scores: Float32Array, rate: float) -> float:
    """The threshold that rejects at most this share of new images, from N that show the labels only.

    It is the k-th smallest score, k = floor((N + 1) · rate): a new image of the same kind scores below it
    with at most that probability (split conformal prediction; see `conformal.conformal_quantile`).

    Args:
        scores: (N,) of images that show the labels.
        rate: between 0 and 1.

    Raises:
        ClipcliError: too few images.
    """
    quantile = conformal_quantile(-scores.astype(np.float64), coverage := float(f"{1 - rate:.12g}"))
    if math.isinf(quantile):
        fewest = fewest_images(coverage)
        message = f"{len(scores)} images cannot show a threshold that rejects {rate:.4g} of them"
        raise ClipcliError(message, f"Use at least {fewest} images, or a larger share.")
    return -quantile


def threshold_between(inside: Float32Array, outside: Float32Array) -> float:
    """The threshold that tells images of the labels from outliers best.

    It maximises Youden's index, the share of images of the labels that reach it less the share of outliers
    that do (Youden 1950); of equals the lowest. It lies in the middle between two scores.

    Args:
        inside: (N,) scores of images that show the labels.
        outside: (M,) scores of outliers.
    """
    values = np.unique(np.concatenate([inside, outside]).astype(np.float64))
    cuts = np.concatenate([values[:1], (values[:-1] + values[1:]) / 2])  # the first one rejects none
    kept, passed = (
        1 - np.searchsorted(np.sort(one.astype(np.float64)), cuts) / len(one) for one in (inside, outside)
    )
    return float(cuts[np.argmax(kept - passed)])


def _log_sum_exp(values: Float64Array) -> Float64Array:
    """log Σ e^x over the last axis."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(values, axis=-1))
