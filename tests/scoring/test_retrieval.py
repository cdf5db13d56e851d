"""Recall of images and captions: cases small enough to compute by hand, ties, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from clipcli.scoring import metrics
from clipcli.scoring.bootstrap import bootstrap_interval
from clipcli.scoring.metrics import first_found
from clipcli.scoring.retrieval import Retrieval, evaluate_retrieval

AXES = np.eye(4, dtype=np.float32)


def recalls(found: Retrieval) -> tuple[dict[int, float], dict[int, float]]:
    """Image recall and text recall, without intervals."""
    image, text = found.image_recall, found.text_recall
    return {k: one.value for k, one in image.items()}, {k: one.value for k, one in text.items()}


def test_several_captions_an_image() -> None:
    """The second caption of the first image lies nearest to the second image."""
    images = AXES[:3]
    texts = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0]], np.float32)
    found = evaluate_retrieval(images, texts, [[0, 1], [2], [3]], recall_at=(1, 2, 3, 4))
    image, text = recalls(found)
    assert image == {1: 2 / 4, 2: 1, 3: 1}, "a k above the number of images is left out"
    assert text == {1: 2 / 3, 2: 1, 3: 1, 4: 1}, "the second image finds the first one's caption first"
    assert (found.images, found.captions) == (3, 4)
    assert found.image_chance == pytest.approx(1 / 3)
    assert found.text_chance == pytest.approx(4 / 3 / 4)


def test_a_caption_that_images_share_is_right_for_each() -> None:
    images, texts = AXES[[0, 1, 2]], AXES[[1, 2]]
    found = evaluate_retrieval(images, texts, [[0], [0], [1]], recall_at=(1,))
    assert recalls(found) == ({1: 1}, {1: 1}), (
        "the first image finds it with a cosine of 0, as the earlier one"
    )
    assert found.image_chance == pytest.approx((2 / 3 + 1 / 3) / 2)
    other = evaluate_retrieval(images[[2, 0, 1]], texts[::-1], [[0], [1], [1]], recall_at=(1,))
    assert recalls(other)[0] == {1: 1}


def test_of_equal_similarities_the_earlier_one_is_nearer() -> None:
    """Two copies of an image, each with a caption of its own that says the same of both."""
    images, texts = AXES[[0, 0, 1]], AXES[[0, 0, 1]]
    image, text = recalls(evaluate_retrieval(images, texts, [[0], [1], [2]], recall_at=(1, 2)))
    assert image == {1: 2 / 3, 2: 1}
    assert text == {1: 2 / 3, 2: 1}
    same = np.tile(AXES[:1], (50, 1))
    image, _ = recalls(evaluate_retrieval(same, same, [[row] for row in range(50)], recall_at=(1, 10)))
    assert image == {1: 1 / 50, 10: 10 / 50}, "features that tell nothing apart are no better than chance"


@pytest.mark.parametrize("levels", [1000, 3], ids=["hardly any ties", "many ties"])
def test_the_nearest_positive_is_found_as_by_sorting(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_QUERIES_PER_BLOCK", 7)
    generator = np.random.default_rng(levels)
    queries = generator.integers(-levels, levels, (50, 3)).astype(np.float32)
    gallery = generator.integers(-levels, levels, (30, 3)).astype(np.float32)
    positive = generator.random((50, 30)) < 0.1
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    sorted_positive = np.take_along_axis(positive, order, axis=1)
    expected = np.where(positive.any(axis=1), sorted_positive.argmax(axis=1), 30)
    assert (expected == 30).any()
    pairs = generator.permutation(np.argwhere(positive))
    assert first_found(queries, gallery, pairs).tolist() == expected.tolist()


def test_intervals_draw_the_captions_of_an_image_together() -> None:
    """Where all captions of an image are found or none is, 100 captions tell as much as 20 images."""
    images = np.eye(40, dtype=np.float32)[:20]
    shown = np.where(np.arange(20) % 2, np.arange(20), np.arange(20) + 20)  # every second one is not found
    texts = np.eye(40, dtype=np.float32)[np.repeat(shown, 5)]
    captions = [list(range(5 * row, 5 * row + 5)) for row in range(20)]
    recall = evaluate_retrieval(images, texts, captions, recall_at=(1,)).image_recall[1]
    assert recall.value == pytest.approx(0.55), "of equal similarities the first image is nearest"
    half = np.arange(20) % 2 == 1
    half[0] = True
    assert (recall.low, recall.high) == bootstrap_interval(half)


def test_images_without_a_caption_and_captions_without_an_image_are_refused() -> None:
    for captions in ([[0], []], [[0], [0]], [[0], [2]], [[0, 1]]):
        with pytest.raises(ValueError, match=r"no caption|no image"):
            evaluate_retrieval(AXES[:2], AXES[:2], captions)
    with pytest.raises(ValueError, match="no caption"):
        evaluate_retrieval(AXES[:0], AXES[:0], [])
    with pytest.raises(ValueError, match="none of 4 queries"):
        first_found(AXES, AXES, np.array([[0, 4]]))
