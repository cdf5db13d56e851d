"""What the choice of a probe must not do, each guard by itself."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clipcli.errors import UsageError
from clipcli.scoring import linear_probe as linear
from clipcli.scoring.calibration import TEMPERATURES, fit_temperature
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.few_shot import few_shot_curve
from clipcli.scoring.folds import folds_of
from clipcli.scoring.gda import gda
from clipcli.scoring.linear_head import Examples
from clipcli.scoring.probe import ProbeOptions, fit, probe_of, report_of
from clipcli.scoring.probe_choice import (
    BLENDS,
    Choice,
    Task,
    Validated,
    best_blend,
    cautious_blend,
    cross_validate,
    fit_heads,
    is_better,
)
from clipcli.scoring.stand_ins import completed

Floats = npt.NDArray[np.float64]
D = 12


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def made(classes: int = 4, shots: int = 6, noise: float = 0.3, wrong: bool = False, seed: int = 0) -> Task:
    """Examples of each class; words are the true directions, or those of the next class."""
    generator = np.random.default_rng(seed)
    centres = unit(generator.normal(size=(classes, D)) + 1.5)
    target = np.repeat(np.arange(classes), shots)
    features = unit(centres[target] + noise * generator.normal(size=(len(target), D)) / D**0.5)
    return Task(features, target, np.roll(centres, int(wrong), axis=0), 20.0)


def without_words(task: Task, *classes: int) -> Task:
    words = task.words.copy()
    words[list(classes)] = np.nan
    return Task(task.features, task.target, words, task.logit_scale)


def classifier_of(task: Task) -> Classifier:
    words = np.nan_to_num(task.words).astype(np.float32)
    names = tuple("abcdefgh"[: len(words)])
    return Classifier(names, words, 20.0, -3.0, "sigmoid", "fingerprint")


# --- Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [({"method": "svm"}, "no such method: 'svm'"), ({"seed": -1}, "`seed` must be at least 0, not -1")],
)
def test_options_that_cannot_be_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ProbeOptions(**options)
    ProbeOptions("linear", 0)


# --- Cross-validation ----------------------------------------------------------------------------


def test_each_image_is_labelled_by_what_is_fitted_to_the_other_four_fifths() -> None:
    task = made(shots=7, noise=1.0)
    folds = folds_of(task.target, 5, 3)
    validated = cross_validate(task, ("gda", "prototype"), 1.0, seed=3)
    assert validated is not None and validated.base is not None
    order = np.concatenate([np.flatnonzero(folds == fold) for fold in range(5)])
    np.testing.assert_array_equal(validated.target, task.target[order])
    for method in ("gda", "prototype"):
        expected = np.empty((len(task.target), 4))
        for fold in range(5):
            heads = fit_heads(task.part(folds != fold), (method,), 1.0)
            held_out = folds == fold
            expected[held_out] = heads.probes[method].logits(task.features[held_out])
        np.testing.assert_allclose(validated.probes[method], expected[order])
    np.testing.assert_allclose(validated.base, task.zero_shot(task.features[order]))


def test_a_method_that_only_some_folds_can_fit_is_left_out() -> None:
    """The images of the second class are equal: there is a spread only where both of the first are there."""
    task = made(classes=2, shots=2)
    task.features[3] = task.features[2]
    assert gda(Examples(task.features, task.target, 2)) is not None
    validated = cross_validate(task, ("gda", "prototype"), 1.0, seed=0)
    assert validated is not None
    assert set(validated.probes) == {"prototype"}


# --- Choosing ------------------------------------------------------------------------------------


def test_more_right_images_count_before_likelier_ones() -> None:
    """Where α is 1 or more, the second image is right by a hair and the first less surely."""
    base = np.array([[9.0, 0.0], [0.4, 0.0]])
    probe = np.array([[-8.0, 0.0], [-0.41, 0.0]])
    target = np.array([0, 1])
    validated = Validated(target, np.array([True, False]), base, {"prototype": probe})
    assert best_blend(validated, "prototype") == Choice("prototype", 1.0)
    surely = Validated(target, np.array([True, False]), base, {"prototype": np.array([[9.0, 0], [-9, 0]])})
    assert best_blend(surely, "prototype").blend > 1, "of equally right ones the likeliest"


def test_blends_are_tried_from_a_thousandth_to_a_hundred_and_the_examples_alone() -> None:
    assert BLENDS[0] == pytest.approx(0.001)
    assert BLENDS[-2:] == (pytest.approx(100), math.inf)
    assert len(BLENDS) == 12


def test_without_words_there_is_nothing_to_be_better_than() -> None:
    validated = Validated(
        np.array([1, 1]), np.array([True, True]), None, {"gda": np.array([[1.0, 0], [1, 0]])}
    )
    assert is_better(validated, Choice("gda", math.inf), 2)


@pytest.mark.parametrize("seed", range(4))
def test_without_words_examples_are_used_however_little_they_teach(seed: int) -> None:
    task = without_words(made(noise=60.0, seed=seed), 0, 1, 2, 3)
    found = fit(task, ProbeOptions("prototype", seed))
    assert (found.choice.blend, found.reason) == (math.inf, "validated")


@pytest.mark.parametrize(
    ("wrong", "answers", "asked", "reason"),
    [
        (False, (True,), [2.0], "validated"),
        (False, (False, True), [2.0, 1.0], "cautious"),
        (False, (False, False), [2.0, 1.0], "words"),
        (True, (True,), [1.0], "validated"),
        (True, (False, True), [1.0, 1.0], "cautious"),
    ],
)
def test_auto_asks_for_the_best_then_for_little_weight_then_keeps_words(
    monkeypatch: pytest.MonkeyPatch, wrong: bool, answers: tuple[bool, ...], asked: list[float], reason: str
) -> None:
    task, left, seen = made(noise=0.3, wrong=wrong), list(answers), []

    def answered(validated: Validated, choice: Choice, errors: float) -> bool:
        seen.append((choice, errors))
        return left.pop(0)

    monkeypatch.setattr("clipcli.scoring.probe.is_better", answered)
    found = fit(task, ProbeOptions())
    assert [errors for _, errors in seen] == asked
    if len(seen) == 2:
        assert seen[1][0] == Choice("prototype", cautious_blend(task))
    assert found.reason == reason
    assert found.choice == (seen[-1][0] if reason != "words" else Choice("prototype", 0.0))


def test_a_method_that_is_named_need_not_be_better() -> None:
    task = made()
    assert fit(task, ProbeOptions()).reason == "words"
    named = fit(task, ProbeOptions("gda"))
    assert (named.reason, named.choice.method) == ("validated", "gda")
    assert named.choice.blend in BLENDS


def test_what_labels_fewer_of_the_images_held_out_right_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    task = made(noise=2.0, seed=1)
    worse = Choice("prototype", math.inf)
    monkeypatch.setattr("clipcli.scoring.probe.best_of", lambda *_: worse)
    found = fit(task, ProbeOptions("prototype"))
    assert found.validated is not None
    assert found.validated.right(worse).sum() < found.validated.zero_shot.sum()
    fitted = found.heads.blended(*worse).logits(task.features).argmax(axis=1) == task.target
    assert fitted.sum() >= task.words_right().sum(), "of the examples themselves, more are right"
    assert (found.choice.blend, found.reason) == (0, "words")


def test_what_labels_fewer_of_the_examples_right_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a blend below 0, each example is driven away from its class."""
    task = made(shots=1)
    assert task.words_right().all()
    monkeypatch.setattr("clipcli.scoring.probe.cautious_blend", lambda _: -2.0)
    found = fit(task, ProbeOptions("prototype"))
    assert (found.validated, found.choice.blend, found.reason) == (None, 0, "words")
    monkeypatch.setattr("clipcli.scoring.probe.cautious_blend", lambda _: 2.0)
    assert fit(task, ProbeOptions("prototype")).choice.blend == 2


