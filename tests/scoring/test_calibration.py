"""Calibration: cases small enough to compute by hand, and fits against grids and other implementations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration

from clipcli.scoring.calibration import (
    TEMPERATURES,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    log_softmax,
    negative_log_likelihood,
)

CONFIDENCE = np.array([0.55, 0.65, 0.9, 1.0])
CORRECT = np.array([True, False, False, True])


def test_the_calibration_error_of_bins_of_equal_width() -> None:
    """Halves: all are in the upper one. Fifths: (0.4, 0.6], (0.6, 0.8] and twice (0.8, 1]."""
    assert expected_calibration_error(CONFIDENCE, CORRECT, 2) == pytest.approx(3.1 / 4 - 0.5)
    expected = (abs(0.55 - 1) + 0.65 + abs(1.9 - 1)) / 4
    assert expected_calibration_error(CONFIDENCE, CORRECT, 5) == pytest.approx(expected)


def test_a_confidence_on_an_edge_is_in_the_lower_bin() -> None:
    """(0, 0.5] and (0.5, 1]: the gaps 0 - 0.5 and 1 - 0.9 would cancel in one bin."""
    found = expected_calibration_error(np.array([0.5, 0.9, 0.0]), np.array([False, True, False]), 2)
    assert found == pytest.approx((0.5 + 0.1) / 3)


def test_the_calibration_error_of_bins_of_equal_mass() -> None:
    """The two least and the two most confident, whatever their distance and order."""
    expected = (abs(1.2 - 1) + abs(1.9 - 1)) / 4
    order = [3, 0, 1, 2]
    found = expected_calibration_error(CONFIDENCE[order], CORRECT[order], 2, equal_mass=True)
    assert found == pytest.approx(expected)


def test_what_is_as_often_right_as_it_is_sure_is_calibrated() -> None:
    confidence, correct = np.full(10, 0.7), np.arange(10) < 7
    assert expected_calibration_error(confidence, correct) == pytest.approx(0)
    assert expected_calibration_error(confidence, ~correct) == pytest.approx(0.4)


def test_negative_log_likelihood() -> None:
    logits = np.array([[0.0, 0.0], [math.log(3), 0.0], [800.0, 0.0]])
    np.testing.assert_allclose(np.exp(log_softmax(logits)), [[0.5, 0.5], [0.75, 0.25], [1, 0]])
    expected = -(math.log(0.5) + math.log(0.25) + 0) / 3
    assert negative_log_likelihood(logits, [0, 1, 0]) == pytest.approx(expected)


# --- Temperature ---------------------------------------------------------------------------------


def drawn(scale: float, images: int = 4000) -> tuple[np.ndarray, list[int]]:
    """Logits, and classes drawn as often as softmax(scale · logits) says."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (images, 8))
    noise = generator.gumbel(size=logits.shape)  # the largest sum is a draw from the softmax
    return logits, (scale * logits + noise).argmax(axis=1).tolist()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_the_one_by_which_the_classes_were_drawn(temperature: float) -> None:
    assert fit_temperature(*drawn(1 / temperature)) == pytest.approx(temperature, rel=0.06)


def test_no_temperature_of_a_fine_grid_fits_better() -> None:
    logits, target = drawn(0.5, 500)
    fitted = fit_temperature(logits, target)
    grid = np.geomspace(0.5, 8, 2001)
    losses = [negative_log_likelihood(logits / temperature, target) for temperature in grid]
    best = int(np.argmin(losses))
    assert grid[best - 1] < fitted < grid[best + 1]
    assert negative_log_likelihood(logits / fitted, target) <= min(losses)


def test_the_temperature_of_two_logits_by_hand() -> None:
    """Three of four are right by 1: σ(1 / T) = 3/4, and so T = 1 / ln 3."""
    logits = np.array([[1.0, 0.0]] * 4)
    assert fit_temperature(logits, [0, 0, 0, 1]) == pytest.approx(1 / math.log(3), rel=1e-9)


def test_images_that_tell_no_temperature_have_a_bound() -> None:
    assert fit_temperature(np.eye(3), [0, 1, 2]) == TEMPERATURES[0]
    assert fit_temperature(np.eye(3), [1, 2, 0]) == TEMPERATURES[1]
    assert fit_temperature(np.array([[1.0, 0.0]] * 4), [0, 0, 0, 1], (2, 5)) == 2


def test_large_logits_have_a_temperature() -> None:
    logits = np.array([[1000.0, 0.0]] * 4)
    assert fit_temperature(logits, [0, 0, 0, 1], (1, 1e5)) == pytest.approx(1000 / math.log(3), rel=1e-9)


# --- Platt's sigmoid -----------------------------------------------------------------------------


def test_platts_sigmoid_is_the_one_of_scikit_learn() -> None:
    """Theirs is 1 / (1 + exp(a f + b))."""
    logits, target = drawn(0.5, 500)
    slope, intercept = _sigmoid_calibration(logits.ravel(), np.eye(8)[target].ravel())
    assert fit_platt(logits, target) == pytest.approx((-slope, -intercept), rel=1e-5)


def test_platts_sigmoid_is_finite_where_all_are_right_and_falls_where_all_are_wrong() -> None:
    """By hand: the true logits 1 aim at 4/5 and the other six, which are 0, at 1/8."""
    slope, intercept = fit_platt(np.eye(3), [0, 1, 2])
    assert expit(slope + intercept) == pytest.approx(4 / 5)
    assert expit(intercept) == pytest.approx(1 / 8)
    assert fit_platt(np.eye(3), [1, 2, 0])[0] < 0


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [negative_log_likelihood, fit_temperature, fit_platt])
@pytest.mark.parametrize("target", [[0], [0, 3], [0, -1]])
def test_targets_that_do_not_fit_are_refused(function: Any, target: list[int]) -> None:
    with pytest.raises(ValueError, match=r"do not fit|none of 3 classes"):
        function(np.eye(3)[:2], target)


def test_a_confidence_that_cannot_be_is_refused() -> None:
    for confidence in ([0.5], [0.5, 1.5], [0.5, math.nan]):
        with pytest.raises(ValueError, match="confidence"):
            expected_calibration_error(np.array(confidence), np.array([True, False]))
