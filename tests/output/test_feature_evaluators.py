"""Consumers of features: several classifiers in one pass, passes of several models, images and captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipcli.errors import ClipcliError
from clipcli.output.evaluators import BLOCK, evaluator
from clipcli.output.feature_evaluators import ComparisonEvaluator, RetrievalEvaluator, compared
from clipcli.records import ImageFailure, ImageFeatures, ImagePredictions
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import Classification
from clipcli.scoring.targets import match_truths

LABELS = ("cat", "dog", "sun")
TARGETS = match_truths(LABELS, LABELS)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def classifier(noise: float, labels: tuple[str, ...] = LABELS) -> Classifier:
    """Class embeddings near the axes."""
    drawn = np.random.default_rng(len(labels)).normal(size=(len(labels), 3))
    return Classifier(labels, unit(np.eye(3)[: len(labels)] + noise * drawn), 10.0, None, "softmax", "")


def drawn(images: int) -> list[ImageFeatures]:
    """Images whose features lie near the axis of their truth."""
    generator = np.random.default_rng(0)
    truths = generator.integers(0, 3, images)
    features = unit(np.eye(3)[truths] + 0.6 * generator.normal(size=(images, 3)))
    return [
        ImageFeatures(f"{number}.png", row, truth=LABELS[truth])
        for number, (row, truth) in enumerate(zip(features, truths, strict=True))
    ]


def alone(one: Classifier, images: list[ImageFeatures]) -> Classification:
    """The figures of a run with one classifier."""
    measured = evaluator(one, TARGETS)
    for image in images:
        cosines = one.cosines(image.features[None])[0]
        measured.add(ImagePredictions(image.image, (), cosines, truth=image.truth))
    result = measured.result()
    assert isinstance(result, Classification)
    return result


def measured(images: list[ImageFeatures | ImageFailure], *classifiers: Classifier) -> ComparisonEvaluator:
    consumer = ComparisonEvaluator(classifiers, [TARGETS] * len(classifiers))
    for image in images:
        consumer.add(image)
    return consumer


@pytest.mark.parametrize("images", [5, BLOCK, 2 * BLOCK + 7])
def test_each_classifier_has_the_figures_that_it_has_alone(images: int) -> None:
    near, far = classifier(0.1), classifier(0.9)
    features = drawn(images)
    found = compared("templates", ["near", "far"], [measured([*features], near, far)])
    for figures, one in zip(found.figures, (near, far), strict=True):
        assert figures == replace(alone(one, features), doubts=())
    assert found.images == images
    (pair,) = found.pairs
    assert pair.acc1.value == pytest.approx(found.figures[1].acc1.value - found.figures[0].acc1.value)
    assert found.to_first(0) is None
    assert found.to_first(1) == pair


def test_of_several_passes_only_images_that_each_could_read_are_compared() -> None:
    """The second pass misses the first image, and so the others must not move up."""
    near, far = classifier(0.1), classifier(0.9)
    images = drawn(300)
    broken = [ImageFailure("0.png", "truncated", truth=images[0].truth), *images[1:]]
    less = [*images[:7], ImageFailure("7.png", "truncated", truth=images[7].truth), *images[8:]]
    found = compared("models", ["a", "b"], [measured(less, near), measured(broken, far)])
    common = [image for image in images if image.image not in ("0.png", "7.png")]
    assert [one.acc1 for one in found.figures] == [alone(one, common).acc1 for one in (near, far)]
    features = np.stack([image.features for image in common])
    truths = [LABELS.index(image.truth or "") for image in common]
    right = [one.cosines(features).argmax(axis=1) == truths for one in (near, far)]
    gain = right[1].astype(int) - right[0]
    assert (found.pairs[0].only_first, found.pairs[0].only_second) == ((gain < 0).sum(), (gain > 0).sum())


def test_images_are_measured_whose_truth_is_in_all_class_lists() -> None:
    other = classifier(0.1, ("Sun", "cat"))
    consumer = ComparisonEvaluator(
        [classifier(0.1), other], [TARGETS, match_truths(LABELS, other.classnames)]
    )
    images = drawn(90)
    for image in images:
        consumer.add(image)
    found = compared("classes", ["a.txt", "b.txt"], [consumer])
    assert found.images == sum(image.truth != "dog" for image in images)
    assert [len(one.per_class) for one in found.figures] == [3, 2]
    assert [one.support for one in found.figures[1].per_class] == [
        sum(image.truth == label for image in images) for label in ("sun", "cat")
    ]


def test_nothing_to_compare_is_told() -> None:
    failure = ImageFailure("a.png", "truncated", truth="cat")
    with pytest.raises(ClipcliError, match="no image with a known label could be read"):
        compared("templates", ["a"], [measured([failure], classifier(0))])
    one, other = drawn(2)
    passes = [measured([one, failure], classifier(0)), measured([failure, other], classifier(0))]
    with pytest.raises(ClipcliError, match="no image could be read for all models"):
        compared("models", ["a", "b"], passes)


def test_only_captions_of_images_that_could_be_read_are_encoded() -> None:
    captions = {"0.png": ["a", "shared"], "1.png": ["shared"], "broken.png": ["lost"], "2.png": []}
    consumer = RetrievalEvaluator(captions.__getitem__)
    consumer.add(ImageFailure("broken.png", "truncated"))
    for number in range(3):
        consumer.add(ImageFeatures(f"{number}.png", np.eye(3, dtype=np.float32)[number]))
    asked: list[str] = []

    def encode(texts: object) -> np.ndarray:
        asked.extend(texts)  # type: ignore[call-overload]
        return np.eye(3, dtype=np.float32)[:2]

    found = consumer.result(encode)
    assert asked == ["a", "shared"]
    assert (found.images, found.captions) == (2, 2)
    assert (found.image_recall[1].value, found.text_recall[1].value) == (1, 1)
    with pytest.raises(ClipcliError, match="no image"):
        RetrievalEvaluator(captions.__getitem__).result(encode)
