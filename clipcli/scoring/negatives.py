"""Negative labels: nouns far from all labels, chosen and grouped by the recipe of NegLabel."""

from __future__ import annotations

import numpy as np

from clipcli.records import Float32Array
from clipcli.scoring.rejection import GROUPS

PERCENTILE = 0.95
FARTHEST = 0.15
"""The share of all nouns that become negative labels."""


def mine_negatives(noun_features: Float32Array, class_embeddings: Float32Array) -> Float32Array:
    """The features of the nouns that are farthest from the labels, in the order of their groups.

    The distance of a noun from the labels is told by the 95th percentile of its cosines with them, and the
    15 % with the lowest are taken (NegMining; Jiang et al. 2024, algorithm 1, and the authors'
    `CLIPScalableClassifier`). They are shuffled, so that groups are random, and what does not fill the groups
    is left out. The order is drawn with a seed, so that equal labels have equal negatives.

    Args:
        noun_features: (K, D) of unit norm.
        class_embeddings: (C, D) of unit norm.

    Returns:
        (M, D) with M a multiple of the number of groups.

    Raises:
        ValueError: there is no noun.
    """
    if not len(noun_features):
        raise ValueError("no noun to take as a negative label")
    cosines = noun_features.astype(np.float64) @ class_embeddings.astype(np.float64).T  # (K, C)
    nearness = np.quantile(cosines, PERCENTILE, axis=1)  # (K,)
    farthest = np.argsort(nearness, kind="stable")[: max(int(len(nearness) * FARTHEST), 1)]
    shuffled = np.random.default_rng(0).permutation(farthest)
    groups = min(GROUPS, len(shuffled))
    return np.asarray(noun_features[shuffled[: len(shuffled) // groups * groups]])
