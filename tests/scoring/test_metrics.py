"""Metrics: cases small enough to compute by hand, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipcli.scoring import metrics
from clipcli.scoring.metrics import (
    accuracy,
    mean_per_class_recall,
    ranks,
    recall_at_k,
    wilson_interval,
)

# The true classes are the best, the second, the third and the best.
SCORES = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.3, 0.7]])
TARGET = [0, 1, 2, 2]


def test_ranks_count_the_classes_that_come_first() -> None:
    assert ranks(SCORES, TARGET).tolist() == [0, 1, 2, 0]


def test_of_equal_scores_the_earlier_class_comes_first() -> None:
    equal = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9]])
    assert ranks(equal, [1, 1]).tolist() == [1, 2]
    assert accuracy(np.zeros((2, 3)), [0, 2], (1, 2)) == {"acc1": 0.5, "acc2": 0.5}


def test_accuracy_is_the_share_among_the_k_best() -> None:
    assert accuracy(SCORES, TARGET, (1, 2, 3)) == {"acc1": 0.5, "acc2": 0.75, "acc3": 1.0}


def test_top_5_of_fewer_classes_is_left_out() -> None:
    assert accuracy(SCORES, np.array(TARGET)) == {"acc1": 0.5}
    assert set(accuracy(np.zeros((1, 5)), [0])) == {"acc1", "acc5"}


def test_each_class_with_an_image_counts_the_same_in_mean_per_class_recall() -> None:
    scores = np.eye(4)[[0, 0, 0, 1, 0, 2]]  # the classes that are predicted
    assert mean_per_class_recall(scores, [0, 0, 0, 0, 1, 2]) == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert accuracy(scores, [0, 0, 0, 0, 1, 2], (1,))["acc1"] == pytest.approx(4 / 6)


def test_recall_counts_queries_with_a_positive_among_the_nearest() -> None:
    queries, gallery = np.eye(3, dtype=np.float32), np.array([[3, 2, 0], [2, 3, 1], [1, 1, 3]], np.float32)
    own = np.eye(3, dtype=np.bool_)
    assert recall_at_k(queries, gallery, own, 1) == 1
    assert recall_at_k(queries, gallery, own[[1, 0, 2]], 1) == pytest.approx(1 / 3)
    assert recall_at_k(queries, gallery, own[[1, 0, 2]], 2) == 1
    assert recall_at_k(queries, gallery, np.zeros((3, 3), np.bool_), 9) == 0
    assert recall_at_k(queries, gallery, np.ones((3, 3), np.bool_), 2) == 1, "a query counts once"


def test_recall_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    queries, gallery = generator.normal(size=(50, 4)), generator.normal(size=(20, 4))
    positive = generator.random((50, 20)) < 0.1
    whole = recall_at_k(queries, gallery, positive, 3)
    monkeypatch.setattr(metrics, "_QUERIES_PER_BLOCK", 7)
    assert 0 < whole < 1
    assert recall_at_k(queries, gallery, positive, 3) == whole


def test_wilsons_interval() -> None:
    """Of 50 and 0 of 100 and 10: Newcombe 1998 has (0.4038, 0.5962) and (0, 0.2775)."""
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(1, 10) == pytest.approx((1 - 0.2775, 1), abs=1e-4)
    narrow, wide = (wilson_interval(0.5, 100, confidence) for confidence in (0.5, 0.99))
    assert wide[0] < 0.4038 < narrow[0]


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        (SCORES, [0, 1], "do not fit"),
        (SCORES[0], [0, 1, 2], "do not fit"),
        (SCORES[:0], [], "do not fit"),
        (SCORES, [0, 1, 2, 3], "none of 3 classes"),
        (SCORES, [0, 1, 2, -1], "none of 3 classes"),
        (SCORES * [np.nan, 1, 1], TARGET, "NaN"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores: np.ndarray, target: list[int], message: str) -> None:
    for metric in (accuracy, mean_per_class_recall):
        with pytest.raises(ValueError, match=message):
            metric(scores, target)


def test_other_values_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="positives for 2 queries"):
        recall_at_k(np.eye(2), np.eye(2), np.zeros((2, 3), np.bool_), 1)
    for share, count in ((1.1, 3), (-0.1, 3), (0.5, 0), (math.nan, 3)):
        with pytest.raises(ValueError, match="has no interval"):
            wilson_interval(share, count)
