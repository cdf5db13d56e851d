"""Read ahead in many threads what takes long to arrive, as from a network, and keep the order."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from clipcli.remote.retries import given_up_with, reads_at_once

Item = TypeVar("Item")
_FADING = 0.98  # the weight of what was measured one item earlier: the last 50 count
_MOST_BYTES = 1 << 28  # that are read and wait


@dataclass(frozen=True)  # Python 3.10 has no generic named tuples
class _Read(Generic[Item]):
    """What was read, and how many seconds that took."""

    item: Item
    seconds: float


def read_ahead(
    read: Callable[[Item], Item],
    items: Iterable[Item],
    is_slow: Callable[[Item], bool],
    size: Callable[[Item], int],
    batch: int,
) -> Iterator[Item]:
    """Items in order, the slow ones read; others pass as they are, and alone they are not waited for.

    As many are read ahead as a batch takes, and as many more as are used up while one of them arrives.

    Args:
        read: reads an item, in a thread.
        items: what to read.
        is_slow: whether an item takes long to read.
        size: the bytes that a read item holds.
        batch: how many are taken in one go.
    """
    pool, leaving = ThreadPoolExecutor(reads_at_once(), thread_name_prefix="read"), threading.Event()
    pending: deque[Item | Future[_Read[Item]]] = deque()
    pace = _Pace(batch)

    def timed(item: Item) -> _Read[Item]:
        started = time.perf_counter()
        with given_up_with(leaving):
            return _Read(read(item), time.perf_counter() - started)

    try:
        for item in items:
            if not pending and not is_slow(item):
                yield item
                continue
            pending.append(pool.submit(timed, item) if is_slow(item) else item)
            while pending and (not isinstance(pending[0], Future) or len(pending) >= pace.look_ahead):
                yield _first(pending, pace, size)
        while pending:
            yield _first(pending, pace, size)
    finally:
        leaving.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _first(pending: deque[Item | Future[_Read[Item]]], pace: _Pace, size: Callable[[Item], int]) -> Item:
    first = pending.popleft()
    if not isinstance(first, Future):
        return first
    pace.asked()
    result = first.result()
    pace.given(result.seconds, size(result.item))
    return result.item


class _Pace:
    """How fast items are used and how long they take to arrive, and so how many must be on their way.

    Args:
        batch: how many are taken in one go.
    """

    def __init__(self, batch: int) -> None:
        self.look_ahead = batch
        self._batch = batch
        self._count = self._arriving = self._using = self._bytes = 0.0
        self._given = time.perf_counter()

    def asked(self) -> None:
        """The next item is wanted."""
        self._using = _FADING * self._using + time.perf_counter() - self._given

    def given(self, seconds: float, size: int) -> None:
        """An item is handed out that took some seconds to read, and has some bytes."""
        self._count = _FADING * self._count + 1
        self._arriving = _FADING * self._arriving + seconds
        self._bytes = _FADING * self._bytes + size
        used_meanwhile = math.ceil(min(self._arriving / max(self._using, 1e-6), 4 * reads_at_once()))
        fit = int(_MOST_BYTES * self._count / max(self._bytes, 1))
        self.look_ahead = max(1, min(self._batch + used_meanwhile, fit))
        self._given = time.perf_counter()
