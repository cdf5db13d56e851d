"""Scores of images that show none of the labels, worked out by hand and against the published steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from clipcli.errors import ClipcliError
from clipcli.scoring import rejection
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.negatives import mine_negatives
from clipcli.scoring.ranking import Ranking
from clipcli.scoring.rejection import (
    Rejector,
    energy,
    mcm,
    msp,
    negatives_score,
    threshold_between,
    threshold_for_rate,
)


def unit(rows: int, columns: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_msp_mcm_and_energy_by_hand() -> None:
    logits = np.log(np.array([[1.0, 3.0], [4.0, 4.0]]))
    np.testing.assert_allclose(msp(logits), [0.75, 0.5])
    np.testing.assert_allclose(energy(logits), np.log([4.0, 8.0]))
    np.testing.assert_allclose(energy(logits, 2.0), [2 * math.log(1 + math.sqrt(3)), 2 * math.log(4)])
    cosines = np.array([[0.3, 0.1]], np.float32)
    np.testing.assert_allclose(mcm(cosines), [1 / (1 + math.exp(-0.2))], rtol=1e-6)


def test_scores_of_very_large_logits_are_finite() -> None:
    logits = np.array([[5000.0, 4000.0], [-5000.0, -5000.0]])
    np.testing.assert_allclose(msp(logits), [1.0, 0.5])
    np.testing.assert_allclose(energy(logits), [5000.0, -5000 + math.log(2)])


def published_grouping(positive: np.ndarray, negative: np.ndarray, groups: int) -> np.ndarray:
    """The steps of NegLabel's `grouping`, on cosines times 100: drop, group, softmax, sum, mean."""
    drop = negative.shape[1] % groups
    kept = negative[:, : negative.shape[1] - drop].reshape(len(negative), groups, -1)
    of_groups = []
    for group in range(groups):
        both = softmax(100.0 * np.concatenate([positive, kept[:, group]], axis=1), axis=1)
        of_groups.append(both[:, : positive.shape[1]].sum(axis=1))
    return np.stack(of_groups, axis=1).mean(axis=1)


@pytest.mark.parametrize("negatives", [1, 7, 100, 350])
def test_negatives_are_scored_by_the_published_steps(negatives: int) -> None:
    generator = np.random.default_rng(negatives)
    positive = generator.uniform(-0.1, 0.4, (5, 3)).astype(np.float32)
    negative = generator.uniform(-0.1, 0.4, (5, negatives))
    expected = published_grouping(positive.astype(np.float64), negative, min(negatives, 100))
    np.testing.assert_allclose(negatives_score(positive, negative), expected, rtol=1e-9)


def test_grouping_changes_the_score() -> None:
    positive, negative = np.array([[0.3]], np.float32), np.linspace(-0.1, 0.3, 200)[None]
    one_group = published_grouping(positive.astype(np.float64), negative, 1)
    assert negatives_score(positive, negative) > 2 * one_group


def test_negative_labels_are_the_farthest_nouns_by_the_published_steps() -> None:
    """Sort by the 95 % quantile of cosines with the labels; take 15 %; shuffle; fill the groups."""
    nouns, labels = unit(2000, 16, 0), unit(30, 16, 1)
    quantile = np.quantile(nouns.astype(np.float64) @ labels.astype(np.float64).T, 0.95, axis=1)
    farthest = set(np.argsort(quantile)[:300].tolist())
    mined = mine_negatives(nouns, labels)
    rows = [int(np.flatnonzero((nouns == one).all(axis=1))[0]) for one in mined]
    assert len(rows) == len(set(rows)) == 300
    assert set(rows) == farthest
    assert rows != sorted(rows, key=lambda row: quantile[row])
    np.testing.assert_array_equal(mined, mine_negatives(nouns, labels))
    assert len(mine_negatives(unit(1700, 16, 0), labels)) == 200  # of 255
    assert len(mine_negatives(unit(100, 16, 0), labels)) == 15
    assert len(mine_negatives(unit(3, 16, 0), labels)) == 1
    with pytest.raises(ValueError, match="no noun"):
        mine_negatives(nouns[:0], labels)


