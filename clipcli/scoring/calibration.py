"""How sure scores are and how often they are right: measured, and made to agree.

Scores are (N, C) with one row per image, targets (N,) hold the index of the true class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipcli.scoring.classifier import sigmoid, softmax
from clipcli.scoring.metrics import Scores, Target, checked_target

TEMPERATURES = (0.01, 100.0)
"""The least and the largest temperature that is fitted."""


def expected_calibration_error(
    confidence: Scores, correct: npt.NDArray[np.bool_], bins: int = 15, equal_mass: bool = False
) -> float:
    """How far confidence and accuracy are apart on average, from 0 (calibrated) to 1.

    Predictions are put into bins of like confidence; the gap between mean confidence and accuracy of each bin
    counts by its number of predictions (Guo et al. 2017, equation 3).

    Args:
        confidence: (N,) the probability of each image's best class.
        correct: (N,) whether it is the true class.
        bins: how many.
        equal_mass: bins of as many predictions each, in place of bins of equal width, which may be almost
            empty (Nguyen and O'Connor 2015; "adaptive" in Nixon et al. 2019).

    Raises:
        ValueError: the shapes do not fit, there is no prediction, or a confidence outside 0 to 1.
    """
    if not len(confidence) or confidence.shape != correct.shape:
        raise ValueError(f"confidence of shape {confidence.shape}, correct of shape {correct.shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence must be from 0 to 1")
    if equal_mass:
        bin_of = np.empty(len(confidence), dtype=np.intp)
        bin_of[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * bins // len(confidence)
    else:
        bin_of = np.maximum(np.ceil(confidence * bins).astype(np.intp) - 1, 0)  # ((b - 1) / B, b / B]
    gaps = np.bincount(bin_of, weights=confidence - correct)  # (B,): count · (mean confidence - accuracy)
    return float(np.abs(gaps).sum() / len(confidence))


def log_softmax(logits: Scores) -> Scores:
    """(N, C) logits -> (N, C) logarithms of the probabilities of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def negative_log_likelihood(logits: Scores, target: Target) -> float:
    """The mean of -log p(true class); least where probabilities are right (Guo et al. 2017, section 2).

    Args:
        logits: (N, C) before softmax.
        target: (N,) indices of the true classes.

    Raises:
        ValueError: as in `ranks`.
    """
    target = checked_target(logits, target)
    return float(-log_softmax(logits)[np.arange(len(target)), target].mean())


def fit_temperature(logits: Scores, target: Target, bounds: tuple[float, float] = TEMPERATURES) -> float:
    """The temperature T at which softmax(logits / T) has the least negative log-likelihood.

    Temperature scaling (Guo et al. 2017, section 4.2), which changes probabilities and never the order of
    classes. The negative log-likelihood is convex in b = 1 / T, and its derivative is the mean of
    sum_c p_c z_c - z_true, with p = softmax(b z). The temperature is where that is 0 or, if it is 0 nowhere
    between the bounds, the nearer bound: the lower one if all images are right, as larger logits are then
    always likelier.

    Args:
        logits: (N, C) before softmax.
        target: (N,) indices of the true classes.
        bounds: the least and the largest temperature.

    Raises:
        ValueError: as in `metrics.ranks`.
    """
    from scipy.optimize import brentq

    indices, exact = checked_target(logits, target), np.asarray(logits, dtype=np.float64)
    true = exact[np.arange(len(indices)), indices].mean()

    def slope(log_temperature: float) -> float:
        return float((softmax(exact / np.exp(log_temperature)) * exact).sum(axis=1).mean() - true)

    low, high = np.log(bounds)
    if slope(low) <= 0:
        return bounds[0]
    return bounds[1] if slope(high) >= 0 else float(np.exp(brentq(slope, low, high, xtol=1e-12)))


def fit_platt(logits: Scores, target: Target) -> tuple[float, float]:
    """The slope a and the intercept b at which sigmoid(a z + b) fits best whether a class is the true one.

    Platt scaling (Platt 1999, section 2.2): the negative log-likelihood of N · C pairs of image and class, of
    which the N true ones aim at (N + 1) / (N + 2) and the others at 1 / (N (C - 1) + 2), so that there is an
    optimum even if all are right. These are the pairs that a sigmoid model learns from (Zhai et al. 2023,
    equation 1). It is convex in a and b.

    Args:
        logits: (N, C) before sigmoid.
        target: (N,) indices of the true classes.

    Returns:
        a, which is negative if true classes have lower logits than others; and b.

    Raises:
        ValueError: as in `metrics.ranks`.
    """
    from scipy.optimize import minimize

    indices, exact = checked_target(logits, target), np.asarray(logits, dtype=np.float64)
    aims = np.full(exact.shape, 1 / (exact.size - len(exact) + 2))  # (N, C)
    aims[np.arange(len(indices)), indices] = (len(exact) + 1) / (len(exact) + 2)
    middle, spread = float(exact.mean()), float(exact.std()) or 1.0
    z = (exact - middle) / spread  # so that slope and intercept hardly depend on each other

    def loss(ab: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        s = ab[0] * z + ab[1]
        gaps = sigmoid(s) - aims
        value = (np.logaddexp(0.0, s) - aims * s).mean()
        return float(value), np.array([(gaps * z).mean(), gaps.mean()])

    def curvature(ab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        p = sigmoid(ab[0] * z + ab[1])
        w = p * (1 - p)
        return np.array([[(w * z * z).mean(), (w * z).mean()], [(w * z).mean(), w.mean()]])

    a, b = minimize(loss, (1.0, 0.0), jac=True, hess=curvature, method="trust-exact", tol=1e-10).x
    return float(a / spread), float(b - a * middle / spread)
