"""A fitted classifier: what is fitted to one half is measured on the other."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from clipcli.errors import ClipcliError, UsageError
from clipcli.scoring.bootstrap import bootstrap_interval_of
from clipcli.scoring.calibration import expected_calibration_error, fit_temperature, softmax
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.fitting import FitOptions, FitReport, calibrate, check_labels, fit_classifier, halves
from clipcli.scoring.thresholds import NEVER

LABELS = ("cat", "dog", "sun", "key")
CLASSIFIER = Classifier(LABELS, np.eye(4, dtype=np.float32), 40.0, None, "softmax", "f", {"model": "nano"})


def labelled(images: int, seed: int = 0, scale: float = 15.0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines, and classes drawn from softmax(scale · cosine): a scale of 40 is too sure."""
    generator = np.random.default_rng(seed)
    cosines = generator.normal(0.2, 0.12, (images, 4)).astype(np.float32)
    return cosines, (scale * cosines + generator.gumbel(size=cosines.shape)).argmax(axis=1)


def fitted(
    images: int = 2000, options: FitOptions | None = None, seed: int = 0
) -> tuple[Classifier, FitReport]:
    return fit_classifier(CLASSIFIER, *labelled(images, seed), options or FitOptions())


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(bootstrap_interval_of, resamples=60)
    monkeypatch.setattr("clipcli.scoring.fitting.bootstrap_interval_of", quick)


# --- Halves --------------------------------------------------------------------------------------


def test_halves_have_half_of_each_class() -> None:
    target = np.repeat([0, 1, 2, 3], [10, 7, 1, 5])
    fit, rest = halves(target, 0)
    assert sorted([*fit, *rest]) == list(range(23))
    assert abs(len(fit) - len(rest)) == 1
    for index in range(4):
        assert abs((target[fit] == index).sum() - (target[rest] == index).sum()) <= 1


