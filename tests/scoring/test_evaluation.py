"""Figures of an evaluation: equal to scikit-learn's and to formulas written out, on random logits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from clipcli.scoring.calibration import expected_calibration_error
from clipcli.scoring.classifier import softmax
from clipcli.scoring.evaluation import (
    Classification,
    Confusion,
    evaluate_classification,
    evaluate_multilabel,
    most_confused,
)
from clipcli.scoring.metrics import ranks

CLASSES = 8
NAMES = [f"class {index}" for index in range(CLASSES)]


def random_logits(images: int = 400, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) that are right more often than not, and targets of which the last class has none."""
    generator = np.random.default_rng(5)
    target = generator.integers(0, classes - 1, images)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), target] += 1.5
    return logits, target


def evaluated(logits: np.ndarray, target: np.ndarray) -> Classification:
    confidence = softmax(logits).max(axis=1).astype(np.float32)
    names = [f"class {index}" for index in range(logits.shape[1])]
    return evaluate_classification(names, target, logits.argmax(axis=1), ranks(logits, target), confidence)


def test_accuracies_and_recall_are_those_of_formulas_written_out() -> None:
    logits, target = random_logits()
    order = np.argsort(-logits, axis=1)
    figures = evaluated(logits, target)
    assert figures.acc1.value == pytest.approx(sum(order[:, 0] == target) / 400)
    assert figures.acc5 is not None
    in_five = [true in best for true, best in zip(target, order[:, :5].tolist(), strict=True)]
    assert figures.acc5.value == pytest.approx(sum(in_five) / 400)
    recalls = [np.mean(order[target == index, 0] == index) for index in range(CLASSES - 1)]
    assert figures.mean_per_class_recall == pytest.approx(sum(recalls) / (CLASSES - 1))


def test_figures_are_those_of_scikit_learn() -> None:
    logits, target = random_logits()
    predicted = logits.argmax(axis=1)
    figures = evaluated(logits, target)
    labels = np.arange(CLASSES)
    assert figures.acc1.value == reference.accuracy_score(target, predicted)
    assert figures.acc5 is not None
    assert figures.acc5.value == reference.top_k_accuracy_score(target, logits, k=5, labels=labels)
    assert figures.macro_f1 == reference.f1_score(target, predicted, average="macro", zero_division=0)
    seen = predicted != CLASSES - 1  # scikit-learn warns of predictions of classes without an image
    some = evaluated(logits[seen], target[seen])
    balanced = reference.balanced_accuracy_score(target[seen], predicted[seen])
    assert some.mean_per_class_recall == pytest.approx(balanced)
    report = reference.classification_report(
        target, predicted, labels=labels, target_names=NAMES, zero_division=0, output_dict=True
    )
    for one in figures.per_class:
        row = report[one.label]
        assert (one.precision, one.recall, one.f1) == (row["precision"], row["recall"], row["f1-score"])
        assert one.support == row["support"]


def test_intervals_hold_the_accuracy() -> None:
    figures = evaluated(*random_logits())
    assert figures.acc1.low < figures.acc1.value < figures.acc1.high
    assert figures.acc1.high - figures.acc1.low < 0.1
    assert figures.chance == 1 / CLASSES


def test_top_5_of_fewer_classes_is_not_told() -> None:
    assert evaluated(*random_logits(classes=4)).acc5 is None
    assert evaluated(*random_logits(classes=5)).acc5 is not None


def test_calibration_error_of_cases_computed_by_hand() -> None:
    """Of two bins of like mass, the gaps are 0.4 and 0.46; of equal width, all are in one bin."""
    confidence = np.array([0.55, 0.65, 0.94, 0.98], np.float32)
    right = np.array([True, True, False, True])
    assert expected_calibration_error(confidence, right, 2, equal_mass=True) == pytest.approx(0.43)
    assert expected_calibration_error(confidence, right, 2) == pytest.approx(abs(3.12 / 4 - 3 / 4))
    target, other = np.zeros(4, int), np.array([0, 0, 1, 0])
    figures = evaluate_classification(["a", "b"], target, other, other, confidence)
    each = 0.45 + 0.35 + 0.94 + 0.02  # of 15 bins of like mass, each image has one of its own
    assert figures.ece_equal_mass == pytest.approx(each / 4)
    shared = 0.45 + 0.35 + abs(0.94 + 0.98 - 1)  # (14/15, 1] holds two
    assert figures.ece_equal_width == pytest.approx(shared / 4)


def test_the_most_confused_pairs_come_first_and_ties_in_class_order() -> None:
    target, predicted = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 2, 2, 1, 0, 1, 2])
    assert most_confused(["a", "b", "c"], target, predicted) == [
        Confusion("a", "c", 2),
        Confusion("b", "a", 1),
        Confusion("c", "b", 1),
    ]
    assert most_confused(["a", "b"], np.array([0, 1]), np.array([0, 1])) == []


def test_average_precision_is_that_of_the_formula_written_out() -> None:
    """As in CLIP_benchmark: the precision at each image that has the class, averaged."""
    generator = np.random.default_rng(3)
    scores = generator.normal(size=(60, 4)).astype(np.float32)
    targets = [tuple(np.flatnonzero(generator.random(3) < 0.4).tolist()) for _ in range(60)]
    figures = evaluate_multilabel(["a", "b", "c", "d"], scores, targets)
    for index, one in enumerate(figures.per_class[:3]):
        truth = np.array([index in of_image for of_image in targets])[np.argsort(-scores[:, index])]
        precision = np.cumsum(truth) / np.arange(1, 61)
        assert one.average_precision == pytest.approx(precision[truth].mean())
        assert one.support == truth.sum()
    assert figures.per_class[3].average_precision is None
    mean = np.mean([one.average_precision for one in figures.per_class[:3]])
    assert figures.mean_average_precision == pytest.approx(mean)


def test_images_of_which_none_has_a_class_have_no_average_precision() -> None:
    with pytest.raises(ValueError, match="no image"):
        evaluate_multilabel(["a"], np.zeros((2, 1), np.float32), [(), ()])
