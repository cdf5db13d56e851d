"""Figures of groups, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clipcli.records import ImagePredictions
from clipcli.scoring.bootstrap import bootstrap_interval
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import Estimate
from clipcli.scoring.group_figures import UNKNOWN, answers, group_figures
from clipcli.scoring.ranking import Ranking

LABELS = ("cat", "oak", "dog", "rock", "fly", "life")
PARENTS = (("life", "beast"), ("life",), ("life", "beast"), (), ("life", "beast", "insect"), ())
CAT, OAK, DOG, ROCK, FLY, LIFE = range(6)
IN_LIFE, IN_BEAST, IN_INSECT = (6 + group for group in range(3))


def classifier(**fields: Any) -> Classifier:
    settings = {"logit_scale": 10.0, "logit_bias": None, "activation": "softmax", "fingerprint": "f"}
    return Classifier(LABELS, np.eye(6, dtype=np.float32), **settings | fields, parents=PARENTS)


def estimate(*right: int) -> Estimate:
    return Estimate(float(np.mean(right)), *bootstrap_interval(np.array(right, dtype=np.bool_)))


def test_each_level_asks_whether_the_group_is_the_same() -> None:
    target = np.array([CAT, CAT, CAT, CAT, ROCK, OAK, LIFE])
    predicted = np.array([DOG, OAK, FLY, ROCK, ROCK, CAT, OAK])
    found = group_figures(classifier(), target, predicted)
    assert found.rolled_up is None
    assert found.levels == [
        estimate(1, 1, 1, 0, 1, 1, 1),  # life or rock; a label called life is in it
        estimate(1, 0, 1, 0, 1, 0, 0),  # beast, oak, life or rock
        estimate(0, 0, 0, 0, 1, 0, 0),  # insect, or the label itself
    ]


def test_an_answer_is_right_if_it_holds_the_true_class() -> None:
    target = np.array([CAT, CAT, CAT, ROCK, FLY, OAK, FLY, LIFE])
    found = np.array([CAT, DOG, IN_BEAST, IN_LIFE, IN_INSECT, IN_BEAST, UNKNOWN, IN_LIFE])
    rolled_up = group_figures(classifier(), target, target, (0.8, found)).rolled_up
    assert rolled_up is not None
    assert rolled_up.least == 0.8
    assert rolled_up.answered == estimate(1, 1, 1, 1, 1, 1, 0, 1)
    assert rolled_up.right == estimate(1, 0, 1, 0, 1, 0, 1)
    assert rolled_up.by_depth == [
        (None, estimate(1, 1, 0, 0, 0, 0, 0, 0), estimate(1, 0)),
        (3, estimate(0, 0, 0, 0, 1, 0, 0, 0), estimate(1)),
        (2, estimate(0, 0, 1, 0, 0, 1, 0, 0), estimate(1, 0)),
        (1, estimate(0, 0, 0, 1, 0, 0, 0, 1), estimate(0, 1)),
    ]


def test_where_nothing_is_answered_nothing_is_right() -> None:
    found = np.full(3, UNKNOWN)
    rolled_up = group_figures(classifier(), np.array([FLY, FLY, LIFE]), found + 1, (0.9, found)).rolled_up
    assert rolled_up is not None
    assert (rolled_up.answered, rolled_up.right) == (estimate(0, 0, 0), None)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("least", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_answers_are_those_of_classify(activation: Any, least: float) -> None:
    thresholds = np.array([0.6, np.nan, 0.3, np.nan, np.nan, np.nan], np.float32)
    model = classifier(activation=activation, thresholds=thresholds, temperature=3.0)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = model.cosines(features)
    best = cosines.argmax(axis=1).astype(np.int32)
    found = answers(model, best, model.scores(cosines), least)
    names = [*LABELS, "life", "beast", "insect"]
    outcomes = model.predict([""] * 200, features, Ranking(1, roll_up=least))
    assert [said(one) for one in outcomes] == [
        "unknown" if answer == UNKNOWN else names[answer] for answer in found
    ]
    assert least in (0.0, 1.0) or len(set(found.tolist())) > 6 - 2 * (activation == "sigmoid")


def said(outcome: ImagePredictions) -> str:
    return "unknown" if outcome.status == "unknown" else outcome.predictions[0].label


def test_classes_without_groups_have_no_such_figures() -> None:
    plain = Classifier(LABELS, np.eye(6, dtype=np.float32), 10.0, None, "softmax", "f")
    with pytest.raises(ValueError, match="no groups"):
        group_figures(plain, np.array([0]), np.array([0]))
