"""Consumers that measure: what they keep of outcomes, and that blocks change nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from clipcli.errors import ClipcliError, UsageError
from clipcli.output import evaluators
from clipcli.output.evaluators import ClassificationEvaluator, MultiLabelEvaluator, cosines_of, evaluator
from clipcli.output.report.records import Judged
from clipcli.records import ImageFailure, ImagePredictions, Outcome
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import Classification, MultiLabel, evaluate_classification
from clipcli.scoring.metrics import ranks
from clipcli.scoring.ranking import Ranking
from clipcli.scoring.targets import match_truths

LABELS = ("cat", "dog", "sun")
CLASSIFIER = Classifier(LABELS, np.eye(3, dtype=np.float32), 10.0, None, "softmax", "")


def outcomes(cosines: np.ndarray, truths: list[str]) -> list[Outcome]:
    numbered = zip(count(), cosines.astype(np.float32), truths, strict=False)
    return [ImagePredictions(f"{number}.png", (), row, truth=truth) for number, row, truth in numbered]


def classified(cosines: np.ndarray, truths: list[str]) -> Classification:
    measured = evaluator(CLASSIFIER, match_truths(truths, LABELS))
    assert isinstance(measured, ClassificationEvaluator)
    for outcome in outcomes(cosines, truths):
        measured.add(outcome)
    result = measured.result()
    assert isinstance(result, Classification)
    return result


def random_cosines(images: int) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(1)
    truths = generator.integers(0, 3, images)
    cosines = generator.normal(0, 0.2, (images, 3)).astype(np.float32)
    cosines[np.arange(images), truths] += 0.2
    return cosines, [LABELS[index] for index in truths]


@pytest.mark.parametrize("images", [3, evaluators.BLOCK, 2 * evaluators.BLOCK + 7])
def test_blocks_measure_what_all_images_together_do(images: int) -> None:
    cosines, truths = random_cosines(images)
    target = np.array([LABELS.index(truth) for truth in truths])
    probabilities = CLASSIFIER.scores(cosines)
    expected = evaluate_classification(
        LABELS, target, cosines.argmax(axis=1), ranks(cosines, target), probabilities.max(axis=1)
    )
    found = classified(cosines, truths)
    assert found.doubts or images == 3
    assert found.per_class == expected.per_class
    assert found.confused == expected.confused
    assert (found.acc1, found.ece_equal_mass, found.macro_f1) == (
        expected.acc1,
        expected.ece_equal_mass,
        expected.macro_f1,
    )


def test_failures_and_images_without_a_truth_are_left_out() -> None:
    measured = evaluator(CLASSIFIER, match_truths(["cat", "zebra"], LABELS))
    row = np.array([0.9, 0.1, 0.0], np.float32)
    measured.add(ImageFailure("broken.png", "truncated", truth="cat"))
    for truth in ("cat", None, "zebra"):
        measured.add(ImagePredictions("a.png", (), row, truth=truth))
    assert measured.result().images == 1


def test_the_cosines_of_a_probe_are_those_of_its_predictions_and_of_others_the_scores() -> None:
    weights = np.array([[0, 5, 0], [1, 0, 0], [0, 0, 2]], np.float32)
    probe = replace(CLASSIFIER, weights=weights, bias=np.zeros(3, np.float32))
    features = np.array([[0.6, 0.8, 0.0]], np.float32)
    (found,) = probe.predict(["a.png"], features, Ranking(3))
    measured = found._replace(scores=probe.similarities(features)[0], truth="dog")
    assert [one.label for one in found.predictions] == ["cat", "dog", "sun"]
    np.testing.assert_array_equal(measured.scores, np.array([4, 0.6, 0], np.float32))
    np.testing.assert_allclose(cosines_of(measured, probe), features[0], rtol=1e-6)
    shown = Judged(probe, match_truths(["dog"], LABELS))(measured).predicted
    assert [one.label for one in shown.labels] == ["cat", "dog", "sun"]
    assert [one.cosine for one in shown.labels] == pytest.approx([0.6, 0.8, 0])
    assert cosines_of(measured, CLASSIFIER) is measured.scores


def test_nothing_to_measure_is_told() -> None:
    for kind in (ClassificationEvaluator, MultiLabelEvaluator):
        with pytest.raises(ClipcliError, match="no image with a known label"):
            kind(CLASSIFIER, match_truths(["cat"], LABELS)).result()


def test_labels_to_check_are_those_that_score_far_below_another_the_farthest_first() -> None:
    rows = [[0.6, 0.3, 0], [0.9, 0.1, 0], [0.5, 0.5, 0], [0.1, 0.9, 0], [0.6, 0.4, 0], [0.55, 0.5, 0]]
    cosines = np.array(rows)  # the last one scores 0.62 for cat and 0.38 for dog
    found = classified(cosines, ["dog", "dog", "dog", "dog", "sun", "dog"]).doubts
    assert [(one.image, one.truth, one.predicted) for one in found] == [
        ("1.png", "dog", "cat"),
        ("0.png", "dog", "cat"),
        ("4.png", "sun", "cat"),
    ]
    probabilities = CLASSIFIER.scores(cosines.astype(np.float32))
    assert (found[0].truth_score, found[0].score) == pytest.approx((probabilities[1, 1], probabilities[1, 0]))


def test_only_the_most_doubtful_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluators, "MOST_DOUBTS", 3)
    best = np.linspace(0.5, 0.9, 600)
    cosines = np.stack([np.random.default_rng(0).permutation(best), best * 0, best * 0], axis=1)
    largest = np.argsort(-cosines[:, 0])[:3]
    found = classified(cosines, ["dog"] * 600).doubts
    assert [one.image for one in found] == [f"{number}.png" for number in largest]


def test_of_equally_doubtful_images_the_first_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluators, "MOST_DOUBTS", evaluators.BLOCK + 3)
    images = 3 * evaluators.BLOCK
    found = classified(np.tile([0.9, 0.1, 0.0], (images, 1)), ["dog"] * images).doubts
    assert [one.image for one in found] == [f"{number}.png" for number in range(evaluators.BLOCK + 3)]


def test_images_with_several_labels_have_their_average_precision() -> None:
    truths = ["cat|dog", "dog", "cat", "sun", "cat|dog"]
    cosines = np.array([[9, 8, 0], [3, 9, 1], [7, 1, 0], [8, 0, 5], [1, 7, 2]]) / 10
    measured = evaluator(CLASSIFIER, match_truths(truths, LABELS))
    assert isinstance(measured, MultiLabelEvaluator)
    for outcome in outcomes(cosines, truths):
        measured.add(outcome)
    result = measured.result()
    assert isinstance(result, MultiLabel)
    assert [one.support for one in result.per_class] == [3, 3, 1]
    cat = (1 / 1 + 2 / 3 + 3 / 5) / 3  # its images are the first, third and fifth by score
    assert [one.average_precision for one in result.per_class] == pytest.approx([cat, 1, 1])
    assert result.mean_average_precision == pytest.approx((cat + 2) / 3)


def test_more_scores_than_memory_is_meant_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluators, "MOST_SCORES", 3 * evaluators.BLOCK - 1)
    measured = evaluator(CLASSIFIER, match_truths(["cat|dog"], LABELS))
    with pytest.raises(UsageError, match="too many images with several labels: of 3 classes, 255"):
        for outcome in outcomes(np.zeros((evaluators.BLOCK, 3)), ["cat|dog"] * evaluators.BLOCK):
            measured.add(outcome)