# --- Calibration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "wrong", "expected"), [(2, False, 2.7), (0, True, TEMPERATURES[1])])
def test_the_head_is_divided_by_the_temperature_of_the_images_held_out(
    seed: int, wrong: bool, expected: float
) -> None:
    """Also by the highest one that is tried: scores that are no sign of true labels must not be sure."""
    found = fit(made(noise=1.5, wrong=wrong, seed=seed), ProbeOptions("gda"))
    assert found.validated is not None
    temperature = fit_temperature(found.validated.logits(found.choice), found.validated.target)
    assert temperature == pytest.approx(expected, abs=0.1)
    blended = found.heads.blended(*found.choice)
    np.testing.assert_allclose(found.head.weights, blended.weights / temperature)
    np.testing.assert_allclose(found.head.bias, blended.bias / temperature)


def test_where_all_images_held_out_are_right_no_temperature_is_told() -> None:
    found = fit(made(noise=0.05, wrong=True), ProbeOptions("prototype"))
    assert found.validated is not None and found.validated.right(found.choice).all()
    np.testing.assert_array_equal(found.head.weights, found.heads.blended(*found.choice).weights)


@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_words_alone_keep_the_scale_of_the_model(monkeypatch: pytest.MonkeyPatch, noise: float) -> None:
    task = made(noise=noise)
    monkeypatch.setattr("clipcli.scoring.probe.is_better", lambda *_: False)
    found = fit(task, ProbeOptions())
    assert found.reason == "words" and found.validated is not None
    assert found.validated.zero_shot.all() == (noise == 0.3)
    np.testing.assert_array_equal(found.head.weights, 20 * task.words)


