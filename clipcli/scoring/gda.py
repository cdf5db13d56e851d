"""Gaussian discriminant analysis: a Gaussian for each class, with one covariance for all, in closed form."""

from __future__ import annotations

import math

import numpy as np

from clipcli.scoring.linear_head import Examples, LinearHead, class_means

_NO_SPREAD = 1e-12  # of features that have unit norm


def gda(examples: Examples) -> LinearHead | None:
    """The Bayes classifier of Gaussians with the means of the classes and one shared covariance.

    With cov (D, D) of the N features less the means of their classes, and the same prior p = 1 / C for all:

        Σ⁻¹ = D · pinv((N - 1) · cov + tr(cov) · I)
        W_c = Σ⁻¹ μ_c                                    (C, D)
        b_c = log p - ½ μ_cᵀ Σ⁻¹ μ_c                     (C,)

    Wang et al. 2024, "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (ICLR), as in the
    authors' code, which divides cov by N - 1. The matrix is positive definite, so that solving for the means
    is the same as inverting it.

    Returns:
        the head, or None where no class has two images that differ: there is no covariance then.
    """
    features, target, classes = examples
    count, dimensions = features.shape
    means = class_means(examples)  # (C, D)
    centred = features - means[target]  # (N, D)
    scatter = centred.T @ centred  # (D, D), (N - 1) · cov: the rows of each class sum to 0
    trace = float(np.trace(scatter)) / max(count - 1, 1)
    if trace < _NO_SPREAD:
        return None
    weights = dimensions * np.linalg.solve(scatter + trace * np.eye(dimensions), means.T).T
    return LinearHead(weights, -math.log(classes) - (means * weights).sum(axis=1) / 2)
