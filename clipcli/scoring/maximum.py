"""The largest score that each class has in several images of the same thing, such as frames of a video."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clipcli.errors import UsageError
from clipcli.records import Float32Array, ImagePredictions
from clipcli.scoring.classifier import Classifier, margin_of, status_of
from clipcli.scoring.ranking import Ranking


class Measured(NamedTuple):
    """What decides a ranking of N images: scores, cosines and probabilities (N, C), and reject scores (N,).

    Probabilities are by the classifier's own activation, for the thresholds of labels. Without a rejector,
    there are no reject scores: (N, 0).
    """

    scores: Float32Array
    cosines: Float32Array
    probs: Float32Array
    reject_scores: Float32Array

    def rows(self) -> list[Measured]:
        """What belongs to each image."""
        return [Measured(*parts) for parts in zip(*self, strict=True)]

    def or_more(self, other: Measured) -> Measured:
        """The larger of each number."""
        return Measured(*map(np.maximum, self, other))


def check_maximum(classifier: Classifier) -> None:
    """Refuse what largest scores say nothing about: sums over groups, and sets that hold the true label.

    Raises:
        UsageError: the classifier has groups, or makes sets.
    """
    if classifier.groups is not None or classifier.conformal_quantile is not None:
        what = "groups" if classifier.groups is not None else "sets"
        raise UsageError(f"`per_video` max takes no classifier with {what} of labels", "Use mean.")


def measure(classifier: Classifier, image_features: Float32Array, ranking: Ranking) -> Measured:
    """(N, D) features -> what decides the rankings of N images."""
    cosines = classifier.cosines(image_features)
    similarities = classifier.similarities(image_features)
    probs = classifier.scores(similarities)
    rejecting = np.empty((len(cosines), 0), dtype=np.float32)
    if classifier.rejector is not None:
        logits = classifier.logits(similarities)
        rejecting = classifier.rejector.scores(image_features, cosines, logits)[:, np.newaxis]
    return Measured(classifier.scores(similarities, ranking.score), cosines, probs, rejecting)


def ranked(classifier: Classifier, image: str, largest: Measured, ranking: Ranking) -> ImagePredictions:
    """The classes by their largest scores; of equal ones by their cosines, then in class order.

    Args:
        classifier: its thresholds, and its rejector's, are reached if the largest number reaches them.
        image: the name.
        largest: (C,) and, for reject scores, (1,) or (0,).
        ranking: how many labels, and which thresholds.
    """
    order = np.lexsort((-largest.cosines, -largest.scores))[: max(ranking.top_k, 2)]
    best, cosines = largest.scores[order].tolist(), largest.cosines[order].tolist()
    is_unsure = classifier.is_unsure(order[:1], largest.probs[order[:1]]).any()
    is_rejected = classifier.rejector is not None and classifier.rejector.rejects(largest.reject_scores).all()
    return ImagePredictions(
        image,
        classifier.ranked(image, order.tolist(), best, cosines, ranking.top_k),
        largest.scores,
        status="unknown" if is_unsure or is_rejected else status_of(best, ranking),
        margin=margin_of(best),
        reject_score=float(largest.reject_scores[0]) if largest.reject_scores.size else None,
    )
