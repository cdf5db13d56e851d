"""What probes of every kind are: a linear map from features to logits; and what they are fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clipcli.scoring.classifier import Float64Array
from clipcli.scoring.evaluation import Indices


class LinearHead(NamedTuple):
    """logits (N, C) = features (N, D) @ weights (C, D).T + bias (C,)."""

    weights: Float64Array
    bias: Float64Array

    def logits(self, features: Float64Array) -> Float64Array:
        """(N, D) features -> (N, C) logits."""
        return np.asarray(features @ self.weights.T + self.bias)

    def scaled(self, factor: float) -> LinearHead:
        """The head whose logits are so many times as large."""
        return LinearHead(factor * self.weights, factor * self.bias)

    def plus(self, other: LinearHead) -> LinearHead:
        """The head whose logits are the sums of both."""
        return LinearHead(self.weights + other.weights, self.bias + other.bias)


class Examples(NamedTuple):
    """Images whose classes are known: features (N, D) of unit norm, target (N,), and how many classes there
    are, C, each with an image at least.
    """

    features: Float64Array
    target: Indices
    classes: int


def class_means(examples: Examples) -> Float64Array:
    """The mean of each class's features -> (C, D)."""
    features, target, classes = examples
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, target, features)
    return np.asarray(sums / np.bincount(target, minlength=classes)[:, None])


def normalised(vectors: Float64Array) -> Float64Array:
    """(M, D) -> (M, D), unit norm."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
