"""Probes against formulas computed otherwise, and what is chosen of them, on small arrays."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import clipcli
from clipcli.errors import UsageError
from clipcli.scoring.classifier import Classifier, Ranking, softmax
from clipcli.scoring.few_shot import few_shot_curve, split
from clipcli.scoring.folds import folds_of
from clipcli.scoring.gda import gda
from clipcli.scoring.linear_head import Examples
from clipcli.scoring.linear_probe import UNSWEPT, linear_probe, sweep
from clipcli.scoring.probe import ProbeOptions, fit, probe_of, report_of
from clipcli.scoring.probe_choice import (
    Choice,
    Task,
    Validated,
    cautious_blend,
    cross_validate,
    errors_needed,
    is_better,
    words_mostly_fail,
)
from clipcli.scoring.prototype import prototype
from clipcli.scoring.stand_ins import completed

Floats = npt.NDArray[np.float64]
D = 12


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def examples(classes: int = 4, shots: int = 6, seed: int = 0, noise: float = 0.6) -> Examples:
    generator = np.random.default_rng(seed)
    centres = unit(generator.normal(size=(classes, D)) + 1.5)
    target = np.repeat(np.arange(classes), shots)
    features = unit(centres[target] + noise * generator.normal(size=(len(target), D)) / D**0.5)
    return Examples(features, target, classes)


def task(found: Examples, words: Floats | None = None, scale: float = 20.0) -> Task:
    """The examples with words that are right, unless others are given."""
    if words is None:
        means = np.stack([found.features[found.target == c].mean(axis=0) for c in range(found.classes)])
        words = unit(means - 0.5)
    return Task(found.features, found.target, words, scale)


# --- Methods -------------------------------------------------------------------------------------


def test_gda_is_the_formula_of_the_authors() -> None:
    found = examples()
    means = np.stack([found.features[found.target == c].mean(0) for c in range(4)])
    centred = np.concatenate([found.features[found.target == c] - means[c] for c in range(4)])
    cov = np.cov(centred.T)
    inverse = D * np.linalg.pinv((len(centred) - 1) * cov + np.trace(cov) * np.eye(D))
    head = gda(found)
    assert head is not None
    np.testing.assert_allclose(head.weights, means @ inverse, rtol=1e-9)
    bias = math.log(1 / 4) - np.einsum("nd,dc,nc->n", means, inverse, means) / 2
    np.testing.assert_allclose(head.bias, bias, rtol=1e-9)


def test_gda_is_scikit_learns_discriminant_analysis_with_the_same_covariance() -> None:
    from sklearn.covariance import EmpiricalCovariance
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    class Shrunk(EmpiricalCovariance):  # type: ignore[misc]
        """Of each class's features, so that their weighted mean is ((N - 1) cov + tr(cov) I) / D."""

        def fit(self, features: Floats, target: object = None) -> Shrunk:
            centred = features - features.mean(axis=0)
            scatter = centred.T @ centred
            trace = np.trace(scatter) / (len(found.features) - 1)
            self.covariance_ = (found.classes * scatter + trace * found.classes * np.eye(D)) / D
            return self

    found = examples()
    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk(), priors=[0.25] * 4)
    lda.fit(found.features, found.target)
    head = gda(found)
    assert head is not None
    new = examples(seed=1).features
    theirs = lda.decision_function(new)
    np.testing.assert_allclose(head.logits(new), theirs, rtol=1e-7)


