"""Work ahead in threads: what will be wanted next is made while the last is used, and the order is kept."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    prefetch: int,
    known: Callable[[Item], Result | None] = lambda item: None,
) -> Iterator[Result]:
    """`map` in threads: results in order, at most `prefetch` items begun and not yet taken.

    Left early, it ends without waiting for the items that are being worked on: the garbage collector may be
    what closes it, in the middle of another thread's start, whose lock a join would wait for.

    Args:
        known: the result of an item that is not worth a thread, else None.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def begun(item: Item) -> Result | Future[Result]:
        result = known(item)
        return pool.submit(function, item) if result is None else result

    try:
        pending = deque(map(begun, islice(remaining, prefetch)))
        while pending:
            first = pending.popleft()
            result = first.result() if isinstance(first, Future) else first
            pending.extend(map(begun, islice(remaining, 1)))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items, `size` at a time; the last ones may be fewer."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
