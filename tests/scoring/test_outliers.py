"""AUROC, FPR95 and fitted thresholds on scores written down by hand."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from clipcli.errors import ClipcliError
from clipcli.scoring.outliers import auroc, fit_rejection, fpr95, separate, separation


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    inside, outside = scores(4, 2, 3), scores(1, 3)
    pairs = [(1.0 if a > b else 0.5 if a == b else 0.0) for a in inside for b in outside]
    assert auroc(inside, outside) == pytest.approx(np.mean(pairs))
    assert auroc(scores(2, 3), scores(0, 1)) == 1
    assert auroc(scores(0, 1), scores(2, 3)) == 0


def test_fpr95_counts_outliers_that_reach_what_95_percent_of_images_reach() -> None:
    inside = np.arange(1, 21, dtype=np.float32)  # 19 of 20 reach 2
    assert fpr95(inside, scores(1, 2, 3, 0)) == 0.5
    assert fpr95(inside, scores(1.5, 1.9)) == 0
    assert fpr95(scores(5), scores(5, 6, 4)) == pytest.approx(2 / 3)  # all of one image must reach it
    assert fpr95(np.arange(100, dtype=np.float32), scores(4.5, 5.0)) == 0.5


def test_the_best_method_comes_first() -> None:
    inside = {"msp": scores(1, 2), "mcm": scores(2, 3)}
    outside = {"msp": scores(1.5, 0), "mcm": scores(0, 1)}
    report = separate(inside, outside)
    assert (report.images, report.outliers) == (2, 2)
    assert [(one.method, one.auroc.value) for one in report.methods] == [("mcm", 1.0), ("msp", 0.75)]
    for images, outliers, missing in (
        (inside, {"msp": scores()}, "outlier"),
        ({"msp": scores()}, outside, "image"),
    ):
        with pytest.raises(ClipcliError, match=f"no {missing}"):
            separate(images, outliers)


def test_intervals_are_those_of_draws_of_images_and_of_outliers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of what is drawn are computed one by one, by scikit-learn; equal scores count half."""
    monkeypatch.setattr("clipcli.scoring.outliers.FEW_RESAMPLES", 100)
    generator = np.random.default_rng(3)
    inside, outside = (
        np.sort(generator.normal(mean, 1, count).round(1)).astype(np.float32)
        for mean, count in ((1, 60), (0, 45))
    )
    draws = np.random.default_rng(5)
    drawn = []
    for _ in range(100):
        some, others = inside[draws.integers(0, 60, 60)], outside[draws.integers(0, 45, 45)]
        drawn.append((auroc(some, others), fpr95(some, others)))
    shuffled = generator.permutation(inside), generator.permutation(outside)
    found = separation("mcm", *shuffled, seed=5)
    figures = (auroc(inside, outside), fpr95(inside, outside))
    for estimate, figure, values in zip(found[1:], figures, np.transpose(drawn), strict=True):
        assert estimate.value == figure
        expected = np.quantile(values + figure - values.mean(), [0.025, 0.975])
        assert estimate[1:] == pytest.approx(np.clip(expected, 0, 1).tolist(), abs=1e-12)
        assert 0.1 < estimate.high - estimate.low < 0.6


def test_intervals_hold_the_true_figure_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of normal scores whose means are 1 apart, AUROC is Φ(1 / √2)."""
    monkeypatch.setattr("clipcli.scoring.outliers.FEW_RESAMPLES", 200)
    generator, true = np.random.default_rng(0), NormalDist().cdf(0.5**0.5)
    held = 0
    for _ in range(60):
        inside, outside = (generator.normal(mean, 1, 50).astype(np.float32) for mean in (1, 0))
        found = separation("mcm", inside, outside).auroc
        held += found.low <= true <= found.high
    assert held >= 51, "95 % of 60 are 57, with a standard deviation of 1.7"


def test_where_all_are_told_apart_the_interval_has_no_width() -> None:
    assert separation("mcm", scores(2, 3), scores(0, 1))[1:] == ((1, 1, 1), (0, 0, 0))


HALVES = (np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7]))


def test_a_threshold_is_fitted_to_one_half_and_measured_on_the_other() -> None:
    """The halves of the images differ, so that measuring the wrong one would show."""
    inside = {"mcm": scores(10, 1, 11, 20, 12, 20, 13, 2)}
    outside = {"mcm": np.concatenate([np.full(10, 5, np.float32)])}
    found = fit_rejection(inside, outside, HALVES, 0, None)
    assert (found.method, found.threshold, found.rate) == ("mcm", 7.5, None)
    assert found.rejected.value == 0.5  # 1 and 2 of the other half
    assert found.outliers_rejected is not None
    assert found.outliers_rejected.value == 1


def test_the_method_is_chosen_on_the_half_that_is_fitted_to() -> None:
    inside = {"msp": scores(9, 0, 9, 0, 9, 0, 9, 0), "mcm": scores(0, 9, 0, 9, 0, 9, 0, 9)}
    outside = {name: np.full(6, 5, np.float32) for name in inside}
    assert fit_rejection(inside, outside, HALVES, 0, None).method == "msp"
    assert fit_rejection(inside, outside, HALVES[::-1], 0, None).method == "mcm"


def test_without_outliers_the_rate_tells_the_threshold() -> None:
    inside = {"mcm": scores(1, 0, 2, 0, 3, 10, 4, 10)}
    found = fit_rejection(inside, None, HALVES, 0, 0.4)
    assert (found.threshold, found.rate) == (2.0, 0.4)  # floor(5 · 0.4) = 2
    assert found.rejected.value == 0.5
    assert found.outliers_rejected is None
    with pytest.raises(ClipcliError, match="cannot show"):
        fit_rejection(inside, None, HALVES, 0, None)


def test_outliers_do_not_move_a_rate() -> None:
    inside = {"mcm": scores(1, 0, 2, 0, 3, 10, 4, 10)}
    outside = {"mcm": np.full(10, 3.5, np.float32)}
    found = fit_rejection(inside, outside, HALVES, 0, 0.4)
    assert found.threshold == 2.0
    assert found.outliers_rejected is not None
    assert found.outliers_rejected.value == 0
    with pytest.raises(ClipcliError, match="two are needed"):
        fit_rejection(inside, {"mcm": scores(1)}, HALVES, 0, 0.4)
