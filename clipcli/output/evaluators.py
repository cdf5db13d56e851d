"""Consumers that measure a run: they keep of each image what the figures need, and no more."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from clipcli.errors import ClipcliError, UsageError
from clipcli.output.consumers import Consumer
from clipcli.records import Float32Array, ImageFailure, ImagePredictions, Outcome
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import (
    Doubt,
    Evaluation,
    GroupFigures,
    Indices,
    Ranked,
    evaluate_classification,
    evaluate_multilabel,
    rank_classes,
)
from clipcli.scoring.group_figures import answers, group_figures
from clipcli.scoring.targets import Targets

BLOCK = 256
"""Images that are measured together."""

MOST_SCORES = 2**30
"""Scores of multi-label images that are kept: 4 GB, such as those of 13 million images and 80 classes."""

MOST_DOUBTS = 100
DOUBTFUL = 0.5
"""By how much the score of another label exceeds that of the truth where the truth is to be checked."""


class Evaluator(Consumer[Outcome], ABC):
    """Collects what outcomes with a true label show; failures and images without one are left out.

    Args:
        classifier: turns cosines into scores. The outcomes' own scores must be cosines, or logits of a probe.
        targets: the classes that true labels mean.
    """

    def __init__(self, classifier: Classifier, targets: Targets) -> None:
        self.classifier = classifier
        self.targets = targets
        self._images: list[str] = []
        self._target: list[tuple[int, ...]] = []
        self._cosines: list[Float32Array] = []

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        indices = self.targets.indices.get(outcome.truth) if outcome.truth is not None else None
        if isinstance(outcome, ImageFailure) or not indices:
            return
        self._images.append(outcome.image)
        self._target.append(indices)
        self._cosines.append(outcome.scores)
        if len(self._images) == BLOCK:
            self._flush()

    def result(self) -> Evaluation:
        """The figures of all images.

        Raises:
            ClipcliError: there is no image.
        """
        self._flush()
        return self._result()

    def _flush(self) -> None:
        if self._images:
            self._keep(self._images, self._target, np.stack(self._cosines))
        self._images, self._target, self._cosines = [], [], []

    @abstractmethod
    def _keep(self, images: list[str], target: list[tuple[int, ...]], cosines: Float32Array) -> None:
        """Keep what is needed of some images with their (B, C) cosines."""

    @abstractmethod
    def _result(self) -> Evaluation: ...


class ClassificationEvaluator(Evaluator):
    """Measures images with one true label each; 16 bytes an image are kept, 20 where labels are rolled up.

    Args:
        classifier, targets: as above.
        roll_up: the least score of an answer, for classes that have groups; None rolls nothing up.
    """

    def __init__(self, classifier: Classifier, targets: Targets, roll_up: float | None = None) -> None:
        super().__init__(classifier, targets)
        self.roll_up = roll_up
        self._kept: list[Ranked] = []
        self._answers: list[Indices] = []
        self._doubts: list[tuple[float, float, int, Doubt]] = []  # a heap, the least doubtful first
        self._seen = 0

    def _keep(self, images: list[str], target: list[tuple[int, ...]], cosines: Float32Array) -> None:
        true = np.array([indices[0] for indices in target])  # (B,)
        scores = self.classifier.scores(cosines)
        self._kept.append(ranked := rank_classes(self.classifier.ranked_by(cosines), scores, true))
        if self.roll_up is not None:
            self._answers.append(answers(self.classifier, ranked.predicted, scores, self.roll_up))
        self._doubt(images, true, ranked.predicted, scores, cosines)

    def _doubt(
        self, images: list[str], true: Indices, best: Indices, scores: Float32Array, cosines: Float32Array
    ) -> None:
        """Remember images whose truth scores far below another label; of equal gaps the larger in cosine."""
        rows = np.arange(len(images))
        gaps = scores[rows, best] - scores[rows, true]
        cosine_gaps = cosines[rows, best] - cosines[rows, true]
        for row in np.flatnonzero((gaps >= DOUBTFUL) & (best != true)).tolist():
            names = self.targets.classnames
            doubt = Doubt(
                images[row],
                names[true[row]],
                float(scores[row, true[row]]),
                names[best[row]],
                float(scores[row, best[row]]),
            )
            entry = (float(gaps[row]), float(cosine_gaps[row]), -self._seen - row, doubt)
            (heapq.heappush if len(self._doubts) < MOST_DOUBTS else heapq.heappushpop)(self._doubts, entry)
        self._seen += len(images)

    def _result(self) -> Evaluation:
        if not self._kept:
            raise nothing_measured()
        doubts = [doubt for *_, doubt in sorted(self._doubts, reverse=True)]
        ranked = joined(self._kept)
        groups = self._group_figures(ranked) if self.classifier.groups else None
        return evaluate_classification(self.targets.classnames, *ranked, doubts, groups)

    def _group_figures(self, ranked: Ranked) -> GroupFigures:
        rolled_up = None if self.roll_up is None else (self.roll_up, np.concatenate(self._answers))
        return group_figures(self.classifier, ranked.target, ranked.predicted, rolled_up)


class MultiLabelEvaluator(Evaluator):
    """Measures images with any number of true labels each; 4 bytes an image and class are kept.

    Raises, while it takes outcomes:
        UsageError: there are more than `MOST_SCORES` images times classes.
    """

    def __init__(self, classifier: Classifier, targets: Targets) -> None:
        super().__init__(classifier, targets)
        self._blocks: list[Float32Array] = []
        self._all_targets: list[tuple[int, ...]] = []

    def _keep(self, images: list[str], target: list[tuple[int, ...]], cosines: Float32Array) -> None:
        self._blocks.append(cosines)
        self._all_targets += target
        if len(self._all_targets) * cosines.shape[1] > MOST_SCORES:
            classes = cosines.shape[1]
            most = MOST_SCORES // classes
            message = f"too many images with several labels: of {classes:,} classes, {most:,} can be measured"
            raise UsageError(message, "Use fewer images or labels.")

    def _result(self) -> Evaluation:
        if not self._blocks:
            raise nothing_measured()
        scores = np.concatenate(self._blocks)
        return evaluate_multilabel(self.targets.classnames, scores, self._all_targets)


def evaluator(classifier: Classifier, targets: Targets, roll_up: float | None = None) -> Evaluator:
    """The one that suits the truths: for several labels an image, or for one.

    Raises:
        UsageError: images with several labels each, which are not rolled up.
    """
    if not targets.is_multilabel:
        return ClassificationEvaluator(classifier, targets, roll_up)
    if roll_up is not None:
        message = "`roll_up` is for images with one true label each, and some have several"
        raise UsageError(message, "Leave `roll_up` out, or give each image one label.")
    return MultiLabelEvaluator(classifier, targets)


def cosines_of(outcome: ImagePredictions, classifier: Classifier) -> Float32Array:
    """The cosines (C,) of an image that is measured: its scores, or for a probe, those of its predictions."""
    if classifier.weights is None:
        return outcome.scores
    cosines = {one.label: one.cosine for one in outcome.predictions}
    return np.array([cosines[label] for label in classifier.classnames], dtype=np.float32)


def joined(blocks: Sequence[Ranked]) -> Ranked:
    """What is kept of blocks of images, one after the other."""
    return Ranked._make(np.concatenate(column) for column in zip(*blocks, strict=True))


def nothing_measured() -> ClipcliError:
    """The error for a run in which no image could be read."""
    return ClipcliError("no image with a known label could be read", "The warnings above say why.")
