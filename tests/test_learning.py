"""The Python functions that learn from images: what they pass on, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder

import clipcli
from clipcli.errors import ModelMismatchError, UsageError
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.rejection import Rejector

ENCODER = FakeEncoder()
NAMES = ("cat", "dog", "sun")


def words(**fields: Any) -> Classifier:
    embeddings = np.eye(3, ENCODER.dim, dtype=np.float32)
    settings = {"logit_scale": 20.0, "logit_bias": None, "activation": "softmax"}
    return Classifier(NAMES, embeddings, fingerprint=ENCODER.fingerprint, **settings | fields)


def features(count: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, ENCODER.dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_as_many_truths_as_images_and_only_labels_can_be_fitted_to() -> None:
    with pytest.raises(UsageError, match="3 true labels for the features of 4 images"):
        clipcli.fit_classifier(words(), features(4), ["cat", "dog", "sun"])
    with pytest.raises(UsageError, match="'catt' is no label of the classifier") as near:
        clipcli.fit_classifier(words(), features(2), ["catt", "dog"])
    assert near.value.hint == "The nearest one is 'cat'."
    with pytest.raises(UsageError, match="'xyz' is no label") as far:
        clipcli.fit_classifier(words(), features(2), ["xyz", "dog"])
    assert far.value.hint == ""


def test_a_probe_is_fitted_as_it_is_asked_for() -> None:
    truths = [NAMES[index % 3] for index in range(12)]
    probe, report = clipcli.fit_probe(ENCODER, features(12), truths, words(), method="prototype", seed=7)
    assert {one.method for one in report.tried} == {"prototype"}
    told = probe.provenance["probe"]
    assert (told["asked_for"], told["seed"]) == ("prototype", 7)
    with pytest.raises(UsageError, match="no such method"):
        clipcli.fit_probe(ENCODER, features(12), truths, words(), method="svm")  # type: ignore[arg-type]


def test_negative_labels_are_of_the_classifiers_model_and_mean_none_of_its_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Sequence[str]] = []

    def nouns_beside(names: Sequence[str]) -> list[str]:
        asked.append(names)
        return [f"noun {number}" for number in range(20)]

    monkeypatch.setattr("clipcli.learning.nouns_beside", nouns_beside)
    added = clipcli.add_rejector(words(), ENCODER, "negatives", 0.5, names=["kitten"])
    assert asked == [["cat", "dog", "sun", "kitten"]]
    assert added.rejector is not None and added.rejector.negatives is not None
    assert (added.rejector.method, added.rejector.threshold) == ("negatives", 0.5)
    assert "The nice noun 3." in ENCODER.encoded
    with pytest.raises(ModelMismatchError):
        clipcli.add_rejector(words(), FakeEncoder(fingerprint="another"), "negatives")
    plain = clipcli.add_rejector(words(), FakeEncoder(fingerprint="another"), "mcm")
    assert plain.rejector == Rejector("mcm"), "which needs no encoder"
