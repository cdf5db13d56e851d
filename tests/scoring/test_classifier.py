"""Scores, ranks and abstention against numbers worked out by hand, and the ensembling of prompts."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, unit
from threadpoolctl import threadpool_info, threadpool_limits

from clipcli.errors import ModelMismatchError, UsageError
from clipcli.prompts.templates import PromptSet
from clipcli.records import Prediction
from clipcli.scoring import blas, class_embeddings
from clipcli.scoring.class_embeddings import build_classifier
from clipcli.scoring.classifier import Classifier, Ranking, Score, best_classes, sigmoid, softmax

EAST, NORTH = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)


def classifier(embeddings: list[list[float]], names: str = "abcdefgh", **fields: Any) -> Classifier:
    settings = {"logit_scale": 10.0, "logit_bias": None, "activation": "softmax", "fingerprint": "f"}
    classnames = tuple(names[: len(embeddings)])
    return Classifier(classnames, np.array(embeddings, np.float32), **settings | fields)


COMPASS = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]  # cosines with EAST: 1, 0, 0.6


def scores(score: Score, **fields: Any) -> list[float]:
    model = classifier(COMPASS, **fields)
    (row,) = model.scores(model.cosines(EAST), score).tolist()
    return row


# --- Scores --------------------------------------------------------------------------------------


def test_cosines_are_dot_products() -> None:
    features = np.stack([unit([3, 4]), unit([-1, 0])])
    expected = [[0.6, 0.8, 0.6 * 0.6 + 0.8 * 0.8], [-1.0, 0.0, -0.6]]
    np.testing.assert_allclose(classifier(COMPASS).cosines(features), expected, rtol=1e-6, atol=1e-7)


def test_softmax_scores() -> None:
    total = math.exp(10) + math.exp(0) + math.exp(6)
    expected = [math.exp(10) / total, math.exp(0) / total, math.exp(6) / total]
    assert scores("auto") == pytest.approx(expected, rel=1e-6)
    assert expected[0] == pytest.approx(0.981970, abs=1e-6)


def test_a_bias_does_not_change_a_softmax() -> None:
    assert scores("softmax", logit_bias=-5.0) == pytest.approx(scores("softmax"), rel=1e-6)


def test_sigmoid_scores() -> None:
    siglip = {"activation": "sigmoid", "logit_bias": -5.0}
    assert scores("auto", **siglip) == pytest.approx([0.9933071, 0.0066929, 0.7310586], abs=1e-7)
    assert scores("sigmoid") == pytest.approx([0.9999546, 0.5, 0.9975274], abs=1e-7)


def test_the_user_may_choose_another_score() -> None:
    assert scores("softmax", activation="sigmoid") == scores("auto")
    assert scores("cosine", activation="sigmoid", logit_bias=-5.0) == pytest.approx([1, 0, 0.6])


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([1e4, 0.0, -1e4], [1, 0, 0]),
        ([-1e4, -1e4, -2e4], [0.5, 0.5, 0]),
        ([math.log(1), math.log(2), math.log(5)], [0.125, 0.25, 0.625]),
    ],
)
def test_softmax_does_not_overflow(logits: list[float], expected: list[float]) -> None:
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(softmax(np.array([logits])), [expected], rtol=1e-12)


@pytest.mark.parametrize(
    ("logit", "expected"),
    [
        (0.0, 0.5),
        (1e4, 1.0),
        (-1e4, 0.0),
        (math.log(3), 0.75),
        (-30.0, 9.357622968839298e-14),
        (-60.0, 8.756510762696521e-27),
    ],
)
def test_sigmoid_keeps_its_digits(logit: float, expected: float) -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert sigmoid(np.array([[logit]]))[0, 0] == pytest.approx(expected, rel=1e-12, abs=0)


def test_scores_do_not_depend_on_the_batch() -> None:
    generator = np.random.default_rng(0)
    features = np.stack([unit(row) for row in generator.normal(size=(100, 512))])
    model = classifier([unit(row).tolist() for row in generator.normal(size=(40, 512))], "x" * 40)
    names = [str(number) for number in range(100)]
    whole = model.predict(names, features, Ranking())
    for size in (1, 7, 64):
        parts = [
            outcome
            for start in range(0, 100, size)
            for outcome in model.predict(
                names[start : start + size], features[start : start + size], Ranking()
            )
        ]
        assert [part.predictions for part in parts] == [outcome.predictions for outcome in whole]


# --- Ranks ---------------------------------------------------------------------------------------


def predicted(features: np.ndarray, model: Classifier, **ranking: Any) -> tuple[Prediction, ...]:
    (outcome,) = model.predict(["i.jpg"], features, Ranking(**ranking))
    return outcome.predictions


def test_the_best_labels_come_first() -> None:
    first, second = predicted(EAST, classifier(COMPASS), top_k=2, score="cosine")
    assert first == Prediction("i.jpg", 1, "a", 1.0, 1.0)
    assert second[:3] == ("i.jpg", 2, "c")
    assert second[3:] == pytest.approx((0.6, 0.6))


def test_every_image_keeps_its_own_predictions_and_scores() -> None:
    outcomes = classifier(COMPASS).predict(["e", "n"], np.concatenate([EAST, NORTH]), Ranking(1, "cosine"))
    assert [outcome.image for outcome in outcomes] == ["e", "n"]
    assert [outcome.predictions[0].label for outcome in outcomes] == ["a", "b"]
    np.testing.assert_allclose(
        [outcome.scores for outcome in outcomes], [[1, 0, 0.6], [0, 1, 0.8]], atol=1e-7
    )


@pytest.mark.parametrize("top_k", [2, 7, 24, 25, 100])
def test_the_best_of_many_classes_are_those_of_a_stable_sort(top_k: int) -> None:
    few_values = np.random.default_rng(0).integers(-4, 4, size=(40, 100)).astype(np.float32) / 4
    few_values[0] = -1  # a row of ties with the lowest cosine there is
    expected = np.argsort(-few_values, axis=1, kind="stable")[:, :top_k]
    kept = few_values.copy()
    np.testing.assert_array_equal(best_classes(few_values, top_k), expected)
    np.testing.assert_array_equal(few_values, kept)


def test_ties_go_to_the_earlier_class() -> None:
    model = classifier([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert "".join(prediction.label for prediction in predicted(EAST, model, top_k=5)) == "bdeac"


def test_saturated_scores_are_ranked_by_cosine() -> None:
    model = classifier([[0.8, 0.6], [1.0, 0.0]], logit_scale=1000.0, activation="sigmoid", logit_bias=0.0)
    first, second = predicted(EAST, model)
    assert (first.label, second.label) == ("b", "a")
    assert first.score == second.score == 1.0


def test_no_more_labels_than_classes() -> None:
    assert [prediction.rank for prediction in predicted(EAST, classifier(COMPASS), top_k=9)] == [1, 2, 3]


# --- Abstention ----------------------------------------------------------------------------------

HALF = [[1.0, 0.0], [0.5, 0.75**0.5]]  # cosines with EAST: 1, 0.5


@pytest.mark.parametrize(
    ("ranking", "status"),
    [
        ({"min_score": 0.5}, "ok"),
        ({"min_score": 0.51}, "unknown"),
        ({"min_margin": 0.25}, "ok"),
        ({"min_margin": 0.26}, "unknown"),
        ({"min_score": 0.45, "min_margin": 0.26}, "unknown"),
        ({"min_score": 0.51, "min_margin": 0.0}, "unknown"),
        ({"min_score": 0.0, "min_margin": 0.0}, "ok"),
    ],
)
@pytest.mark.parametrize("top_k", [1, 2])
def test_abstention_keeps_the_ranked_labels(ranking: dict[str, float], status: str, top_k: int) -> None:
    options = Ranking(top_k, "cosine", **ranking)
    (outcome,) = classifier(HALF).predict(["i.jpg"], EAST / 2, options)
    assert (outcome.status, outcome.margin) == (status, 0.25)
    both = (Prediction("i.jpg", 1, "a", 0.5, 0.5), Prediction("i.jpg", 2, "b", 0.25, 0.25))
    assert outcome.predictions == both[:top_k]


def test_abstention_keeps_the_scores_of_all_classes() -> None:
    (outcome,) = classifier(HALF).predict(["i"], EAST / 2, Ranking(score="cosine", min_score=1.0))
    assert outcome.status == "unknown"
    np.testing.assert_allclose(outcome.scores, [0.5, 0.25], rtol=1e-6)


def test_one_class_has_no_second_to_keep_a_margin_from() -> None:
    (outcome,) = classifier([[1.0, 0.0]]).predict(["i"], EAST, Ranking(min_margin=0.9))
    assert (outcome.status, outcome.margin) == ("ok", None)


def test_the_margin_is_that_of_the_scores_that_are_reported() -> None:
    model = classifier(COMPASS)
    (outcome,) = model.predict(["i"], EAST, Ranking(top_k=1))
    best, second = sorted(outcome.scores.tolist(), reverse=True)[:2]
    assert len(outcome.predictions) == 1
    assert outcome.margin == best - second
    (outcome,) = model.predict(["i"], EAST, Ranking(top_k=1, score="cosine"))
    assert outcome.margin == pytest.approx(0.4)


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_k": -1}, {"min_margin": -0.1}, {"score": "logits"}])
def test_settings_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Ranking(**fields)


@pytest.mark.parametrize("field", ["min_score", "min_margin"])
@pytest.mark.parametrize("value", [60, 1.01, -1, math.nan, math.inf, -math.inf])
def test_thresholds_out_of_range_are_refused_with_the_range(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"^`{field}` must be a number from 0 to 1, not ") as caught:
        Ranking(**{field: value})
    assert caught.value.hint == ("60 percent is 0.6." if value == 60 else caught.value.hint)
    with pytest.raises(UsageError, match=r"must be a number from (-1 to 1|0 to 2), not "):
        Ranking(score="cosine", **{field: 2 * value})
    Ranking(score="cosine", min_score=-1.0, min_margin=2.0)
    Ranking(min_score=0, min_margin=1)


# --- One label -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "score", "labels", "told"),
    [
        ("softmax", "auto", 1, True),
        ("softmax", "softmax", 1, True),
        ("sigmoid", "softmax", 1, True),
        ("softmax", "auto", 2, False),
        ("softmax", "cosine", 1, False),
        ("softmax", "sigmoid", 1, False),
        ("sigmoid", "auto", 1, False),
    ],
)
def test_a_softmax_over_one_label_is_told(activation: Any, score: Any, labels: int, told: bool) -> None:
    model = replace(classifier(COMPASS[:labels]), activation=activation)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.warn_of_no_choice(score)
    assert [str(one.message)[:42] for one in warned] == ["with one label, 'a', every image gets the "] * told


# --- From prompts to class embeddings ------------------------------------------------------------

PROMPTS = PromptSet(("cat", "dog"), (("a cat", "the cat", "cats"), ("a dog",)))
VECTORS = {"a cat": [1, 0], "the cat": [0, 1], "cats": [0, 2], "a dog": [-3, 4]}


def test_a_class_is_the_normalised_mean_of_its_normalised_prompts() -> None:
    model = build_classifier(FakeEncoder(VECTORS), PROMPTS)
    assert model.class_embeddings.dtype == np.float32
    root = math.sqrt(5)  # mean of (1,0), (0,1), (0,1) is (1,2) / 3
    np.testing.assert_allclose(model.class_embeddings, [[1 / root, 2 / root], [-0.6, 0.8]], rtol=1e-6)


def test_the_model_s_numbers_come_along() -> None:
    encoder = FakeEncoder(VECTORS, logit_scale=117.0, logit_bias=-12.0, activation="sigmoid")
    model = build_classifier(encoder, PROMPTS)
    assert (model.logit_scale, model.logit_bias, model.activation) == (117.0, -12.0, "sigmoid")
    assert (model.fingerprint, model.provenance) == ("fake-1", {"model": "fake"})
    assert (model.classnames, model.prompts) == (PROMPTS.classnames, PROMPTS.prompts)


def test_a_prompt_of_several_classes_is_encoded_once() -> None:
    encoder = FakeEncoder()
    shared = PromptSet(("a", "b", "c"), (("x", "y"), ("y", "z"), ("x", "y")))
    model = build_classifier(encoder, shared)
    assert encoder.encoded == ["x", "y", "z"]
    np.testing.assert_array_equal(model.class_embeddings[0], model.class_embeddings[2])
    assert (model.class_embeddings[0] != model.class_embeddings[1]).any()


def test_many_prompts_are_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_embeddings, "TEXTS_PER_CALL", 2)
    parts = build_classifier(FakeEncoder(VECTORS), PROMPTS).class_embeddings
    root = math.sqrt(5)
    np.testing.assert_allclose(parts, [[1 / root, 2 / root], [-0.6, 0.8]], rtol=1e-6)


def test_features_of_another_model_are_refused() -> None:
    model = build_classifier(FakeEncoder(VECTORS), PROMPTS)
    model.check_encoder(FakeEncoder(fingerprint="fake-1"))
    with pytest.raises(ModelMismatchError, match=r"made by fake \(fake-1\).*by other \(fake-2\)") as error:
        model.check_encoder(FakeEncoder(name="other", fingerprint="fake-2"))
    assert "`model` fake" in error.value.hint


@pytest.mark.parametrize(("multiplications", "limited"), [(10**6, True), (10**10, False)])
def test_small_products_take_one_thread(multiplications: int, limited: bool) -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    blas._blas.cache_clear()  # another one may have been loaded since, such as that of SciPy
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with blas.few_threads(multiplications):
            assert threads() == ([1] * len(before) if limited else before)
        assert threads() == before


# --- What was fitted to images -------------------------------------------------------------------

NAN = float("nan")


def verdicts(features: list[list[float]], ranking: Ranking | None = None, **fields: Any) -> list[Any]:
    """Status and set of images with these features."""
    model = classifier([[1.0, 0.0], [0.0, 1.0]], **fields)
    found = model.predict(["x"] * len(features), np.array(features, np.float32), ranking or Ranking())
    return [(one.status, one.label_set) for one in found]


def test_a_temperature_divides_logits() -> None:
    assert scores("auto", temperature=2.0) == pytest.approx(scores("auto", logit_scale=5.0), rel=1e-6)
    total = math.exp(5) + math.exp(0) + math.exp(3)
    assert scores("auto", temperature=2.0)[0] == pytest.approx(math.exp(5) / total, rel=1e-6)
    sigmoids = scores("sigmoid", activation="sigmoid", logit_bias=-4.0, temperature=2.0)
    assert sigmoids == pytest.approx([1 / (1 + math.exp(-(10 * x - 4) / 2)) for x in (1, 0, 0.6)], rel=1e-6)
    assert scores("cosine", temperature=2.0) == scores("cosine")


def test_labels_have_thresholds_of_their_own() -> None:
    """The scores of the best labels are σ(2) = 0.88 each."""
    images = [[0.3, 0.1], [0.1, 0.3]]
    for thresholds, expected in (
        ([0.9, 0.87], ["unknown", "ok"]),
        ([0.87, 0.9], ["ok", "unknown"]),
        ([NAN, math.inf], ["ok", "unknown"]),
        ([0.0, 0.0], ["ok", "ok"]),
    ):
        found = verdicts(images, thresholds=np.array(thresholds, np.float32))
        assert [status for status, _ in found] == expected


def test_an_image_at_its_threshold_is_not_unknown() -> None:
    model = classifier([[1.0, 0.0], [0.0, 1.0]])
    features = np.array([[0.3, 0.1]], np.float32)
    least = model.scores(model.cosines(features)).max()
    for threshold, status in ((least, "ok"), (np.nextafter(least, np.float32(1)), "unknown")):
        own = replace(model, thresholds=np.array([threshold, NAN], np.float32))
        assert own.predict(["x"], features, Ranking())[0].status == status


def test_thresholds_of_the_run_hold_besides() -> None:
    own = np.array([0.5, NAN], np.float32)
    images = [[0.3, 0.1], [0.1, 0.3]]
    assert [status for status, _ in verdicts(images, Ranking(min_score=0.9), thresholds=own)] == [
        "unknown"
    ] * 2
    assert [status for status, _ in verdicts(images, Ranking(min_score=0.1), thresholds=own)] == ["ok"] * 2
    strict = np.array([0.95, NAN], np.float32)
    found = verdicts(images, Ranking(min_score=0.1, min_margin=0.1), thresholds=strict)
    assert [status for status, _ in found] == ["unknown", "ok"]


def test_sets_hold_the_labels_that_are_probable_enough_best_first() -> None:
    """σ(2) = 0.88 and 0.12; σ(0.4) = 0.599 and 0.401; with a quantile of 0.6, from 0.4 on."""
    images = [[0.3, 0.1], [0.1, 0.14], [0.2, 0.2]]
    found = [labels for _, labels in verdicts(images, conformal_quantile=0.6)]
    assert found == [("a",), ("b", "a"), ("a", "b")]
    assert [labels for _, labels in verdicts(images, conformal_quantile=0.05)] == [(), (), ()]
    assert [labels for _, labels in verdicts(images, conformal_quantile=1.0)] == [
        ("a", "b"),
        ("b", "a"),
        ("a", "b"),
    ]
    assert [labels for _, labels in verdicts(images)] == [None] * 3


def test_thresholds_and_sets_go_by_the_calibrated_probability_whatever_is_shown() -> None:
    """The cosine is 0.3, the probability σ(20 · 0.2 / 2) = 0.88."""
    fields = {"thresholds": np.array([0.87, 0.9], np.float32), "conformal_quantile": 0.2, "temperature": 2.0}
    images = [[0.3, 0.1], [0.1, 0.3]]
    for score in ("auto", "softmax", "cosine"):
        found = verdicts(images, Ranking(score=score), logit_scale=20.0, **fields)
        assert found == [("ok", ("a",)), ("unknown", ("b",))]


def test_probabilities_of_another_kind_are_refused() -> None:
    fitted = classifier(COMPASS, temperature=2.0)
    with pytest.raises(UsageError, match="calibrated for softmax, and so `score` cannot be sigmoid"):
        fitted.check_score("sigmoid")
    for score in ("auto", "cosine", "softmax"):
        fitted.check_score(score)
    classifier(COMPASS).check_score("sigmoid")
    with pytest.raises(UsageError, match="calibrated for softmax"):
        classifier(COMPASS, conformal_quantile=0.5).check_score("sigmoid")
    limited = classifier(COMPASS, thresholds=np.ones(len(COMPASS), np.float32))
    with pytest.raises(UsageError, match="thresholds of labels are for softmax"):
        limited.check_score("sigmoid")


def test_thresholds_alone_are_not_fitted_and_go_by_the_probability_too() -> None:
    """The cosine is 0.3, the probability σ(20 · 0.2) = 0.98."""
    thresholds = np.array([0.97, 0.99], np.float32)
    assert not classifier(COMPASS, thresholds=np.ones(len(COMPASS), np.float32)).is_fitted
    for score in ("auto", "cosine"):
        found = verdicts(
            [[0.3, 0.1], [0.1, 0.3]], Ranking(score=score), logit_scale=20.0, thresholds=thresholds
        )
        assert [status for status, _ in found] == ["ok", "unknown"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "a temperature of 0"),
        ({"temperature": NAN}, "a temperature of nan"),
        ({"temperature": math.inf}, "a temperature of inf"),
        ({"thresholds": np.zeros(2, np.float32)}, r"thresholds of shape \(2,\) for 3 classes"),
        ({"conformal_quantile": 1.5}, "a conformal quantile of 1.5"),
        ({"conformal_quantile": NAN}, "a conformal quantile of nan"),
        ({"conformal_quantile": 0.5, "names": "a|c"}, r"a label holds \|"),
    ],
)
def test_what_cannot_have_been_fitted_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(COMPASS, **fields)
