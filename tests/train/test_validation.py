"""Validation: recall, and classes by concept."""

from __future__ import annotations

import numpy as np
import pytest

from clipcli.train.pairs import Caption, Pair
from clipcli.train.validation import recall_at, validation_metrics


def test_recall_counts_queries_with_a_positive_among_the_nearest() -> None:
    queries, gallery = np.eye(3, dtype=np.float32), np.array([[3, 2, 0], [2, 3, 1], [1, 1, 3]], np.float32)
    own = np.eye(3, dtype=np.bool_)
    assert recall_at(1, queries, gallery, own) == 1
    assert recall_at(1, queries, gallery, own[[1, 0, 2]]) == pytest.approx(1 / 3)
    assert recall_at(2, queries, gallery, own[[1, 0, 2]]) == 1
    assert recall_at(9, queries, gallery, np.zeros((3, 3), np.bool_)) == 0


def test_validation_is_by_concept_where_there_is_one() -> None:
    texts = [Caption("a tabby", "cat"), Caption("a tom", "cat"), Caption("a poodle", "dog")]
    pairs = [Pair("0", (texts[0],)), Pair("1", (texts[1],)), Pair("2", (texts[2],))]
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    images = np.array([[0, 1, 0], [1, 0, 0], [0.8, 0, 0.6]], np.float32)
    metrics = validation_metrics(pairs, texts, images, features)
    assert metrics.acc1 == 1, "to the mean of both cats, the third picture has 0.57, to the dog 0.6"
    assert metrics.image_to_text_r1 == pytest.approx(2 / 3), "the nearest caption of the third is a cat's"
    assert metrics.image_to_text_r5 == 1
    assert metrics.text_to_image_r1 == 1, "another picture of the concept is right, too"
