"""What a classifier is fitted to, as it is collected."""

from __future__ import annotations

import numpy as np
import pytest

from clipcli.errors import UsageError
from clipcli.output import labelled
from clipcli.output.labelled import LabelledCosines
from clipcli.records import ImageFailure, ImagePredictions
from clipcli.scoring.targets import match_truths

ROW = np.array([0.9, 0.1, 0.0], np.float32)


def test_images_with_a_true_label_are_kept_in_order() -> None:
    collected = LabelledCosines(match_truths(["Cat", "sun", "zebra"], ["cat", "dog", "sun"]))
    assert (collected.cosines.shape, collected.target.tolist()) == ((0, 3), [])
    collected.add(ImageFailure("broken.png", "truncated", truth="Cat"))
    for number, truth in enumerate(["sun", None, "zebra", "Cat"]):
        collected.add(ImagePredictions("a.png", (), ROW * number, truth=truth))
    np.testing.assert_array_equal(collected.cosines, [ROW * 0, ROW * 3])
    assert collected.target.tolist() == [2, 0]


def test_more_cosines_than_memory_is_meant_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST_COSINES", 7)
    collected = LabelledCosines(match_truths(["cat"], ["cat", "dog", "sun"]))
    for _ in range(2):
        collected.add(ImagePredictions("a.png", (), ROW, truth="cat"))
    with pytest.raises(
        UsageError, match="too many images to fit a classifier to: of 3 classes, 2 can be used"
    ):
        collected.add(ImagePredictions("a.png", (), ROW, truth="cat"))
