"""CARPRT and ZPE against the published steps, written out on small arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from clipcli.scoring.classifier import Classifier, Ranking
from clipcli.scoring.weighting import Carprt, Zpe, weighted_classifier

IMAGES, TEMPLATES, CLASSES, DIMENSIONS, SCALE = 40, 3, 4, 6, 20.0


def unit(*shape: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


IMAGE_FEATURES = unit(IMAGES, DIMENSIONS, seed=0)
TEXT_FEATURES = unit(TEMPLATES, CLASSES, DIMENSIONS, seed=1)
LOGITS = SCALE * np.einsum("nd,pcd->npc", IMAGE_FEATURES, TEXT_FEATURES, dtype=np.float64)


def weighed(kind: type[Carprt] | type[Zpe], block: int) -> np.ndarray:
    weigher = kind(TEXT_FEATURES, SCALE)
    for _ in range(kind.passes):
        for start in range(0, IMAGES, block):
            weigher.add(IMAGE_FEATURES[start : start + block])
        weigher.end_pass()
    return weigher.weights()


def published_carprt() -> np.ndarray:
    """`run_test_carprt` and `get_matrix`: sums and counts of the best logits, their mean, softmax over P."""
    sums, counts = np.zeros((TEMPLATES, CLASSES)), np.zeros((TEMPLATES, CLASSES))
    for image in LOGITS:
        for template, logits in enumerate(image):
            best = int(np.argmax(logits))
            sums[template, best] += logits[best]
            counts[template, best] += 1
    return softmax(sums / np.where(counts == 0, 1, counts) / 1.0, axis=0)


def published_zpe() -> np.ndarray:
    """Algorithm 1 with the mean of the test images alone: centre, best class, mean, softmax over P."""
    centred = LOGITS - LOGITS.mean(axis=0, keepdims=True)
    return softmax(centred.max(axis=2).mean(axis=0))


@pytest.mark.parametrize("block", [1, 7, 40])
def test_carprt_is_that_of_the_authors(block: int) -> None:
    np.testing.assert_allclose(weighed(Carprt, block), published_carprt(), rtol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 40])
def test_zpe_is_that_of_the_paper(block: int) -> None:
    weights = weighed(Zpe, block)
    assert weights.shape == (TEMPLATES, CLASSES)
    np.testing.assert_allclose(weights, np.repeat(published_zpe()[:, None], CLASSES, axis=1), rtol=1e-5)


def test_carprt_worked_out_by_hand() -> None:
    """Template 0 takes the image for class 0 with 2, template 1 for class 1 with 1; the others are 0."""
    text = np.array([[[1, 0], [0, 1]], [[0, 1], [0.5, np.sqrt(0.75)]]], np.float32)
    weigher = Carprt(text, 2.0)
    weigher.add(np.array([[1, 0]], np.float32))
    weigher.end_pass()
    e = np.e
    expected = [[e**2 / (e**2 + 1), 1 / (1 + e)], [1 / (e**2 + 1), e / (1 + e)]]
    np.testing.assert_allclose(weigher.weights(), expected, rtol=1e-6)


def plain() -> Classifier:
    mean = TEXT_FEATURES.mean(axis=0)
    embeddings = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return Classifier(("a", "b", "c", "d"), embeddings, SCALE, None, "softmax", "model")


def test_logits_are_those_of_the_weighted_means_as_they_are() -> None:
    """`get_res_logits`: the weighted sum of text features is not normalised; ours splits off its norm."""
    weights = published_carprt()
    means = np.einsum("pc,pcd->cd", weights, TEXT_FEATURES)
    made = weighted_classifier(plain(), TEXT_FEATURES, weights)
    cosines = made.cosines(IMAGE_FEATURES)
    np.testing.assert_allclose(made.logits(cosines), SCALE * IMAGE_FEATURES @ means.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made.class_embeddings, axis=1), 1, rtol=1e-6)
    assert made.class_scales is not None
    assert (made.class_scales < 0.999).any()


def test_classes_are_ranked_by_logits_and_cosines_stay_cosines() -> None:
    made = weighted_classifier(plain(), TEXT_FEATURES, published_carprt())
    predictions = made.predict([str(n) for n in range(IMAGES)], IMAGE_FEATURES, Ranking(top_k=4))
    logits = made.logits(made.cosines(IMAGE_FEATURES))
    for one, row in zip(predictions, logits, strict=True):
        order = np.argsort(-row)
        assert [prediction.label for prediction in one.predictions] == [made.classnames[i] for i in order]
        shown = [prediction.score for prediction in one.predictions]
        assert shown == sorted(shown, reverse=True)
        assert one.margin is not None
        assert one.margin >= 0
    by_cosine = made.predict(["0"], IMAGE_FEATURES[:1], Ranking(top_k=4, score="cosine"))[0].predictions
    assert [one.score for one in by_cosine] == sorted((one.score for one in by_cosine), reverse=True)


def test_equal_weights_are_the_plain_classifier_but_for_norms() -> None:
    made = weighted_classifier(plain(), TEXT_FEATURES, np.full((TEMPLATES, CLASSES), 1 / TEMPLATES))
    np.testing.assert_allclose(made.class_embeddings, plain().class_embeddings, atol=1e-6)
