"""Consumers that measure the features of a run: several classifiers in one pass, or images and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clipcli.errors import ClipcliError
from clipcli.output.consumers import Consumer
from clipcli.output.evaluators import BLOCK, joined, nothing_measured
from clipcli.records import Float32Array, ImageFailure, ImageFeatures
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.comparison import Comparison, all_differences
from clipcli.scoring.evaluation import Indices, Ranked, evaluate_classification, rank_classes
from clipcli.scoring.retrieval import Retrieval, evaluate_retrieval
from clipcli.scoring.targets import Targets


class ComparisonEvaluator(Consumer[ImageFeatures | ImageFailure]):
    """Measures several classifiers on the same features, where all of them have a class for the true label.

    Of each image 8 bytes are kept, and 16 for each classifier.

    Args:
        classifiers: K, of one model.
        targets: of each classifier, the classes that true labels mean.
    """

    def __init__(self, classifiers: Sequence[Classifier], targets: Sequence[Targets]) -> None:
        self.classifiers = classifiers
        self.targets = targets
        self._outcomes = 0
        self._positions: list[int] = []
        self._features: list[Float32Array] = []
        self._truths: list[str] = []
        self._kept: list[list[Ranked]] = [[] for _ in classifiers]

    def add(self, outcome: ImageFeatures | ImageFailure) -> None:
        """Take one outcome."""
        position, self._outcomes = self._outcomes, self._outcomes + 1
        truth = outcome.truth or ""
        if isinstance(outcome, ImageFailure) or not all(one.indices.get(truth) for one in self.targets):
            return
        self._positions.append(position)
        self._features.append(outcome.features)
        self._truths.append(truth)
        if len(self._features) == BLOCK:
            self._flush()

    def positions(self) -> Indices:
        """Which outcomes were measured, counted from 0 in the order of the run."""
        return np.array(self._positions, dtype=np.int64)

    def results(self) -> list[Ranked]:
        """What is kept of the images measured, for each classifier.

        Raises:
            ClipcliError: there is no image.
        """
        self._flush()
        if not self._positions:
            raise nothing_measured()
        return [joined(blocks) for blocks in self._kept]

    def _flush(self) -> None:
        if not self._features:
            return
        features = np.stack(self._features)  # (B, D)
        for classifier, targets, kept in zip(self.classifiers, self.targets, self._kept, strict=True):
            target = np.array([targets.indices[truth][0] for truth in self._truths])  # (B,)
            cosines = classifier.cosines(features)
            kept.append(rank_classes(classifier.ranked_by(cosines), classifier.scores(cosines), target))
        self._features, self._truths = [], []


def compared(what: str, names: Sequence[str], passes: Sequence[ComparisonEvaluator]) -> Comparison:
    """The comparison of all classifiers, on the images that every pass has measured.

    Args:
        what: the classifiers differ in.
        names: of them, in the order of the passes.
        passes: over the same images, in the same order.

    Raises:
        ClipcliError: there is no such image.
    """
    results = [(one.positions(), one.results()) for one in passes]
    common = results[0][0]
    for positions, _ in results[1:]:
        common = np.intersect1d(common, positions, assume_unique=True)
    if not len(common):
        raise ClipcliError("no image could be read for all models", "The warnings above say why.")
    kept = [(np.isin(positions, common), of_pass) for positions, of_pass in results]
    ranked = [Ranked._make(column[rows] for column in one) for rows, of_pass in kept for one in of_pass]
    classes = [targets.classnames for one in passes for targets in one.targets]
    figures = [evaluate_classification(labels, *one) for labels, one in zip(classes, ranked, strict=True)]
    right = np.stack([one.rank == 0 for one in ranked])  # (K, N)
    return Comparison(what, names, figures, all_differences(names, right))


class RetrievalEvaluator(Consumer[ImageFeatures | ImageFailure]):
    """Keeps the features of images that have captions, 4 bytes for each dimension.

    Args:
        captions_of: the captions of an image, by its name.
    """

    def __init__(self, captions_of: Callable[[str], Sequence[str]]) -> None:
        self.captions_of = captions_of
        self._features: list[Float32Array] = []
        self._texts: dict[str, int] = {}
        self._captions: list[list[int]] = []

    def add(self, outcome: ImageFeatures | ImageFailure) -> None:
        """Take one outcome."""
        texts = self.captions_of(outcome.image)
        if isinstance(outcome, ImageFailure) or not texts:
            return
        self._features.append(outcome.features)
        self._captions.append([self._texts.setdefault(text, len(self._texts)) for text in texts])

    def result(self, encode_texts: Callable[[Sequence[str]], Float32Array]) -> Retrieval:
        """The figures of all images.

        Args:
            encode_texts: M distinct captions -> (M, D), unit norm.

        Raises:
            ClipcliError: there is no image.
        """
        if not self._features:
            raise nothing_measured()
        return evaluate_retrieval(np.stack(self._features), encode_texts(list(self._texts)), self._captions)