def test_gda_needs_a_class_with_two_different_images() -> None:
    assert gda(examples(shots=1)) is None


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_probe_is_scikit_learn_called_by_hand(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    found, new = examples(classes), examples(classes, seed=1).features
    by_hand = LogisticRegression(C=1 / 0.25, max_iter=1000).fit(found.features, found.target)
    probs = softmax(linear_probe(found, 0.25).logits(new))
    np.testing.assert_allclose(probs, by_hand.predict_proba(new), atol=1e-12)


def test_the_strength_is_the_best_of_all_on_a_third_held_out() -> None:
    found = examples(shots=9, noise=2.0)
    held_out = folds_of(found.target, 3, 5) == 0
    assert np.bincount(found.target[held_out]).tolist() == [3, 3, 3, 3]
    rest = Examples(found.features[~held_out], found.target[~held_out], 4)

    def right(strength: float) -> float:
        logits = linear_probe(rest, strength).logits(found.features[held_out])
        return float((logits.argmax(axis=1) == found.target[held_out]).mean())

    assert right(sweep(found, 5)) == max(right(10.0**power) for power in range(-6, 7, 2))
    assert sweep(examples(shots=1), 0) == UNSWEPT


def test_the_prototype_is_the_cosine_to_the_mean() -> None:
    found, new = examples(), examples(seed=1).features
    for index in range(4):
        mean = found.features[found.target == index].mean(axis=0)
        expected = 20 * new @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(prototype(found, 20.0).logits(new)[:, index], expected)


# --- Stand-ins and folds -------------------------------------------------------------------------


def test_what_a_class_lacks_is_made_by_the_displacement_of_the_others() -> None:
    generator = np.random.default_rng(0)
    means, gap = unit(generator.normal(size=(4, D))), np.full(D, 0.1)
    words = np.concatenate([means[:2] - gap, np.full((1, D), np.nan), means[3:] - gap])
    features, texts = completed(means[:3], np.arange(3), words)
    assert texts is not None
    np.testing.assert_allclose(features.features[3], means[3], atol=1e-12)
    assert features.target.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(texts[2], unit(means[2] - gap), atol=1e-12)
    np.testing.assert_array_equal(texts[[0, 1, 3]], words[[0, 1, 3]])


def test_folds_hold_out_one_image_of_a_small_class_at_a_time_and_never_the_only_one() -> None:
    target = np.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 2])
    folds = folds_of(target, 5, 3)
    assert folds[3] == -1
    assert len(set(folds[:3])) == 3
    assert sorted(np.bincount(folds[target == 2], minlength=5)) == [1, 1, 1, 1, 2]
    assert (folds == folds_of(target, 5, 3)).all()
    assert (folds != folds_of(target, 5, 4)).any()


# --- The choice ----------------------------------------------------------------------------------


def test_words_that_are_wrong_give_way_to_examples() -> None:
    found = examples(noise=0.3)
    wrong = np.roll(task(found).words, 1, axis=0)
    made = task(found, wrong)
    report = report_of("abcd", made, fit(made, ProbeOptions()))
    assert report.reason == "validated"
    assert report.zero_shot is not None
    assert report.zero_shot.validated is not None
    assert report.zero_shot.validated.value < 0.3
    assert report.chosen.validated is not None
    assert report.chosen.validated.value > 0.9
    assert {one.method for one in report.tried} == {"gda", "linear", "prototype"}
    assert report.validated_on == report.examples == 24


