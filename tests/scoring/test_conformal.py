"""Split conformal prediction: cases by hand, and coverage in many splits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipcli.scoring.conformal import conformal_quantile, fewest_images, in_sets, nonconformity


def test_nonconformity_is_what_the_true_class_lacks_of_1() -> None:
    probs = np.array([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]], np.float32)
    assert nonconformity(probs, [0, 1, 0]).tolist() == [0.25, 0.5, 0.875]
    with pytest.raises(ValueError, match="none of 2 classes"):
        nonconformity(probs, [0, 1, 2])


@pytest.mark.parametrize(
    ("images", "coverage", "rank"),
    [
        (9, 0.9, 9),  # ceil(10 · 0.9) = 9: the largest
        (10, 0.9, 10),  # ceil(11 · 0.9) = 10
        (19, 0.9, 18),  # ceil(20 · 0.9) = 18
        (20, 0.9, 19),  # ceil(21 · 0.9) = ceil(18.9)
        (99, 0.9, 90),
        (3, 0.5, 2),
        (4, 0.5, 3),
        (99, 0.29, 29),  # in floating point, 100 · 0.29 is 28.999999999999996
        (99, 0.07, 7),  # and 100 · 0.07 is 7.000000000000001
    ],
)
def test_the_quantile_by_hand(images: int, coverage: float, rank: int) -> None:
    """The nonconformities are 1, 2, …, n over 100, in any order."""
    values = np.random.default_rng(0).permutation(np.arange(1, images + 1)) / 100
    assert conformal_quantile(values, coverage) == rank / 100


@pytest.mark.parametrize(("images", "coverage"), [(0, 0.9), (8, 0.9), (18, 0.95), (98, 0.99), (2, 0.7)])
def test_too_few_images_have_an_infinite_quantile(images: int, coverage: float) -> None:
    values = np.linspace(0.1, 0.9, images)
    assert conformal_quantile(values, coverage) == math.inf
    assert fewest_images(coverage) == images + 1 or images < 8
    assert in_sets(np.zeros((2, 3), np.float32), math.inf).all()


def test_the_fewest_images_have_a_finite_quantile() -> None:
    for coverage in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999):
        fewest = fewest_images(coverage)
        assert math.isfinite(conformal_quantile(np.zeros(fewest), coverage))
        assert conformal_quantile(np.zeros(fewest - 1), coverage) == math.inf


def test_sets_are_the_classes_that_lack_at_most_the_quantile() -> None:
    probs = np.array([[0.75, 0.25, 0.0], [0.5, 0.375, 0.125], [0.34, 0.33, 0.33]], np.float32)
    assert in_sets(probs, 0.625).tolist() == [[True, False, False], [True, True, False], [False] * 3]


def test_the_image_that_gave_the_quantile_has_its_true_class_in_its_set() -> None:
    """Where rounding could put it on either side."""
    probs = np.random.default_rng(0).dirichlet(np.ones(5), 999).astype(np.float32)
    target = np.random.default_rng(1).integers(0, 5, 999)
    quantile = conformal_quantile(nonconformity(probs, target), 0.8)
    held = in_sets(probs, quantile)[np.arange(999), target]
    assert held.sum() == 800


def test_what_cannot_be_is_refused() -> None:
    for coverage in (0.0, 1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="coverage"):
            conformal_quantile(np.zeros(3), coverage)
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile(np.array([0.1, math.nan]), 0.5)


@pytest.mark.parametrize(("images", "coverage"), [(19, 0.9), (40, 0.8), (200, 0.95)])
def test_sets_cover_as_often_as_asked_in_200_splits(images: int, coverage: float) -> None:
    """The expected coverage is k / (n + 1). The true classes are drawn from p², so p is not sure enough."""
    generator = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        probs = generator.dirichlet(np.full(6, 0.5), images + 400)
        target = (2 * np.log(probs) + generator.gumbel(size=probs.shape)).argmax(axis=1)
        quantile = conformal_quantile(nonconformity(probs[:images], target[:images]), coverage)
        shares.append(in_sets(probs, quantile)[np.arange(len(probs)), target][images:].mean())
    error = np.std(shares, ddof=1) / math.sqrt(200)
    exact = math.ceil((images + 1) * coverage - 1e-9) / (images + 1)
    assert abs(np.mean(shares) - exact) < 2 * error
    assert np.mean(shares) > coverage - 2 * error
