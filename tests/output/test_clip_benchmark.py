"""Figures equal those of CLIP_benchmark's own functions, on the same features, under the same names."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clipcli.output.evaluators import evaluator
from clipcli.output.feature_evaluators import RetrievalEvaluator
from clipcli.output.metrics_file import as_dict
from clipcli.records import ImageFeatures, ImagePredictions
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.targets import match_truths

REASON = "clip_benchmark is not installed: `make test` does so, without its dependencies"
classification = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification", reason=REASON)
retrieval = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval", reason=REASON)

pytestmark = pytest.mark.filterwarnings(
    "ignore:y_pred contains classes not in y_true:UserWarning"  # scikit-learn to them, of absent classes
)


@pytest.fixture(autouse=True)
def with_any_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs calls `float` of arrays (1,), which NumPy 2.4 refuses."""
    monkeypatch.setattr(classification, "float", lambda one: float(np.squeeze(one)), raising=False)


FEATURES = SimpleNamespace(encode_image=lambda images: images, encode_text=lambda texts: texts)
"""A model whose images and texts are features already."""


class Batches(list[tuple[Any, Any]]):
    """Batches of images and targets, with what else CLIP_benchmark asks of a loader."""

    def __init__(self, images: np.ndarray, targets: Any, classes: list[str], size: int = 32) -> None:
        steps = pairwise([*range(0, len(images), size), len(images)])
        super().__init__((torch.from_numpy(images[a:b]), targets[a:b]) for a, b in steps)
        self.dataset = SimpleNamespace(classes=classes)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def theirs(
    images: np.ndarray, targets: torch.Tensor, embeddings: np.ndarray, folder: Path
) -> dict[str, float]:
    """The figures of `evaluate`, which reads the class embeddings (D, C) from a file."""
    torch.save(torch.from_numpy(embeddings.T.copy()), folder / "classifier.pt")
    names = [str(index) for index in range(len(embeddings))]
    loader = Batches(images, targets, names)
    given = {"amp": False, "load_clfs": [str(folder / "classifier.pt")]}
    found: dict[str, float] = classification.evaluate(FEATURES, loader, None, names, [], "cpu", **given)
    return found


def ours(images: np.ndarray, truths: list[str], embeddings: np.ndarray) -> dict[str, Any]:
    names = tuple(str(index) for index in range(len(embeddings)))
    classifier = Classifier(names, embeddings, 100.0, None, "softmax", "")
    measured = evaluator(classifier, match_truths(set(truths), names))
    for number, (row, truth) in enumerate(zip(classifier.cosines(images), truths, strict=True)):
        measured.add(ImagePredictions(str(number), (), row, truth=truth))
    return as_dict(measured.result())


def drawn(images: int, classes: int, absent: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of images and classes, and a true class each, which is right more often than not."""
    generator = np.random.default_rng(classes)
    target = generator.integers(0, classes - absent, images)
    embeddings = unit(generator.normal(size=(classes, 24)))
    return unit(embeddings[target] + 0.4 * generator.normal(size=(images, 24))), target, embeddings


@pytest.mark.parametrize(("classes", "absent"), [(20, 0), (5, 0), (20, 3)])
def test_accuracies_and_mean_per_class_recall(classes: int, absent: int, tmp_path: Path) -> None:
    images, target, embeddings = drawn(600, classes, absent)
    expected = theirs(images, torch.from_numpy(target), embeddings, tmp_path)
    found = ours(images, list(map(str, target)), embeddings)
    assert set(expected) == {"acc1", "acc5", "mean_per_class_recall"}
    assert 0.2 < expected["acc1"] < 0.95
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_of_fewer_than_five_classes_there_is_no_acc5(tmp_path: Path) -> None:
    images, target, embeddings = drawn(200, 4)
    expected = theirs(images, torch.from_numpy(target), embeddings, tmp_path)
    assert np.isnan(expected.pop("acc5"))
    found = ours(images, list(map(str, target)), embeddings)
    assert "acc5" not in found
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("absent", [0, 2])
def test_mean_average_precision_but_for_classes_without_an_image(absent: int, tmp_path: Path) -> None:
    """CLIP_benchmark counts the precision of such a class as 0; we leave it out of the mean."""
    images, target, embeddings = drawn(300, 8, absent)
    positive = np.random.default_rng(1).random((300, 8 - absent)) < 0.15
    positive[np.arange(300), target] = True
    truths = ["|".join(map(str, np.flatnonzero(row))) for row in positive]
    targets = torch.from_numpy(np.pad(positive, ((0, 0), (0, absent))).astype(np.int64))
    expected = theirs(images, targets, embeddings, tmp_path)["mean_average_precision"]
    found = ours(images, truths, embeddings)
    assert found["mean_average_precision"] * (8 - absent) / 8 == pytest.approx(expected, rel=1e-5)


def test_recall_of_images_and_captions() -> None:
    generator = np.random.default_rng(4)
    images = unit(generator.normal(size=(150, 16)))
    captions = [[f"{row}.{number}" for number in range(1 + row % 5)] for row in range(150)]
    features = {
        text: unit((image + 0.35 * generator.normal(size=16))[None])[0]
        for image, texts in zip(images, captions, strict=True)
        for text in texts
    }

    def encode(texts: Any) -> np.ndarray:
        return np.stack([features[text] for text in texts])

    def tokenized(texts: list[str]) -> torch.Tensor:
        return torch.from_numpy(encode(texts))

    given = {"amp": False, "recall_k_list": [1, 5, 10]}
    expected = retrieval.evaluate(FEATURES, Batches(images, captions, []), tokenized, "cpu", **given)
    by_name = {f"{row}.png": texts for row, texts in enumerate(captions)}
    measured = RetrievalEvaluator(by_name.__getitem__)
    for row, image in enumerate(images):
        measured.add(ImageFeatures(f"{row}.png", image))
    found = as_dict(measured.result(encode))
    assert len(expected) == 6
    assert 0.1 < min(expected.values()) < max(expected.values()) < 1
    assert {name: found[name] for name in expected} == pytest.approx(expected)
