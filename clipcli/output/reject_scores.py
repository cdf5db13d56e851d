"""A consumer that keeps by what images may be told that show none of the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipcli.choices import RejectMethod
from clipcli.output.consumers import Consumer
from clipcli.output.evaluators import BLOCK, cosines_of
from clipcli.records import Float32Array, ImageFailure, Outcome
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.rejection import plain_scores
from clipcli.scoring.targets import Targets


class RejectScores(Consumer[Outcome]):
    """Keeps the scores of images by several methods, 4 bytes each; failures are left out.

    Args:
        classifier: scored the outcomes, whose own scores must be cosines, or logits of a probe. `negatives`
            is what its rejector says.
        methods: of the scores.
        targets: only images that have a class in these are taken; None takes all.
    """

    def __init__(
        self, classifier: Classifier, methods: Sequence[RejectMethod], targets: Targets | None
    ) -> None:
        self.classifier = classifier
        self.targets = targets
        self._similarities: list[Float32Array] = []
        self._cosines: list[Float32Array] = []
        self._own: list[float] = []
        self._kept: dict[RejectMethod, list[Float32Array]] = {method: [] for method in methods}

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        if isinstance(outcome, ImageFailure):
            return
        if self.targets is not None and not self.targets.indices.get(outcome.truth or ""):
            return
        self._similarities.append(outcome.scores)
        self._cosines.append(cosines_of(outcome, self.classifier))
        self._own.append(np.nan if outcome.reject_score is None else outcome.reject_score)
        if len(self._cosines) == BLOCK:
            self._flush()

    def result(self) -> dict[RejectMethod, Float32Array]:
        """The scores (N,) of all images, by method."""
        self._flush()
        return {
            method: np.concatenate(blocks) if blocks else np.empty(0, np.float32)
            for method, blocks in self._kept.items()
        }

    def _flush(self) -> None:
        if not self._cosines:
            return
        cosines = np.stack(self._cosines)  # (B, C)
        logits = self.classifier.logits(np.stack(self._similarities))
        for method, blocks in self._kept.items():
            own = np.array(self._own, dtype=np.float32)
            blocks.append(own if method == "negatives" else plain_scores(method, cosines, logits))
        self._similarities, self._cosines, self._own = [], [], []