def test_a_rejector_scores_features_and_rejects_below_its_threshold() -> None:
    images, labels, negatives = unit(6, 8, 0), unit(3, 8, 1), unit(200, 8, 2)
    cosines = images @ labels.T
    rejector = Rejector("negatives", None, negatives)
    scores = rejector.scores(images, cosines, 100.0 * cosines.astype(np.float64))
    np.testing.assert_allclose(
        scores, negatives_score(cosines, images.astype(np.float64) @ negatives.T.astype(np.float64))
    )
    assert not rejector.rejects(scores).any()
    middle = float(np.sort(scores)[3])
    assert Rejector("negatives", middle, negatives).rejects(scores).tolist() == (scores < middle).tolist()
    assert Rejector("negatives", middle, negatives).rejects(scores).sum() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("best", None, None), "no such method"),
        (("mcm", math.nan, None), "a threshold of nan"),
        (("mcm", None, np.ones((2, 3), np.float32)), "negative labels are for the method"),
        (("negatives", 0.5, None), "negative labels are for the method"),
        (("negatives", 0.5, np.ones((0, 3), np.float32)), "negative labels of shape"),
    ],
)
def test_a_rejector_that_cannot_be_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rejector(*arguments)


# --- Thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "rate", "rank"),
    [(19, 0.05, 1), (20, 0.05, 1), (39, 0.05, 2), (99, 0.05, 5), (9, 0.1, 1), (99, 0.01, 1), (9, 0.3, 3)],
)
def test_the_threshold_for_a_rate_is_the_kth_smallest_score(images: int, rate: float, rank: int) -> None:
    """k = floor((N + 1) · rate); scores are 1, 2, …, N in any order, and k - 1 of them are below it."""
    scores = np.random.default_rng(0).permutation(np.arange(1, images + 1)).astype(np.float32)
    threshold = threshold_for_rate(scores, rate)
    assert threshold == rank
    assert Rejector("mcm", threshold).rejects(scores).sum() == rank - 1


@pytest.mark.parametrize(("images", "rate", "fewest"), [(18, 0.05, 19), (0, 0.5, 1), (98, 0.01, 99)])
def test_too_few_images_have_no_threshold(images: int, rate: float, fewest: int) -> None:
    with pytest.raises(ClipcliError) as caught:
        threshold_for_rate(np.zeros(images, np.float32), rate)
    assert f"at least {fewest} images" in caught.value.hint


def test_new_images_are_rejected_as_often_as_the_rate_says() -> None:
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        scores = generator.normal(size=2000).astype(np.float32)
        shares.append((scores[39:] < threshold_for_rate(scores[:39], 0.05)).mean())
    assert 0.04 < np.mean(shares) < 0.06  # k / (N + 1) = 2 / 40


def test_the_threshold_between_tells_both_best() -> None:
    inside, outside = np.array([4.0, 5, 6, 2], np.float32), np.array([1.0, 3, 0], np.float32)
    assert threshold_between(inside, outside) == 3.5  # keeps 3 of 4, lets none pass
    assert threshold_between(inside[:3], outside) == 3.5
    assert threshold_between(np.zeros(2, np.float32), np.zeros(2, np.float32)) == 0  # rejects none
    best = max((np.mean(inside >= cut) - np.mean(outside >= cut), -cut) for cut in np.arange(-0.5, 7, 0.5))
    assert -best[1] == pytest.approx(3.5, abs=0.5)


def test_the_constants_are_those_of_the_authors() -> None:
    assert (rejection.GROUPS, rejection.NEGATIVES_TEMPERATURE) == (100, 0.01)


def test_a_rejected_image_stays_unknown_where_its_group_is_sure() -> None:
    labels = np.array([[1, 0, 0], [0.96, 0.28, 0], [0, 0, 1]], np.float32)
    parents = (("animal",), ("animal",), ())
    classifier = Classifier(("cat", "dog", "car"), labels, 10.0, None, "softmax", "model", parents=parents)
    image = np.array([[0.99, np.sqrt(1 - 0.99**2), 0]], np.float32)
    ranking = Ranking(top_k=2, roll_up=0.9)
    (rolled,) = classifier.predict(["x"], image, ranking)
    assert (rolled.status, rolled.predictions[0].label) == ("ok", "animal")
    (rejected,) = replace(classifier, rejector=Rejector("mcm", 0.9)).predict(["x"], image, ranking)
    assert rejected.status == "unknown"
    (kept,) = replace(classifier, rejector=Rejector("mcm", 0.1)).predict(["x"], image, ranking)
    assert (kept.status, kept.reject_score) == ("ok", rejected.reject_score)
