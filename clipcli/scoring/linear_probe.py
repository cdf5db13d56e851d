"""Logistic regression on features, as CLIP's authors evaluate them."""

from __future__ import annotations

import warnings

import numpy as np

from clipcli.scoring.calibration import negative_log_likelihood
from clipcli.scoring.folds import folds_of
from clipcli.scoring.linear_head import Examples, LinearHead

ITERATIONS = 1000
UNSWEPT = 1.0
"""The strength where no image can be held out to choose it: scikit-learn's own default."""
_FIRST = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)  # powers of 10
_STEPS = (1.0, 0.5, 0.25, 0.125)  # then 8 a decade
_PARTS = 3  # one of which is the validation split


def linear_probe(examples: Examples, strength: float) -> LinearHead:
    """Multinomial logistic regression with an L2 penalty, by scikit-learn's L-BFGS.

    The weights W and bias b are those with the least  ½ λ ‖W‖² + Σ_n -log softmax(W f_n + b)[y_n]
    (Radford et al. 2021, appendix A.3), that is `LogisticRegression(C=1 / λ, max_iter=1000)`.

    Args:
        examples: the images.
        strength: λ.
    """
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as many classes as images; 1000 iterations are the protocol
        fitted = LogisticRegression(C=1 / strength, max_iter=ITERATIONS)
        fitted.fit(examples.features, examples.target)
    weights, bias = fitted.coef_, fitted.intercept_
    if examples.classes == 2:  # which scikit-learn tells by one logit, that of the second
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearHead(weights, bias)


def sweep(examples: Examples, seed: int) -> float:
    """The strength λ with the best accuracy on a validation split: a third of the images of each class.

    λ is searched from 1e-6 to 1e6: in steps of two decades first, and then around the best one in steps that
    halve, to eight a decade (Radford et al. 2021, appendix A.3). Of equally accurate ones the likelier wins.

    Args:
        examples: the images.
        seed: of the split.
    """
    held_out = folds_of(examples.target, _PARTS, seed) == 0
    if not held_out.any():
        return UNSWEPT
    rest = Examples(examples.features[~held_out], examples.target[~held_out], examples.classes)
    true = examples.target[held_out]
    found: dict[float, tuple[float, float]] = {}

    def try_all(powers: tuple[float, ...]) -> float:
        for power in powers:
            if power not in found and abs(power) <= _FIRST[-1]:
                logits = linear_probe(rest, 10**power).logits(examples.features[held_out])
                right = float((logits.argmax(axis=1) == true).mean())
                found[power] = right, -negative_log_likelihood(logits, true)
        return max(found, key=found.__getitem__)

    best = try_all(_FIRST)
    for step in _STEPS:
        best = try_all((best - step, best + step))
    return float(10**best)
