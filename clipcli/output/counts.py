"""How many images a run had, and what became of them."""

from __future__ import annotations

from collections import Counter

from clipcli.output.consumers import Consumer
from clipcli.records import ImageFailure, ImageFeatures, Outcome


class Counts(Consumer["Outcome | ImageFeatures"]):
    """Counts images, how many were known from the cache, their labels, and why some failed."""

    def __init__(self) -> None:
        self.images = self.known = self.unknown = 0
        self.reasons: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()  # of images whose best label reaches the thresholds

    @property
    def failed(self) -> int:
        """Images that could not be read."""
        return self.reasons.total()

    def add(self, outcome: Outcome | ImageFeatures) -> None:
        """Count one outcome."""
        self.images += 1
        if isinstance(outcome, ImageFailure):
            self.reasons[outcome.reason.partition(":")[0]] += 1
            self.tell(outcome)
            return
        self.known += outcome.known
        if isinstance(outcome, ImageFeatures):
            return
        if outcome.status == "unknown":
            self.unknown += 1
        else:
            self.labels[outcome.predictions[0].label] += 1

    def tell(self, failure: ImageFailure) -> None:
        """Called with each image that could not be read, once it is counted."""

    def take(self, others: Counts) -> None:
        """Add what others counted."""
        self.images += others.images
        self.known += others.known
        self.unknown += others.unknown
        self.reasons += others.reasons
        self.labels += others.labels
