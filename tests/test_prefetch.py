"""Working ahead: order, bounds, and errors that reach the caller."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
from running_threads import threads_end

from clipcli.prefetch import in_chunks, prefetch_map


def test_results_keep_the_order_however_long_each_takes() -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    assert list(prefetch_map(slow_when_even, range(20), workers=4, prefetch=8)) == list(range(20))


def test_no_more_than_the_look_ahead_is_begun() -> None:
    begun: list[int] = []
    results = prefetch_map(
        lambda number: begun.append(number) or number, iter(range(1000)), workers=2, prefetch=5
    )
    for taken in range(1, 20):
        next(results)
        time.sleep(0.001)
        assert len(begun) <= taken + 5
    results.close()  # type: ignore[attr-defined]


def test_leaving_early_ends_the_threads() -> None:
    results = prefetch_map(lambda number: number, iter(range(1000)), workers=3, prefetch=10)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threads_end("decode")


def test_a_generator_that_is_dropped_holds_nobody_up() -> None:
    """The collector may close it anywhere, while a thread is begun too: joining others there never ends."""
    begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def held_up(number: int) -> int:
        begun.set()
        ended.append(may_end.wait(timeout=10))
        return number

    results = prefetch_map(held_up, range(9), workers=1, prefetch=3, known=lambda n: None if n else -1)
    assert next(results) == -1
    assert begun.wait(timeout=60)
    cycle: list[object] = [results]
    cycle.append(cycle)
    dropped = weakref.ref(results)
    del results, cycle
    gc.collect()
    assert dropped() is None
    assert not ended, "it waited for its thread"
    may_end.set()
    assert threads_end("decode")
    assert ended == [True], "the items behind are not begun"


def test_an_exception_in_a_thread_reaches_the_caller() -> None:
    def fail(number: int) -> int:
        raise RuntimeError(f"at {number}")

    with pytest.raises(RuntimeError, match="at 0"):
        list(prefetch_map(fail, range(10), workers=2, prefetch=4))


def test_what_is_known_takes_no_thread_and_keeps_its_place() -> None:
    asked: list[int] = []

    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    results = prefetch_map(
        double, range(9), workers=2, prefetch=4, known=lambda number: None if number % 3 else -number
    )
    assert list(results) == [0, 2, 4, -3, 8, 10, -6, 14, 16]
    assert sorted(asked) == [1, 2, 4, 5, 7, 8]


def test_chunks_hold_everything_once() -> None:
    assert list(in_chunks(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_chunks([], 2)) == []
