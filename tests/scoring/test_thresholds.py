"""Thresholds: cases by hand, and the precision of new images."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from clipcli.scoring.thresholds import NEVER, class_threshold, fewest_images, fit_thresholds


def cut(scores: list[float], right: str, support: int, min_precision: float | None = None) -> float:
    """The threshold of one class, from scores and a letter for each: r or w."""
    found = class_threshold(
        np.array(scores, np.float32), np.array([one == "r" for one in right]), support, min_precision
    )
    return round(found, 6)


def test_the_fewest_images_can_show_a_precision_if_all_are_right() -> None:
    assert [fewest_images(precision) for precision in (0.5, 0.75, 0.9, 0.95, 0.99)] == [1, 3, 9, 19, 99]
    scores = np.linspace(0.5, 0.9, 19).tolist()
    assert cut(scores, "r" * 19, 19, 0.95) == 0
    assert cut(scores[:18], "r" * 18, 18, 0.95) == NEVER
    assert cut([*scores, 0.95], "r" * 19 + "w", 19, 0.95) == NEVER


def test_a_minimum_precision_by_hand() -> None:
    """With 2/3: (wrong + 1) / (accepted + 1) is 1/2, 1/3, 2/4, 2/5, 2/6, 3/7, 4/8."""
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    assert cut(scores, "rrwrrww", 5, 2 / 3) == 0.45
    assert cut(scores, "rrwwrrr", 5, 2 / 3) == 0.75
    assert cut(scores, "wwwwwrr", 5, 2 / 3) == NEVER
    assert cut(scores[::-1], "wwrrwrr", 5, 2 / 3) == 0.45, "in whatever order images come"


def test_the_best_f1_by_hand() -> None:
    """F1 = 2 · right / (accepted + support): with 4 of the class, 2/5, 4/6, 4/7, 6/8, 6/9, 6/10."""
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert cut(scores, "rrwrww", 4) == 0.55
    assert cut(scores, "rrrwww", 3) == 0.65
    assert cut(scores, "rrrrrr", 6) == 0
    assert cut(scores, "wwwwww", 3) == NEVER


def test_of_equal_f1_the_lowest_threshold() -> None:
    """With one of the class: 2/2, 2/3 …; with two that all get it: 2/3, 4/5 after a wrong one, 2/3."""
    assert cut([0.9, 0.8, 0.7, 0.6], "rwwr", 2) == 0, "2/3 both for one and for four"


def test_equal_scores_are_accepted_together() -> None:
    assert cut([0.9, 0.8, 0.8, 0.7], "rrwr", 3, 0.5) == 0
    assert cut([0.9, 0.8, 0.8, 0.8, 0.8, 0.7], "rrwwww", 2) == 0.85
    assert cut([0.8, 0.8, 0.8], "rrw", 2, 0.7) == NEVER


def test_neighbouring_numbers_are_told_apart() -> None:
    """Their middle is rounded up for one pair, and down for the other."""
    numbers = [np.float32(0.75)]
    for _ in range(2):
        numbers.append(np.nextafter(numbers[-1], np.float32(1)))
    for low, high in pairwise(numbers):
        found = class_threshold(np.array([high, low], np.float32), np.array([True, False]), 1)
        assert low < np.float32(found) <= high


def test_each_class_has_its_own_threshold() -> None:
    """The best nine of ten are right; too few; never right; none."""
    predicted = np.array([0] * 10 + [1] * 9 + [2] * 10)
    target = np.array([0] * 9 + [1] + [1] * 9 + [0] * 10)
    scores = np.concatenate([np.linspace(0.95, 0.5, 10)] * 3)[: len(predicted)].astype(np.float32)
    found = fit_thresholds(scores, predicted, target, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.525, np.nan, NEVER, np.nan], rtol=1e-6)
    strict = fit_thresholds(scores, predicted, target, 4, 0.9)
    np.testing.assert_allclose(strict, [0.525, 0, NEVER, np.nan], rtol=1e-6)


@pytest.mark.parametrize("min_precision", [0.9, 0.95])
def test_new_images_keep_the_precision_on_average(min_precision: float) -> None:
    """Scores are as sure as they are right, and more than a tenth of the images is rejected."""
    generator = np.random.default_rng(0)
    precisions, kept = [], []
    for _ in range(300):
        scores = generator.beta(6, 1, 4400).astype(np.float32)
        right = generator.random(4400) < scores
        threshold = class_threshold(scores[:400], right[:400], 0, min_precision)
        accepted = scores[400:] >= threshold
        kept.append(accepted.mean())
        if accepted.any():
            precisions.append(right[400:][accepted].mean())
    error = np.std(precisions, ddof=1) / math.sqrt(len(precisions))
    assert len(precisions) > 280
    assert np.mean(kept) < 0.9
    assert min_precision - 2 * error < np.mean(precisions) < min_precision + 0.01