@pytest.mark.parametrize("method", ["auto", "gda", "linear", "prototype"])
@pytest.mark.parametrize("shots", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_probe_is_never_below_words_on_the_examples(method: Any, shots: int, seed: int) -> None:
    if (method, shots) == ("gda", 1):
        return
    found = examples(shots=shots, seed=seed, noise=4.0)  # hardly anything can be learned
    generator = np.random.default_rng(seed)
    made = task(found, unit(task(found).words + 0.1 * generator.normal(size=(4, D))))
    fitted = fit(made, ProbeOptions(method))
    report = report_of("abcd", made, fitted)
    assert report.zero_shot is not None
    assert report.chosen.fitted >= report.zero_shot.fitted
    right = (fitted.head.logits(found.features).argmax(axis=1) == found.target).mean()
    assert right >= report.zero_shot.fitted
    if report.chosen.validated and report.zero_shot.validated:
        assert report.chosen.validated.value >= report.zero_shot.validated.value


def test_one_example_a_class_counts_as_much_as_words_certainly_fail() -> None:
    found = examples(shots=1)
    sure, wrong = task(found), task(found, np.roll(task(found).words, 1, axis=0))
    assert cautious_blend(sure) == pytest.approx(0, abs=1e-12)
    z = 1.959964
    assert cautious_blend(wrong) == pytest.approx(4 / (4 + z * z), rel=1e-4)  # Wilson's, for 4 of 4
    chosen = fit(wrong, ProbeOptions())
    assert (chosen.choice.method, chosen.reason, chosen.validated) == ("prototype", "cautious", None)
    with pytest.raises(UsageError, match="needs two different examples"):
        fit(wrong, ProbeOptions("gda"))


def test_without_words_examples_alone_are_used() -> None:
    found = examples(noise=0.3)
    made = task(found, np.full((4, D), np.nan))
    for shots in (1, 6):
        part = Task(found.features[:: 6 // shots], found.target[:: 6 // shots], made.words, made.logit_scale)
        report = report_of("abcd", part, fit(part, ProbeOptions()))
        assert report.zero_shot is None
        assert report.chosen.blend == math.inf
        assert report.without_words == tuple("abcd")


def outcome_of(right: list[int], words: list[int]) -> tuple[Validated, Choice]:
    """Images held out of which a prototype alone, and words, label some as they are."""
    target = np.zeros(len(right), dtype=np.intp)
    logits = np.stack([np.array(right), 1 - np.array(right)], axis=1).astype(np.float64)
    validated = Validated(
        target, np.array(words, dtype=np.bool_), np.zeros_like(logits), {"prototype": logits}
    )
    return validated, Choice("prototype", math.inf)


@pytest.mark.parametrize(
    ("better", "worse", "same", "errors", "is_more"),
    [
        (1, 0, 159, 0.99, True),
        (1, 0, 159, 1.0, False),  # exactly one, whatever the rounding
        (1, 0, 6, 1.0, False),
        (2, 0, 158, 1.0, True),
        (3, 1, 156, 1.0, False),  # exactly one, too
        (3, 1, 156, 0.99, True),
        (2, 1, 157, 1.0, False),
        (4, 0, 156, 2.0, True),  # 2.02
        (3, 0, 157, 2.0, False),  # 1.74
        (8, 2, 150, 2.0, False),  # 1.91
        (0, 0, 160, 0.0, False),
        (0, 3, 157, 0.0, False),
    ],
)
def test_a_gain_counts_in_standard_errors_of_the_paired_difference(
    better: int, worse: int, same: int, errors: float, is_more: bool
) -> None:
    found = outcome_of([1] * better + [0] * worse + [1] * same, [0] * better + [1] * (worse + same))
    assert is_better(*found, errors) == is_more


@pytest.mark.parametrize(
    ("right", "of", "errors"), [(9, 10, 2), (7, 10, 2), (6, 10, 1), (5, 10, 1), (1, 10, 1)]
)
def test_two_standard_errors_are_needed_where_words_are_mostly_right(
    right: int, of: int, errors: float
) -> None:
    target = np.array([0] * right + [1] * (of - right))
    assert errors_needed(Task(np.tile([1.0, 0.0], (of, 1)), target, np.eye(2), 20.0)) == errors


def half_words() -> tuple[Task, Examples]:
    """Six examples of each of four classes, of which two have no words."""
    found = examples(noise=0.3)
    words = task(found).words.copy()
    words[2:] = np.nan
    return task(found, words), found


def test_words_alone_never_name_a_class_without_words() -> None:
    made, found = half_words()
    assert made.has_words
    assert not task(found, np.full((4, D), np.nan)).has_words
    logits = made.zero_shot(made.features)
    assert (logits[:, :2] < 0).all(), "0 would be the highest"
    assert (logits[:, 2:] == -np.inf).all()
    assert (logits.argmax(axis=1) < 2).all()
    assert made.words_right().sum() == 12


def test_classes_without_words_are_learned_beside_those_that_have_some() -> None:
    made, _ = half_words()
    report = report_of("abcd", made, fit(made, ProbeOptions()))
    assert report.without_words == ("c", "d")
    assert report.zero_shot is not None and report.zero_shot.validated is not None
    assert report.zero_shot.validated.value == report.zero_shot.fitted == 0.5
    assert report.reason == "validated"
    assert report.chosen.validated is not None and report.chosen.validated.value > 0.9


def few_of_two_classes(first: int, second: int) -> Task:
    """Words that are wrong, and so many examples of either class."""
    found = examples(classes=2, shots=6, noise=0.3)
    chosen = np.array([*range(first), *range(6, 6 + second)])
    words = task(found).words[::-1]
    return Task(found.features[chosen], found.target[chosen], words, 20.0)


def test_fewer_examples_than_folds_are_held_out_one_by_one() -> None:
    made = few_of_two_classes(2, 2)
    validated = cross_validate(made, ("prototype",), 1.0, seed=0)
    assert validated is not None
    assert sorted(validated.target.tolist()) == [0, 0, 1, 1]
    assert not validated.zero_shot.any()
    assert validated.right(Choice("prototype", math.inf)).all()


def test_what_cannot_be_fitted_without_some_examples_is_not_validated() -> None:
    """Without one of its two, the first class has no spread, and neither has the only one of the other."""
    made = few_of_two_classes(2, 1)
    chosen = fit(made, ProbeOptions())
    assert set(chosen.heads.probes) == {"gda", "linear", "prototype"}
    assert chosen.validated is not None
    assert set(chosen.validated.probes) == {"linear", "prototype"}
    named = fit(made, ProbeOptions("gda"))
    assert named.validated is None
    assert (named.choice, named.reason) == (Choice("gda", cautious_blend(made)), "cautious")


def test_one_image_held_out_tells_nothing() -> None:
    assert not is_better(*outcome_of([1], [0]), 1)


@pytest.mark.parametrize(
    ("wrong", "of", "fail"), [(6, 10, False), (7, 10, True), (5, 10, False), (1, 1, False)]
)
def test_words_mostly_fail_if_more_than_half_are_wrong_by_a_standard_error(
    wrong: int, of: int, fail: bool
) -> None:
    error = np.std([1] * wrong + [0] * (of - wrong), ddof=1) / of**0.5 if of > 1 else math.inf
    assert (wrong / of - error > 0.5) == fail
    target = np.array([1] * wrong + [0] * (of - wrong))
    features = np.tile([1.0, 0.0], (of, 1))
    assert words_mostly_fail(Task(features, target, np.eye(2), 20.0)) == fail
    assert words_mostly_fail(Task(features, target, np.full((2, 2), np.nan), 20.0))


def test_with_one_example_a_class_auto_departs_from_words_only_where_they_mostly_fail() -> None:
    found = examples(shots=1)
    words = task(found).words
    half = words[[1, 0, 2, 3]]  # two of four are wrong
    chosen = fit(task(found, half), ProbeOptions())
    assert (chosen.choice.blend, chosen.reason, chosen.validated) == (0, "words", None)
    np.testing.assert_array_equal(chosen.head.weights, 20 * half)
    named = fit(task(found, half), ProbeOptions("prototype"))
    assert (named.choice.blend, named.reason) == (cautious_blend(task(found, half)), "cautious")


# --- The classifier ------------------------------------------------------------------------------


def classifier_of(words: Floats, scale: float = 20.0) -> Classifier:
    names = tuple("abcd"[: len(words)])
    prompts = tuple((name,) for name in names)
    embeddings = np.nan_to_num(words).astype(np.float32)
    return Classifier(names, embeddings, scale, -3.0, "sigmoid", "fingerprint", {}, prompts)


def made_probe(method: Any = "gda") -> tuple[Classifier, Examples]:
    found = examples(noise=0.5)
    words = np.roll(task(found).words, 1, axis=0)
    made, options = task(found, words), ProbeOptions(method)
    return probe_of(classifier_of(words), made, fit(made, options), options), found


@pytest.mark.parametrize("method", ["gda", "linear", "prototype"])
def test_the_classifier_ranks_as_the_head_and_tells_the_cosine_to_the_words(method: Any) -> None:
    probe, found = made_probe(method)
    made = task(found, np.roll(task(found).words, 1, axis=0))
    head = fit(made, ProbeOptions(method)).head
    new = examples(seed=1).features.astype(np.float32)
    names = [str(number) for number in range(len(new))]
    outcomes = probe.predict(names, new, Ranking(top_k=4))
    probs = softmax(head.logits(new.astype(np.float64)))
    cosines = new @ probe.class_embeddings.T
    for outcome, row, cosine in zip(outcomes, probs, cosines, strict=True):
        order = np.argsort(-row)
        assert [one.label for one in outcome.predictions] == ["abcd"[index] for index in order]
        np.testing.assert_allclose([one.score for one in outcome.predictions], row[order], atol=1e-4)
        np.testing.assert_allclose([one.cosine for one in outcome.predictions], cosine[order], atol=1e-6)


def test_a_file_keeps_the_probe_to_the_bit_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        clipcli.save_classifier(made_probe()[0], tmp_path / f"{name}.safetensors")
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second
    loaded, probe = clipcli.load_classifier(tmp_path / "a.safetensors"), made_probe()[0]
    assert loaded.weights is not None
    assert loaded.bias is not None
    np.testing.assert_array_equal(loaded.weights, probe.weights)
    np.testing.assert_array_equal(loaded.bias, probe.bias)
    assert loaded.provenance["probe"]["method"] == "gda"
    assert b'\\"format\\": 3' in first, "which versions that would leave the weights out refuse"


def test_a_probe_refuses_scores_of_another_kind() -> None:
    probe, _ = made_probe()
    for score in ("cosine", "sigmoid"):
        with pytest.raises(UsageError, match="a probe ranks labels by softmax"):
            probe.check_score(score)
    probe.check_score("softmax")


def test_weights_that_do_not_fit_are_refused() -> None:
    probe, _ = made_probe()
    assert probe.weights is not None
    for changed in ({"bias": None}, {"weights": probe.weights[:2]}, {"weights": probe.weights * np.nan}):
        with pytest.raises(ValueError, match="weight"):
            replace(probe, **changed)


# --- The curve -----------------------------------------------------------------------------------


def test_the_same_images_are_measured_for_each_number_of_examples() -> None:
    target = np.array([0] * 9 + [1] * 3 + [2])
    for seed in range(3):
        parts = [split(target, shots, 4, seed) for shots in (1, 2, 4)]
        assert all((measured == parts[0][1]).all() for _, measured in parts)
        assert [np.bincount(target[learned]).tolist() for learned, _ in parts] == [
            [1, 1, 1],
            [2, 2, 1],
            [4, 2, 1],
        ]
        assert np.bincount(target[parts[0][1]]).tolist() == [5, 1]
        assert set(parts[0][0]) <= set(parts[1][0]) <= set(parts[2][0])
        assert not any(set(learned) & set(measured) for learned, measured in parts)


def test_the_curve_is_the_mean_of_its_draws_with_students_interval() -> None:
    from scipy.stats import t

    found = examples(shots=12, noise=2.0)
    made = task(found, np.roll(task(found).words, 1, axis=0))
    (point,) = few_shot_curve(made, [4], 3, ProbeOptions())
    values = []
    for seed in range(3):
        learned, measured = split(found.target, 4, 4, seed)
        part = Task(found.features[learned], found.target[learned], made.words, made.logit_scale)
        head = fit(part, ProbeOptions("auto", seed)).head
        values.append((head.logits(found.features[measured]).argmax(1) == found.target[measured]).mean())
    assert point.images == 32
    assert point.probe.value == pytest.approx(np.mean(values))
    low, high = t.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / 3**0.5)
    assert point.probe[1:] == pytest.approx((max(low, 0), min(high, 1)))


@pytest.mark.parametrize(("shots", "seeds"), [([], 5), ([0], 5), ([2, 1], 5), ([1], 1)])
def test_a_curve_that_cannot_be_measured_is_refused(shots: list[int], seeds: int) -> None:
    with pytest.raises(UsageError):
        list(few_shot_curve(task(examples()), shots, seeds, ProbeOptions()))
