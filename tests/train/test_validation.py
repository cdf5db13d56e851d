"""Validation: classes by concept, and recall both ways."""

from __future__ import annotations

import numpy as np
import pytest

from clipcli.train.pairs import Caption, Pair
from clipcli.train.validation import validation_metrics


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
