"""Consumers of features that adapt a classifier to images without labels, a block at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from clipcli.errors import ClipcliError
from clipcli.output.consumers import Consumer
from clipcli.output.evaluators import BLOCK
from clipcli.records import Float32Array, ImageFailure, ImageFeatures
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.rejection import Rejector
from clipcli.scoring.weighting import Carprt, Zpe


class FeatureBlocks(Consumer[ImageFeatures | ImageFailure], ABC):
    """Gathers features into blocks, whose size does not depend on how images are encoded."""

    def __init__(self) -> None:
        self.images = 0
        self._features: list[Float32Array] = []

    def add(self, outcome: ImageFeatures | ImageFailure) -> None:
        """Take one outcome; failures are left out."""
        if isinstance(outcome, ImageFailure):
            return
        self._features.append(outcome.features)
        if len(self._features) == BLOCK:
            self._flush()

    def end(self) -> None:
        """Take what is left of the images.

        Raises:
            ClipcliError: there was none.
        """
        self._flush()
        if not self.images:
            raise ClipcliError("no image could be read", "The warnings above say why.")

    def _flush(self) -> None:
        if self._features:
            self.images += len(self._features)
            self._take(np.stack(self._features))
        self._features = []

    @abstractmethod
    def _take(self, image_features: Float32Array) -> None:
        """Take (B, D) features."""


class WeighingPass(FeatureBlocks):
    """One pass of images over what weighs prompts by them."""

    def __init__(self, weigher: Carprt | Zpe) -> None:
        super().__init__()
        self._weigher = weigher

    def _take(self, image_features: Float32Array) -> None:
        self._weigher.add(image_features)


class Agreement(FeatureBlocks):
    """Counts the images to which two classifiers give the same label."""

    def __init__(self, first: Classifier, second: Classifier) -> None:
        super().__init__()
        self._classifiers = first, second
        self.agreeing = 0

    def _take(self, image_features: Float32Array) -> None:
        first, second = (
            one.ranked_by(one.cosines(image_features)).argmax(axis=1) for one in self._classifiers
        )
        self.agreeing += int((first == second).sum())


class RejectedScores(FeatureBlocks):
    """Keeps what a rejector scores images, 4 bytes each."""

    def __init__(self, classifier: Classifier, rejector: Rejector) -> None:
        super().__init__()
        self._classifier, self._rejector = classifier, rejector
        self._scores: list[Float32Array] = []

    @property
    def scores(self) -> Float32Array:
        """(N,) of all images."""
        return np.concatenate(self._scores)

    def _take(self, image_features: Float32Array) -> None:
        cosines = self._classifier.cosines(image_features)
        logits = self._classifier.logits(cosines)
        self._scores.append(self._rejector.scores(image_features, cosines, logits))
