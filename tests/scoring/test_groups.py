"""Groups of classes: scores worked out by hand, several levels, and the deepest group that is sure."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from clipcli.errors import ClipcliWarning, UsageError
from clipcli.records import ImagePredictions, LabelGroup
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.groups import Groups, deepest_sure, group_scores
from clipcli.scoring.ranking import Ranking

LABELS = ("cat", "oak", "dog", "rock", "fly")
PARENTS = (("life", "beast"), ("life",), ("life", "beast"), (), ("life", "beast", "insect"))
GROUPS = Groups.of(LABELS, PARENTS)


def row(*scores: float) -> np.ndarray:
    return np.array([scores], np.float32)


def classifier(probs: list[float], parents: Any = PARENTS, **fields: Any) -> Classifier:
    """Of five labels; an image (1, 0, 0, 0, 0, 0) has these probabilities by softmax."""
    embeddings = np.zeros((len(probs), 6), np.float32)
    embeddings[:, 0] = np.log(probs) / 10
    settings = {"logit_scale": 10.0, "logit_bias": None, "activation": "softmax", "fingerprint": "f"}
    labels = (*LABELS, "beast")[: len(probs)]
    return Classifier(labels, embeddings, **settings | fields, parents=parents)


def predicted(model: Classifier, **ranking: Any) -> ImagePredictions:
    image = np.eye(1, 6, dtype=np.float32)
    (found,) = model.predict(["i.png"], image, Ranking(**ranking))
    return found


# --- The tree ------------------------------------------------------------------------------------


def test_groups_hold_the_classes_of_those_in_them() -> None:
    assert GROUPS.paths == (("life",), ("life", "beast"), ("life", "beast", "insect"))
    assert [members.tolist() for members in GROUPS.members] == [[0, 1, 2, 4], [0, 2, 4], [4]]
    assert GROUPS.above == (1, 0, 1, -1, 2)
    assert [GROUPS.outer(group) for group in range(3)] == [-1, 0, 1]


def test_a_class_with_the_name_of_a_group_is_in_it() -> None:
    groups = Groups.of(("beast", "cat", "rock"), ((), ("beast",), ()))
    assert groups.paths == (("beast",),)
    assert groups.members[0].tolist() == [0, 1]
    assert groups.above == (-1, 0, -1)
    elsewhere = Groups.of(("beast", "cat"), (("game",), ("beast",)))
    assert [members.tolist() for members in elsewhere.members] == [[0], [1]], "another group's name"


# --- Scores --------------------------------------------------------------------------------------


def test_probabilities_are_added_and_other_scores_are_not() -> None:
    scores = row(0.3, 0.2, 0.1, 0.15, 0.25)
    np.testing.assert_allclose(group_scores(scores, GROUPS, adds_up=True), [[0.85, 0.65, 0.25]], rtol=1e-6)
    np.testing.assert_array_equal(group_scores(scores, GROUPS, adds_up=False), row(0.3, 0.3, 0.25))


def test_a_sum_is_at_most_1_and_does_not_depend_on_the_batch() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(64, 1000)) * 5
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    names = tuple(map(str, range(1000)))
    groups = Groups.of(names, tuple((str(-1 - index % 7),) if index % 9 else () for index in range(1000)))
    whole = group_scores(scores, groups, adds_up=True)
    for image in range(64):
        np.testing.assert_array_equal(group_scores(scores[image : image + 1], groups, True)[0], whole[image])
    exact = [[math.fsum(one[of].tolist()) for of in groups.members] for one in scores]
    np.testing.assert_allclose(whole, exact, rtol=1e-7)
    all_of_them = Groups.of(names, (("all",),) * 1000)
    assert group_scores(scores, all_of_them, adds_up=True).max() <= 1


def test_the_deepest_sure_group_is_found_and_of_one_level_the_best() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.9, 0.7, 0.1], [0.7, 0.7, 0.1], [1, 0.9, 0.8]], np.float32)
    assert deepest_sure(scores, GROUPS, 0.8).tolist() == [1, 0, -1, 2], "a score of 0.8 is enough"
    siblings = Groups.of(("a", "b", "c"), (("x",), ("y",), ("z",)))
    assert deepest_sure(row(0.3, 0.4, 0.4), siblings, 0.3).tolist() == [1]


# --- Predictions ---------------------------------------------------------------------------------


def test_each_label_has_its_group_with_the_sum_of_its_scores() -> None:
    found = predicted(classifier([0.3, 0.2, 0.1, 0.15, 0.25]), top_k=5)
    assert [one.label for one in found.predictions] == ["cat", "fly", "oak", "rock", "dog"]
    names = [group and group.name for group in found.groups]
    assert names == ["life|beast", "life|beast|insect", "life", None, "life|beast"]
    sums = [group.score for group in found.groups if group]
    assert sums == pytest.approx([0.65, 0.25, 0.85, 0.65], abs=1e-6)
    assert found.status == "ok"


def test_without_groups_nothing_is_said_of_them() -> None:
    for parents in (None, ((),) * 5):
        assert predicted(classifier([0.3, 0.2, 0.1, 0.15, 0.25], parents)).groups == ()


@pytest.mark.parametrize(
    ("least", "label", "score", "status", "group"),
    [
        (0.3, "cat", 0.3, "ok", LabelGroup("life|beast", 0.65)),
        (0.5, "beast", 0.65, "ok", LabelGroup("life", 0.85)),
        (0.8, "life", 0.85, "ok", None),
        (0.9, "cat", 0.3, "unknown", LabelGroup("life|beast", 0.65)),
    ],
)
def test_the_answer_is_the_deepest_level_that_is_sure(
    least: float, label: str, score: float, status: str, group: LabelGroup | None
) -> None:
    model = classifier([0.3, 0.2, 0.1, 0.15, 0.25])
    found = predicted(model, top_k=3, roll_up=least - 1e-4)
    best, *others = found.predictions
    assert (best.rank, best.label, found.status) == (1, label, status)
    assert best.score == pytest.approx(score, abs=1e-6)
    assert best.cosine == pytest.approx(math.log(0.3) / 10, abs=1e-6), "the highest of the group's classes"
    labels = ["fly", "oak"] if label == "cat" else ["cat", "fly"]
    assert [(one.rank, one.label) for one in others] == [(2, labels[0]), (3, labels[1])]
    assert (found.groups[0] is None) == (group is None)
    if group and found.groups[0]:
        assert found.groups[0].name == group.name
        assert found.groups[0].score == pytest.approx(group.score, abs=1e-6)
    plain = predicted(model, top_k=3)
    assert found.margin == plain.margin
    assert found.scores.tolist() == plain.scores.tolist()


def test_the_answer_may_be_a_group_that_does_not_hold_the_best_label() -> None:
    model = classifier([0.2, 0.19, 0.2, 0.21, 0.2])
    assert predicted(model).predictions[0].label == "rock"
    found = predicted(model, top_k=1, roll_up=0.7)
    assert [one.label for one in found.predictions] == ["life"]
    assert found.predictions[0].score == pytest.approx(0.79, abs=1e-6)


def test_a_class_of_the_same_name_makes_room_for_its_group() -> None:
    parents = (*PARENTS, ("life",))
    found = predicted(classifier([0.2, 0.1, 0.1, 0.1, 0.1, 0.4], parents), top_k=3)
    assert found.predictions[0].label == "beast"
    assert found.groups[0] and found.groups[0].name == "life"
    found = predicted(classifier([0.2, 0.1, 0.1, 0.1, 0.1, 0.4], parents), top_k=3, roll_up=0.75)
    assert [one.label for one in found.predictions] == ["beast", "cat", "oak"]
    assert found.predictions[0].score == pytest.approx(0.8, abs=1e-6)


def test_what_makes_a_label_unknown_makes_it_unsure() -> None:
    probs = [0.5, 0.02, 0.4, 0.05, 0.03]
    assert predicted(classifier(probs), roll_up=0.4, min_margin=0.2).predictions[0].label == "beast"
    thresholds = np.array([0.6] + [np.nan] * 4, np.float32)
    own = classifier(probs, thresholds=thresholds)
    assert predicted(own).status == "unknown"
    found = predicted(own, roll_up=0.4)
    assert (found.predictions[0].label, found.status) == ("beast", "ok")


def test_an_answer_must_reach_the_least_score_too() -> None:
    model = classifier([0.3, 0.2, 0.1, 0.15, 0.25])
    assert predicted(model, roll_up=0.5, min_score=0.8).predictions[0].label == "life"
    assert predicted(model, roll_up=0.5, min_score=0.9).status == "unknown"
    assert predicted(model, roll_up=0.9, min_score=0.5).status == "unknown"


def test_sigmoid_scores_and_cosines_are_not_added() -> None:
    model = classifier([0.5, 0.25, 0.5, 0.25, 0.25], activation="sigmoid")
    found = predicted(model)
    best = 1 / (1 + 1 / 0.5)  # σ(log p)
    assert [one.score for one in found.predictions[:2]] == pytest.approx([best, best], abs=1e-6)
    assert [group.score for group in found.groups if group][:2] == pytest.approx([best, best], abs=1e-6)
    cosines = predicted(model, score="cosine")
    assert next(group.score for group in cosines.groups if group) == cosines.predictions[0].score
    summed = predicted(model, score="softmax")
    total = sum([0.5, 0.25, 0.5, 0.25, 0.25])
    assert next(group.score for group in summed.groups if group) == pytest.approx(1.25 / total, abs=1e-6)


# --- What cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"roll_up": 60}, "`roll_up` must be a number from 0 to 1, not 60"),
        ({"roll_up": math.nan}, "`roll_up` must be a number from 0 to 1, not nan"),
        ({"roll_up": -0.5}, "`roll_up` must be a number from 0 to 1"),
        ({"roll_up": -1.5, "score": "cosine"}, "`roll_up` must be a number from -1 to 1"),
        ({"min_score": 60}, "`min_score` must be a number from 0 to 1, not 60"),
        ({"min_score": -0.1, "score": "softmax"}, "`min_score` must be a number from 0 to 1"),
        ({"min_score": -0.1, "score": "sigmoid"}, "`min_score` must be a number from 0 to 1"),
    ],
)
def test_scores_that_cannot_be_reached_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        Ranking(**fields)
    assert error.value.hint == ("60 percent is 0.6." if 60 in fields.values() else "")


def test_rolling_up_needs_groups() -> None:
    for parents in (None, ()):
        model = classifier([0.3, 0.2, 0.1, 0.15, 0.25], parents or None)
        with pytest.raises(UsageError, match="`roll_up` needs groups of labels"):
            model.check_ranking(Ranking(roll_up=0.8))
    with pytest.raises(ValueError, match="groups of 2 classes for 5"):
        classifier([0.3, 0.2, 0.1, 0.15, 0.25], parents=((), ()))


def test_rolling_up_what_does_not_add_up_is_told() -> None:
    model = classifier([0.3, 0.2, 0.1, 0.15, 0.25])
    with pytest.warns(ClipcliWarning, match="the scores are cosine, which do not add up"):
        model.check_ranking(Ranking(roll_up=0.8, score="cosine"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.check_ranking(Ranking(roll_up=0.8))
        model.check_ranking(Ranking(score="cosine"))
