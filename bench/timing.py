"""Seconds of functions in this process, after one warm-up: alone, or in turn with others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Step = Callable[[], object]


def seconds(run: Step, repeats: int) -> float:
    """Median of a few runs."""
    return statistics.median(in_turn({"": run}, repeats)[""])


def in_turn(candidates: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Of each candidate, turn by turn, one after the other."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken
