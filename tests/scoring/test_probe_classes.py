"""The classes of words and examples together: what they keep of a class list, and what cannot be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder

from clipcli.errors import ModelMismatchError, UsageError
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.probe_classes import check_words, probe_task, with_examples
from clipcli.scoring.rejection import Rejector

D = 12
ENCODER = FakeEncoder()
WORDS = Classifier(
    ("a", "b"),
    np.eye(2, D, dtype=np.float32),
    20.0,
    None,
    "softmax",
    ENCODER.fingerprint,
    {},
    (("a",), ("b",)),
)


def words_of(**fields: Any) -> Classifier:
    """Of the classes a and b, with softmax scores unless others are given."""
    return replace(WORDS, **fields)


def test_thresholds_of_a_class_list_stay_and_new_classes_have_none() -> None:
    words = words_of(thresholds=np.array([0.6, np.nan], np.float32))
    added, has_words, target = with_examples(words, ["a", "c", "A", "b"])
    assert (added.classnames, has_words, target) == (("a", "b", "c"), [True, True, False], [0, 2, 0, 1])
    assert added.thresholds is not None
    np.testing.assert_array_equal(added.thresholds, np.array([0.6, np.nan, np.nan], np.float32))
    assert added.thresholds.dtype == np.float32
    assert with_examples(words_of(), ["c"])[0].thresholds is None


def test_a_new_class_that_is_called_like_a_group_is_in_it() -> None:
    words = words_of(parents=(("Living thing", "old animal"), ("Living thing",)))
    added, _, target = with_examples(words, ["rock", "old_animal", "living thing", "a"])
    assert added.classnames == ("a", "b", "Living thing", "old animal", "rock")
    assert added.parents == (*(words.parents or ()), (), ("Living thing",), ())
    assert target == [4, 3, 2, 0]
    assert added.groups is not None
    members = dict(zip(added.groups.paths, map(np.ndarray.tolist, added.groups.members), strict=True))
    assert members == {("Living thing",): [0, 1, 2, 3], ("Living thing", "old animal"): [0, 3]}
    assert with_examples(words_of(), ["rock"])[0].parents is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 2.0}, "is fitted already"),
        ({"conformal_quantile": 0.5}, "is fitted already"),
        ({"weights": np.eye(2, D, dtype=np.float32), "bias": np.ones(2, np.float32)}, "is fitted already"),
        ({"bias": np.ones(2, np.float32)}, "has a prior, or weighted templates"),
        ({"class_scales": np.ones(2, np.float32)}, "has a prior, or weighted templates"),
        ({"rejector": Rejector("mcm")}, "rejects images"),
        ({"thresholds": np.ones(2, np.float32), "activation": "sigmoid"}, "are for sigmoid scores"),
    ],
)
def test_what_a_probe_could_not_keep_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_words(words_of(**fields))
    with pytest.raises(UsageError, match=message):
        probe_task(
            ENCODER,
            np.eye(2, D, dtype=np.float32),
            ["a", "b"],
            words_of(**fields),
        )


def test_plain_words_are_not_refused() -> None:
    check_words(words_of(thresholds=np.ones(2, np.float32)))
    check_words(words_of(activation="sigmoid", logit_bias=-3.0))
    _, made = probe_task(ENCODER, np.eye(2, D, dtype=np.float32), ["a", "b"], words_of())
    assert made.target.tolist() == [0, 1]


@pytest.mark.parametrize(("images", "truths"), [(2, ["a"]), (0, [])])
def test_as_many_labels_as_images_are_needed(images: int, truths: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{len(truths)} true labels for the features of {images} images"):
        probe_task(ENCODER, np.zeros((images, D), np.float32), truths, words_of())


def test_words_of_another_model_and_a_single_class_are_refused() -> None:
    features = np.eye(1, D, dtype=np.float32)
    with pytest.raises(ModelMismatchError):
        probe_task(ENCODER, features, ["a"], words_of(fingerprint="of another"))
    with pytest.raises(UsageError, match="there is only one"):
        probe_task(ENCODER, features, ["a"], None)
