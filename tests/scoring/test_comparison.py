"""Differences of classifiers on the same images: against draws that are made and sums written out."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from clipcli.scoring.comparison import all_differences, difference, mcnemar_p
from clipcli.scoring.evaluation import Estimate


def rights(images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """What two classifiers have right, the second a little more."""
    generator = np.random.default_rng(2)
    hard = generator.random(images)
    return hard + generator.normal(0, 0.1, images) < 0.7, hard + generator.normal(0, 0.1, images) < 0.76


def test_the_interval_is_that_of_pairs_that_are_drawn() -> None:
    first, second = rights()
    found = difference("a", "b", first, second)
    drawn = np.random.default_rng(9).integers(0, 400, (10_000, 400))
    means = second[drawn].mean(axis=1) - first[drawn].mean(axis=1)
    assert found.acc1.value == pytest.approx(second.mean() - first.mean())
    assert found.acc1[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)
    unpaired = second[drawn].mean(axis=1) - first[drawn[::-1]].mean(axis=1)
    width = found.acc1.high - found.acc1.low
    assert width < 0.8 * np.ptp(np.quantile(unpaired, [0.025, 0.975])), "pairs tell more"


def test_the_other_way_round_signs_and_counts_are_swapped() -> None:
    first, second = rights()
    there, back = difference("a", "b", first, second), difference("b", "a", second, first)
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert there.only_first == (first & ~second).sum()
    assert there.p == back.p
    assert there.acc1.value == -back.acc1.value


@pytest.mark.parametrize(("few", "many"), [(1, 8), (0, 5), (3, 3), (2, 3), (10, 25)])
def test_mcnemars_p_is_the_sum_of_both_tails(few: int, many: int) -> None:
    total = few + many
    tail = sum(comb(total, k) for k in range(few + 1)) / 2**total
    assert mcnemar_p(few, many) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar_p(many, few) == pytest.approx(min(1.0, 2 * tail))


def test_classifiers_that_agree_are_a_tie() -> None:
    right = np.array([True, False, True])
    found = difference("a", "b", right, right)
    assert (found.acc1, found.p, found.is_tie) == (Estimate(0, 0, 0), 1, True)


def test_few_images_are_a_tie_though_their_interval_has_no_width() -> None:
    for images, is_tie in ((3, True), (6, False)):
        found = difference("a", "b", np.zeros(images, bool), np.ones(images, bool))
        assert found.acc1 == Estimate(1, 1, 1)
        assert found.is_tie is is_tie, "of 3 images, one way of 4 is as far apart; of 6, one of 32"


def test_a_difference_is_no_tie_where_many_images_show_it() -> None:
    first, second = rights(4000)
    assert not difference("a", "b", first, second).is_tie
    assert difference("a", "b", first, np.roll(first, 1)).is_tie


def test_of_three_the_pairs_with_the_first_come_first() -> None:
    right = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], bool)
    found = all_differences(["a", "b", "c"], right)
    assert [(one.first, one.second, one.acc1.value) for one in found] == [
        ("a", "b", 0.25),
        ("a", "c", 0.5),
        ("b", "c", 0.25),
    ]