def test_halves_are_drawn_by_the_seed() -> None:
    target = np.zeros(100, int)
    first, again, other = (halves(target, seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len({*first} & set(range(50))) not in (0, 50)


# --- What is fitted ------------------------------------------------------------------------------


def test_the_temperature_is_that_of_the_fitted_half() -> None:
    cosines, target = labelled(2000)
    fit, _ = halves(target, 3)
    classifier, report = fitted(options=FitOptions(seed=3))
    expected = fit_temperature(40.0 * cosines[fit].astype(np.float64), target[fit])
    assert classifier.temperature == report.temperature == expected
    assert classifier.temperature == pytest.approx(40 / 15, rel=0.1)
    probs = softmax(40.0 * cosines.astype(np.float64) / classifier.temperature)
    np.testing.assert_allclose(classifier.scores(cosines), probs, rtol=1e-6)


def test_what_was_fitted_lowers_the_calibration_error_of_other_images() -> None:
    classifier, report = fitted()
    found = report.measures
    assert found.ece_after.high < found.ece_before.low
    cosines, target = labelled(20_000, 1)
    scores = classifier.scores(cosines)
    error = expected_calibration_error(scores.max(axis=1), scores.argmax(axis=1) == target, equal_mass=True)
    assert error < 0.03
    assert found.ece_before.value > 0.15


def test_a_sigmoid_model_has_another_bias_too() -> None:
    """Its bias is that of a training with many wrong labels an image; here there are three."""
    sigmoid = replace(CLASSIFIER, activation="sigmoid", logit_bias=-25.0)
    cosines, target = labelled(4000)
    classifier = calibrate(sigmoid, cosines, target)
    assert classifier is not None
    scores = classifier.scores(cosines)
    true = np.eye(4, dtype=bool)[target]
    assert scores.mean() == pytest.approx(0.25, abs=0.01)
    pairs = expected_calibration_error(scores.ravel(), true.ravel(), equal_mass=True)
    before = expected_calibration_error(sigmoid.scores(cosines).ravel(), true.ravel(), equal_mass=True)
    assert pairs < 0.05 < before
    assert (scores.argsort() == cosines.argsort()).all()


def test_sets_of_a_sigmoid_model_cover_as_often_as_asked() -> None:
    sigmoid = replace(CLASSIFIER, activation="sigmoid", logit_bias=-25.0)
    classifier, report = fit_classifier(
        sigmoid, *labelled(8000), FitOptions(min_precision=0.8, coverage=0.85)
    )
    assert report.measures.coverage.low < 0.85 < report.measures.coverage.high
    assert (classifier.temperature, classifier.logit_bias) != (1, -25.0)
    assert report.temperature == classifier.temperature
    for one in report.per_class:
        assert one.precision is not None
        assert one.precision.low < 0.8 < one.precision.high
    assert 0.05 < report.measures.unknown.value < 0.9


def test_sets_and_thresholds_are_those_of_the_calibrated_scores_of_the_fitted_half() -> None:
    cosines, target = labelled(400)
    fit, rest = halves(target, 0)
    classifier, report = fitted(400, FitOptions(min_precision=0.8, coverage=0.7))
    probs = classifier.scores(cosines).astype(np.float64)
    true = probs[np.arange(400), target]
    quantile = np.sort(1 - true[fit])[math.ceil(201 * 0.7) - 1]
    assert classifier.conformal_quantile == report.quantile == quantile
    sets = 1 - probs[rest] <= quantile
    assert report.measures.coverage.value == sets[np.arange(200), target[rest]].mean()
    assert report.measures.set_size.value == pytest.approx(sets.sum(axis=1).mean())
    best = probs.argmax(axis=1)
    assert classifier.thresholds is not None
    for index, one in enumerate(report.per_class):
        least = classifier.thresholds[index]
        assert one.threshold == least
        assert one.fitted_on == (best[fit] == index).sum()
        kept = (best[rest] == index) & (probs[rest, index] >= least)
        assert (one.measured_on, one.kept) == ((best[rest] == index).sum(), kept.sum())
        assert one.precision is not None
        assert one.precision.value == (target[rest][kept] == index).mean()
        assert one.precision.low < one.precision.value < one.precision.high
    unknown = probs[rest, best[rest]] < classifier.thresholds[best[rest]]
    assert report.measures.unknown.value == unknown.mean() > 0
    right = best[rest] == target[rest]
    assert report.measures.acc1.value == right.mean()
    assert report.measures.acc1_kept is not None
    assert report.measures.acc1_kept.value == right[~unknown].mean() > right.mean()


def test_coverage_is_as_asked_for_in_200_splits() -> None:
    """The temperature is fitted to the same images as the quantile, which must make no difference."""
    found = []
    for seed in range(200):
        _, report = fit_classifier(CLASSIFIER, *labelled(120, seed), FitOptions(coverage=0.9, seed=seed))
        found.append(report.measures.coverage.value)
    error = np.std(found, ddof=1) / math.sqrt(200)
    assert abs(np.mean(found) - 55 / 61) < 2 * error


def test_the_file_says_to_which_half_it_was_fitted() -> None:
    classifier, report = fitted(401, FitOptions(min_precision=0.9, seed=7))
    assert classifier.provenance == {
        "model": "nano",
        "fitted": {
            "half": "one of two halves, half of each class, drawn with seed 7",
            "seed": 7,
            "images": 201,
            "images_measured": 200,
            "min_precision": 0.9,
            "coverage": 0.9,
        },
    }
    assert (report.fitted_on, report.images) == (201, 200)


# --- What cannot be fitted -----------------------------------------------------------------------


def test_images_that_are_all_right_or_all_wrong_tell_no_temperature() -> None:
    cosines = np.tile(np.eye(4, dtype=np.float32), (20, 1))
    target = np.tile(np.arange(4), 20)
    for true, acc1 in ((target, 1.0), ((target + 1) % 4, 0.0)):
        classifier, report = fit_classifier(CLASSIFIER, cosines, true, FitOptions())
        assert report.temperature is None
        assert classifier.temperature == 1
        assert report.fitted_acc1 == acc1
    sigmoid = replace(CLASSIFIER, activation="sigmoid", logit_bias=-10.0)
    assert calibrate(sigmoid, cosines, (target + 1) % 4) is None


def test_a_class_with_too_few_images_has_no_threshold() -> None:
    cosines, target = labelled(2000)
    few = np.flatnonzero(cosines.argmax(axis=1) == 2)[8:]
    cosines, target = np.delete(cosines, few, axis=0), np.delete(target, few)
    classifier, report = fit_classifier(CLASSIFIER, cosines, target, FitOptions())
    assert report.per_class[2].threshold is None
    assert classifier.thresholds is not None
    assert np.isnan(classifier.thresholds).tolist() == [False, False, True, False]
    best = np.array([2, 2])
    assert not classifier.is_unsure(best, np.array([0.0, 1.0])).any()


def test_a_class_that_reaches_no_precision_is_always_unknown() -> None:
    cosines, target = labelled(2000)
    target[cosines.argmax(axis=1) == 1] = 0
    classifier, report = fit_classifier(CLASSIFIER, cosines, target, FitOptions(min_precision=0.6))
    assert report.per_class[1].threshold == NEVER
    assert (report.per_class[1].kept, report.per_class[1].precision) == (0, None)
    assert classifier.is_unsure(np.array([1]), np.array([1.0])).all()


def test_too_few_images_for_a_coverage_make_sets_of_all_labels() -> None:
    classifier, report = fitted(16)
    assert report.quantile == math.inf
    assert classifier.conformal_quantile == 1
    assert report.measures.set_size.value == 4
    assert report.measures.coverage.value == 1


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UsageError, match="the classifier is fitted already"):
        fit_classifier(fitted(20)[0], *labelled(20), FitOptions())
    with pytest.raises(ValueError, match="do not fit"):
        fit_classifier(CLASSIFIER, labelled(20)[0], labelled(21)[1], FitOptions())
    with pytest.raises(ClipcliError, match="two are needed"):
        fitted(1)
    with pytest.raises(UsageError, match="nothing can be fitted to one label"):
        check_labels(["cat"])
    with pytest.raises(UsageError, match=r"no label may hold \|, as 'a\|b' does"):
        check_labels(["cat", "a|b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_precision": 1.0}, "`min_precision` must be a number between 0 and 1, not 1"),
        ({"min_precision": 0.0}, "`min_precision` must be"),
        ({"coverage": 95}, "`coverage` must be a number between 0 and 1, not 95"),
        ({"coverage": math.nan}, "`coverage` must be"),
        ({"seed": -1}, "`seed` must be at least 0, not -1"),
    ],
)
def test_values_outside_their_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        FitOptions(**options)  # type: ignore[arg-type]
    assert error.value.hint == ("95 percent is 0.95." if options.get("coverage") == 95 else "")
