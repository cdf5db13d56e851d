"""How long a part of the recipe trains, and the learning rate that follows from it."""

from __future__ import annotations

import math
from typing import NamedTuple

from clipcli.train.optimizer import cosine_decay


class Budget(NamedTuple):
    """The length of a training: seconds or, for runs that are the same on every machine, steps."""

    seconds: float = math.inf
    steps: int = 0

    def progress(self, seconds: float, step: int) -> float:
        """How much of the budget is used, 0 to 1."""
        return step / self.steps if self.steps else seconds / self.seconds


def lr_at(progress: float, step: int, highest: float, warmup: int, least: float) -> float:
    """Linear warm-up over the first steps, and half a cosine over the budget.

    `clipcli.train.optimizer.lr_at` knows the number of steps; here only the time may be known.

    Args:
        progress: how much of the budget is used, 0 to 1.
        step: steps made so far.
        highest: the learning rate without warm-up and decay.
        warmup: steps of the warm-up.
        least: the share of `highest` below which the cosine does not fall.
    """
    return highest * min(1, (step + 1) / warmup) * max(cosine_decay(progress), least)
