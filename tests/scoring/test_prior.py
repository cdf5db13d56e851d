"""Known class shares: Bayes' rule by hand, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clipcli.errors import UsageError
from clipcli.scoring.classifier import Classifier, Ranking
from clipcli.scoring.prior import with_prior
from clipcli.scoring.rejection import Rejector

EMBEDDINGS = np.eye(3, dtype=np.float32)
CLASSIFIER = Classifier(("a", "b", "c"), EMBEDDINGS, 2.0, None, "softmax", "model")
FEATURES = np.array([[0.6, 0.8, 0.0], [0.0, 0.6, 0.8]], np.float32)


def test_scores_are_those_of_bayes_rule() -> None:
    shares = np.array([0.7, 0.2, 0.1])
    cosines = CLASSIFIER.cosines(FEATURES)
    before = CLASSIFIER.scores(cosines).astype(np.float64)
    expected = before * shares / (before * shares).sum(axis=1, keepdims=True)
    found = with_prior(CLASSIFIER, shares.tolist())
    np.testing.assert_allclose(found.scores(cosines), expected, rtol=1e-5)
    assert found.bias is not None
    np.testing.assert_allclose(found.bias, np.log(shares), rtol=1e-6)
    assert expected.argmax(axis=1).tolist() != before.argmax(axis=1).tolist()
    best = [one.predictions[0].label for one in found.predict(["x", "y"], FEATURES, Ranking())]
    assert best == [CLASSIFIER.classnames[i] for i in expected.argmax(axis=1)]


def test_only_proportions_count_and_equal_shares_change_nothing() -> None:
    cosines = CLASSIFIER.cosines(FEATURES)
    first, second = (with_prior(CLASSIFIER, shares).bias for shares in ([70, 20, 10], [0.7, 0.2, 0.1]))
    np.testing.assert_allclose(first, second, rtol=1e-6)
    np.testing.assert_allclose(
        with_prior(CLASSIFIER, [5, 5, 5]).scores(cosines), CLASSIFIER.scores(cosines), rtol=1e-6
    )


def test_a_prior_is_added_to_a_bias_that_is_there() -> None:
    biased = replace(CLASSIFIER, bias=np.array([1, 2, 3], np.float32))
    found = with_prior(biased, [1, 1, 2]).bias
    np.testing.assert_allclose(found, np.log([0.25, 0.25, 0.5]) + np.arange(1, 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("shares", "fields", "score", "message"),
    [
        ([1, 2], {}, "auto", "`prior` has 2 numbers for 3 labels"),
        ([1, 2, 0], {}, "auto", "`prior` of 'c' must be a number above 0, not 0"),
        ([1, -2, 1], {}, "auto", "`prior` of 'b'"),
        ([1, float("nan"), 1], {}, "auto", "`prior` of 'b'"),
        ([1, 1, float("inf")], {}, "auto", "`prior` of 'c'"),
        ([1, 1, 1], {"activation": "sigmoid"}, "auto", "is for softmax scores"),
        ([1, 1, 1], {}, "cosine", "is for softmax scores"),
        ([1, 1, 1], {}, "sigmoid", "is for softmax scores"),
        ([1, 1, 1], {"temperature": 2.0}, "auto", "is fitted already"),
        ([1, 1, 1], {"conformal_quantile": 0.9}, "auto", "is fitted already"),
        ([1, 1, 1], {"provenance": {"prior": [1, 1, 1]}}, "auto", "has a prior already"),
        ([1, 1, 1], {"weights": EMBEDDINGS, "bias": EMBEDDINGS[0]}, "auto", "is a probe"),
        ([1, 1, 1], {"rejector": Rejector("msp", 0.5)}, "auto", "a reject threshold that was fitted without"),
        ([1, 1, 1], {"rejector": Rejector("energy", 0.5)}, "auto", "a reject threshold that was fitted"),
    ],
)
def test_what_cannot_be_is_refused(shares: Any, fields: Any, score: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_prior(replace(CLASSIFIER, **fields), shares, score)


@pytest.mark.parametrize("rejector", [Rejector("mcm", 0.5), Rejector("msp")])
def test_reject_scores_that_a_prior_does_not_change_are_no_obstacle(rejector: Rejector) -> None:
    assert with_prior(replace(CLASSIFIER, rejector=rejector), [1, 2, 3]).rejector == rejector


def test_thresholds_of_a_class_list_go_by_the_scores_with_the_prior() -> None:
    limited = replace(CLASSIFIER, thresholds=np.array([0.6, 0.6, np.nan], np.float32))
    before, after = (
        [one.status for one in model.predict(["x", "y"], FEATURES, Ranking())]
        for model in (limited, with_prior(limited, [1, 3, 1]))
    )
    assert before == ["unknown", "ok"]  # b with 0.53, which is below; and c, which has no threshold
    assert after == ["ok", "ok"]  # b with 0.77 and 0.63


def test_a_sigmoid_model_takes_a_prior_for_softmax_scores() -> None:
    found = with_prior(replace(CLASSIFIER, activation="sigmoid"), [1, 1, 2], "softmax")
    assert found.bias is not None
