"""Equal workers that share the work: each task goes to the one that has least to do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

Worker = TypeVar("Worker")


class Pool(Generic[Worker]):
    """Workers that do the same, to be used from several threads.

    Args:
        workers: at least one; the first is taken where several have equally little to do.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)
        self._tasks = [0] * len(self.workers)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def least_used(self) -> Iterator[Worker]:
        """The worker with the fewest tasks, which has one more until the context ends."""
        with self._lock:
            index = self._tasks.index(min(self._tasks))
            self._tasks[index] += 1
        try:
            yield self.workers[index]
        finally:
            with self._lock:
                self._tasks[index] -= 1
