"""Consumers that collect what a classifier is fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clipcli.errors import ClipcliError, UsageError
from clipcli.output.consumers import Consumer
from clipcli.records import Float32Array, ImageFailure, ImageFeatures, Outcome
from clipcli.scoring.targets import Targets

MOST_COSINES = 2**26
"""Cosines that are kept: 270 MB, such as those of 67,000 images and 1,000 classes. Fitting needs more."""


class LabelledCosines(Consumer[Outcome]):
    """Keeps the cosines of images with one true label each; failures and others are left out.

    Args:
        targets: the classes that true labels mean.

    Raises, while it takes outcomes, whose scores must be cosines:
        UsageError: there are more than `MOST_COSINES`.
    """

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._cosines: list[Float32Array] = []
        self._target: list[int] = []

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        indices = self.targets.indices.get(outcome.truth) if outcome.truth is not None else None
        if isinstance(outcome, ImageFailure) or not indices:
            return
        self._cosines.append(outcome.scores)
        self._target.append(indices[0])
        classes = len(outcome.scores)
        if len(self._target) * classes > MOST_COSINES:
            most = MOST_COSINES // classes
            message = f"too many images to fit a classifier to: of {classes:,} classes, {most:,} can be used"
            raise UsageError(message, "Use fewer images or labels.")

    @property
    def cosines(self) -> Float32Array:
        """Those of all N images -> (N, C)."""
        classes = len(self.targets.classnames)
        return np.stack(self._cosines) if self._cosines else np.empty((0, classes), dtype=np.float32)

    @property
    def target(self) -> npt.NDArray[np.integer[Any]]:
        """(N,) indices of the true classes."""
        return np.array(self._target, dtype=np.intp)


class LabelledFeatures(Consumer[ImageFeatures | ImageFailure]):
    """Keeps the features of images with a true label, 4 bytes for each dimension."""

    def __init__(self) -> None:
        self.truths: list[str] = []
        self._features: list[Float32Array] = []

    def add(self, outcome: ImageFeatures | ImageFailure) -> None:
        """Take one outcome."""
        if isinstance(outcome, ImageFailure) or not outcome.truth:
            return
        self.truths.append(outcome.truth)
        self._features.append(outcome.features)

    def features(self) -> Float32Array:
        """(N, D), in the order of `truths`.

        Raises:
            ClipcliError: there is no image.
        """
        if not self._features:
            raise ClipcliError("no example could be read", "The warnings above say why.")
        return np.stack(self._features)
