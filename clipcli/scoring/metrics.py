"""How good predictions are: pure functions of scores and true classes, named as in papers.

Numpy only. Scores (logits, cosines or probabilities) are (N, C) with one row per image, targets (N,) hold the
index of the true class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.floating[Any]]
Target: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]

_QUERIES_PER_BLOCK = 1024
_MOST_SIMILARITIES = 2**24  # of a block, so that those of a large gallery fit in memory


# --- Accuracy ------------------------------------------------------------------------------------


def ranks(scores: Scores, target: Target) -> npt.NDArray[np.intp]:
    """The place of each image's true class among all classes, 0 being the best -> (N,).

    Of classes with equal scores the earlier one comes first, as in the output of `classify`.

    Args:
        scores: (N, C), higher is better.
        target: (N,) indices of the true classes.

    Raises:
        ValueError: the shapes do not fit, a target is no class, or a score is NaN.
    """
    target = checked_target(scores, target)
    true_scores = scores[np.arange(len(target)), target][:, None]  # (N, 1)
    earlier = np.arange(scores.shape[1]) < target[:, None]  # (N, C)
    return np.asarray(((scores > true_scores) | ((scores == true_scores) & earlier)).sum(axis=1))


def accuracy(scores: Scores, target: Target, topk: Sequence[int] = (1, 5)) -> dict[str, float]:
    """The share of images whose true class is among the k best, as `acc1`, `acc5`, …

    As in `clip_benchmark.metrics.zeroshot_classification.accuracy`, from which the names come. A k above the
    number of classes is left out, because every image would count as right.

    Args:
        scores: (N, C), higher is better.
        target: (N,) indices of the true classes.
        topk: the values of k.

    Raises:
        ValueError: as in `ranks`.
    """
    rank = ranks(scores, target)
    return {f"acc{k}": float(np.mean(rank < k)) for k in topk if k <= scores.shape[1]}


def mean_per_class_recall(scores: Scores, target: Target) -> float:
    """Top-1 accuracy of each class, averaged over the classes that have an image.

    It is scikit-learn's `balanced_accuracy_score`, with which CLIP_benchmark computes it, and does not depend
    on how many images each class has.

    Args:
        scores: (N, C), higher is better.
        target: (N,) indices of the true classes.

    Raises:
        ValueError: as in `ranks`.
    """
    right = ranks(scores, target) == 0
    count = np.bincount(target, minlength=scores.shape[1])  # (C,)
    recalled = np.bincount(target, weights=right, minlength=scores.shape[1])
    return float(np.mean(recalled[count > 0] / count[count > 0]))


def first_found(
    queries: Scores, gallery: Scores, pairs: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """The place of the nearest positive of each query in the gallery, 0 being the best -> (Q,).

    Of equal similarities the earlier one is nearer. They are computed in float64 and rounded to float32, so
    that equal features have equal ones wherever they stand. A query without a positive has the place G.

    Args:
        queries: (Q, D) features of unit norm.
        gallery: (G, D) features of unit norm.
        pairs: (P, 2) indices of a query and of one of its positives.

    Raises:
        ValueError: an index is none of the queries or of the gallery.
    """
    if len(pairs) and (pairs.min() < 0 or (pairs.max(axis=0) >= (len(queries), len(gallery))).any()):
        raise ValueError(f"a pair is none of {len(queries)} queries and {len(gallery)} others")
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    found = np.full(len(queries), len(gallery), dtype=np.int64)
    exact = gallery.T.astype(np.float64)
    size = max(1, min(_QUERIES_PER_BLOCK, _MOST_SIMILARITIES // max(1, len(gallery))))
    for start in range(0, len(queries), size):
        block = queries[start : start + size]
        similarity = (block.astype(np.float64) @ exact).astype(np.float32)  # (B, D) @ (D, G)
        low, high = np.searchsorted(ordered[:, 0], (start, start + len(block)))
        rows, positives = (ordered[low:high] - (start, 0)).T
        found[start : start + len(block)] = _first_of_block(similarity, rows, positives)
    return found


def _first_of_block(
    similarity: npt.NDArray[np.float32], rows: npt.NDArray[Any], positives: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """The same of (B, G) similarities; a row's positives follow each other, in ascending order."""
    nearest = np.lexsort((positives, -similarity[rows, positives], rows))  # the nearest of each row first
    some, first = np.unique(rows[nearest], return_index=True)
    best = positives[nearest[first]][:, None]  # (B', 1)
    of_rows = similarity[some]
    level = np.take_along_axis(of_rows, best, axis=1)
    before = (of_rows > level) | ((of_rows == level) & (np.arange(similarity.shape[1]) < best))
    found = np.full(len(similarity), similarity.shape[1], dtype=np.int64)
    found[some] = before.sum(axis=1)
    return found


def recall_at_k(queries: Scores, gallery: Scores, positive: npt.NDArray[np.bool_], k: int) -> float:
    """The share of queries with a positive among the k nearest of a gallery (recall@k of retrieval).

    As in CLIP_benchmark's `zeroshot_retrieval.evaluate`, where a query counts once however many of its
    positives are found. Of equal similarities the earlier one is nearer.

    Args:
        queries: (Q, D) features of unit norm.
        gallery: (G, D) features of unit norm.
        positive: (Q, G), which of the gallery are right for which query.
        k: how many of the gallery are looked at.

    Raises:
        ValueError: the shapes do not fit, or there is no query.
    """
    if not len(queries) or positive.shape != (len(queries), len(gallery)):
        raise ValueError(f"{positive.shape} positives for {len(queries)} queries and {len(gallery)} others")
    found = first_found(queries, gallery, np.argwhere(positive))
    return float(np.mean(found < min(k, len(gallery))))


def wilson_interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval in which a share of `count` images lies (E. B. Wilson 1927, as in Wikipedia's formula).

    Args:
        share: from 0 to 1, such as an accuracy.
        count: images that it was measured on.
        confidence: how likely the interval holds the true share.

    Raises:
        ValueError: a share outside 0 to 1, or no image.
    """
    if not (0 <= share <= 1 and count > 0):
        raise ValueError(f"a share of {share} of {count} images has no interval")
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def checked_target(scores: Scores, target: Target) -> npt.NDArray[np.intp]:
    """The targets as indices, once they are known to fit the scores.

    Args:
        scores: (N, C).
        target: (N,) indices of the true classes.

    Raises:
        ValueError: as in `ranks`.
    """
    indices = np.asarray(target, dtype=np.intp)
    if scores.ndim != 2 or not len(scores) or indices.shape != scores.shape[:1]:
        raise ValueError(f"scores of shape {scores.shape} do not fit targets of shape {indices.shape}")
    if indices.min() < 0 or indices.max() >= scores.shape[1]:
        raise ValueError(f"a target is none of {scores.shape[1]} classes")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    return indices