# --- The strength of logistic regression ---------------------------------------------------------


def test_the_strength_is_swept_where_logistic_regression_is_tried() -> None:
    task = made(noise=2.0, wrong=True)
    examples = Examples(task.features, task.target, 4)
    assert fit(task, ProbeOptions("linear", 4)).strength == linear.sweep(examples, 4)
    assert fit(task, ProbeOptions("gda")).strength is None


def test_the_sweep_goes_in_halving_steps_and_not_beyond_six_decades(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def best_at_the_end(examples: Examples, strength: float) -> Any:
        tried.append(math.log10(strength))
        return type("Head", (), {"logits": lambda self, features: logits_of(features, strength, examples)})()

    def logits_of(features: Floats, strength: float, examples: Examples) -> Floats:
        """The true class of the features, the surer, the smaller the strength."""
        right = task.target[[int(np.flatnonzero((task.features == one).all(axis=1))[0]) for one in features]]
        return np.eye(4)[right] * -math.log10(strength / 1e7)

    task = made(shots=6)
    monkeypatch.setattr(linear, "linear_probe", best_at_the_end)
    assert linear.sweep(Examples(task.features, task.target, 4), 0) == pytest.approx(1e-6)
    assert min(tried) == -6 and max(tried) == 6
    assert tried == [-6, -4, -2, 0, 2, 4, 6, -5, -5.5, -5.75, -5.875]


# --- The classifier and its report ---------------------------------------------------------------


def test_words_that_are_kept_are_the_words_own_classifier() -> None:
    task, options = made(), ProbeOptions()
    words = classifier_of(task)
    probe = probe_of(words, task, fit(task, options), options)
    assert (probe.weights, probe.activation, probe.logit_bias) == (None, "sigmoid", -3.0)
    assert probe.provenance["probe"]["method"] is None
    assert probe.provenance["probe"]["reason"] == "words"


def test_words_that_are_kept_where_a_class_has_none_are_a_probe_with_its_stand_in() -> None:
    task, options = without_words(made(shots=1), 3), ProbeOptions()
    found = fit(task, options)
    assert found.reason == "words"
    probe = probe_of(classifier_of(task), task, found, options)
    assert probe.weights is not None
    assert (probe.activation, probe.logit_bias) == ("softmax", None)
    features = task.features.astype(np.float32)
    best = [one.predictions[0].label for one in probe.predict(list("0123"), features, _ranking())]
    assert best == list("abcd"), "the stand-in is the image, moved to the words"
    np.testing.assert_allclose(np.linalg.norm(probe.class_embeddings, axis=1), 1, rtol=1e-6)


def _ranking() -> Any:
    from clipcli.scoring.ranking import Ranking

    return Ranking(1)


def test_a_probe_has_centred_logits_and_tells_how_it_was_fitted() -> None:
    task, options = without_words(made(), 0, 1, 2, 3), ProbeOptions("prototype", 3)
    found = fit(task, options)
    probe = probe_of(classifier_of(task), task, found, options)
    assert probe.weights is not None and probe.bias is not None
    np.testing.assert_allclose(probe.weights.mean(axis=0), 0, atol=1e-5)
    gdas = probe_of(classifier_of(task), task, fit(task, ProbeOptions("gda")), ProbeOptions("gda"))
    assert gdas.bias is not None and abs(float(gdas.bias.mean())) < 1e-4
    means = unit(np.stack([task.features[task.target == index].mean(axis=0) for index in range(4)]))
    np.testing.assert_allclose(probe.class_embeddings, means, atol=1e-6)
    told = probe.provenance["probe"]
    assert (told["method"], told["blend"], told["examples"]) == ("prototype", None, 24)
    assert (told["asked_for"], told["seed"], told["strength"]) == ("prototype", 3, None)


def test_the_report_counts_what_was_held_out_and_names_what_is_missing() -> None:
    task = without_words(made(classes=5), 1)
    some = task.part((task.target != 4) & (np.arange(30) != 0))
    found = fit(some, ProbeOptions())
    report = report_of("abcde", some, found)
    assert (report.examples, report.validated_on) == (23, 23)
    assert (report.without_words, report.without_examples) == (("b",), ("e",))
    words = fit(made(), ProbeOptions())
    told = report_of("abcd", made(), words)
    assert told.chosen == told.zero_shot and told.zero_shot is not None
    assert told.zero_shot.validated is not None and told.zero_shot.validated.value == 1


# --- The curve -----------------------------------------------------------------------------------


def test_words_that_are_kept_are_counted_as_such_and_add_nothing() -> None:
    stops: list[None] = []
    (point,) = few_shot_curve(made(), [3], 2, ProbeOptions(), lambda: stops.append(None))
    assert point.chosen == Counter({None: 2})
    assert point.gain == (0, 0, 0)
    assert len(stops) == 2


def test_each_draw_has_folds_of_its_own_and_all_numbers_have_the_same_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = []

    def seen(task: Task, options: ProbeOptions) -> Any:
        seeds.append(options.seed)
        return fit(task, options)

    monkeypatch.setattr("clipcli.scoring.few_shot.fit", seen)
    points = list(few_shot_curve(made(), [1, 3], 2, ProbeOptions("prototype", 5)))
    assert seeds == [5, 6, 5, 6]
    assert [one.images for one in points] == [12, 12], "those that no number of examples uses"


@pytest.mark.parametrize("shots", [[2, 2], [3, 2]])
def test_numbers_of_examples_ascend(shots: list[int]) -> None:
    with pytest.raises(UsageError, match="ascending"):
        list(few_shot_curve(made(), shots, 2, ProbeOptions()))


def test_without_words_a_curve_has_no_gain() -> None:
    (point,) = few_shot_curve(without_words(made(), 0, 1, 2, 3), [3], 2, ProbeOptions("prototype"))
    assert (point.zero_shot, point.gain) == (None, None)
    assert point.probe.high <= 1


def test_a_gain_may_be_negative_and_shares_stay_between_0_and_1() -> None:
    from clipcli.scoring.few_shot import _mean

    assert _mean(np.array([-0.5, -0.3]), -1).low == -1
    assert _mean(np.array([-0.41, -0.4]), -1).low == pytest.approx(-0.405 - 12.706 * 0.005, abs=1e-4)
    assert _mean(np.array([0.1, 0.9]), 0)[1:] == (0, 1)


def test_images_of_one_class_each_are_no_curve() -> None:
    with pytest.raises(UsageError, match="no class has two images"):
        list(few_shot_curve(made(shots=1), [1], 2, ProbeOptions()))


# --- Methods and stand-ins -----------------------------------------------------------------------


def test_gda_of_one_image_and_of_a_small_spread() -> None:
    task = made()
    assert gda(Examples(task.features[:1], task.target[:1], 1)) is None
    near = np.repeat(unit(np.eye(4, D)), 2, axis=0)
    near[::2] += 1e-3
    assert gda(Examples(near, np.repeat(np.arange(4), 2), 4)) is not None


def test_where_no_class_has_words_and_images_the_displacement_is_that_of_the_means() -> None:
    generator = np.random.default_rng(0)
    images, texts = unit(generator.normal(size=(2, D)) + 2), unit(generator.normal(size=(2, D)) - 2)
    words = np.concatenate([np.full((2, D), np.nan), texts])
    examples, found = completed(images, np.arange(2), words)
    gap = images.mean(axis=0) - texts.mean(axis=0)
    assert found is not None
    np.testing.assert_allclose(examples.features[2:], unit(texts + gap))
    np.testing.assert_allclose(found[:2], unit(images - gap))
    assert examples.target.tolist() == [0, 1, 2, 3]


def test_the_displacement_is_that_of_normalised_means() -> None:
    """Two images of the first class lie far apart, so that their mean is short."""
    features = np.zeros((3, D))
    features[[0, 1, 2], [0, 1, 2]] = 1
    words = np.full((3, D), np.nan)
    words[0], words[2] = np.eye(D)[3], np.eye(D)[4]
    examples, found = completed(features, np.array([0, 0, 1]), words)
    gap = unit(features[:2].sum(axis=0)) - words[0]
    assert found is not None
    np.testing.assert_allclose(found[1], unit(features[2] - gap))
    np.testing.assert_allclose(examples.features[3], unit(words[2] + gap))


def test_without_any_words_there_is_no_text() -> None:
    task = made()
    examples, texts = completed(task.features, task.target, np.full((4, D), np.nan))
    assert texts is None
    assert len(examples.features) == len(task.features)
