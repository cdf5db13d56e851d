"""Reading ahead: order, how many are on their way, and what passes untouched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from running_threads import threads_end

from clipcli import read_ahead as read_ahead_module
from clipcli.read_ahead import read_ahead
from clipcli.remote import retries


def weightless(_: int) -> int:
    return 0


def test_the_order_is_kept_and_others_pass_as_they_are() -> None:
    def read(number: int) -> int:
        time.sleep(0.01 if number % 4 == 0 else 0)
        return -number

    found = list(read_ahead(read, range(100), lambda n: n % 2 == 0, weightless, 8))
    assert found == [-n if n % 2 == 0 else n for n in range(100)]


def test_what_is_not_slow_is_taken_one_by_one_without_a_thread() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    before = threading.active_count()
    results = read_ahead(lambda n: n, items(), lambda n: False, weightless, 32)
    for number in range(10):
        assert next(results) == number
        assert len(taken) == number + 1
    assert threading.active_count() == before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that goes by for `read_ahead`."""
    clock = Clock()
    monkeypatch.setattr(read_ahead_module.time, "perf_counter", lambda: clock.now)
    return clock


class Clock:
    """A time that only the test moves."""

    now = 0.0


def look_ahead(clock: Clock, latency: float, use: float, size: int = 0) -> int:
    """How many of a batch of 4 and more are on their way, once the pace is known."""
    pace = read_ahead_module._Pace(4)
    for _ in range(200):
        clock.now += use
        pace.asked()
        clock.now += 1  # to wait for an item says nothing of how fast items are used
        pace.given(latency, size)
    return pace.look_ahead


def test_as_many_are_on_their_way_as_are_used_while_one_arrives(clock: Clock) -> None:
    assert look_ahead(clock, latency=0.1, use=0.005) in (24, 25), "a batch, and 20 in 0.1 s"
    assert look_ahead(clock, latency=0.001, use=0.01) == 5, "a batch, and one"
    assert look_ahead(clock, latency=10, use=0.001) == 4 + 4 * 64, "however far the server is away"


def test_large_ones_are_not_kept_waiting_in_numbers(clock: Clock) -> None:
    assert look_ahead(clock, latency=0.1, use=0.005, size=1 << 26) == 4, "4 times 64 MB are the limit"
    assert look_ahead(clock, latency=0.1, use=0.005, size=1 << 30) == 1


def test_no_more_are_begun_than_are_to_be_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead_module._Pace, "given", lambda *_: None)
    begun = 0

    def numbers() -> Iterator[int]:
        nonlocal begun
        while begun < 50:
            begun += 1
            yield begun

    for taken, _ in enumerate(read_ahead(lambda n: n, numbers(), lambda n: True, weightless, 4), 1):
        assert begun - taken <= 4


def test_an_error_reaches_who_takes_it() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise RuntimeError("no")
        return number

    results = read_ahead(read, range(9), lambda n: True, weightless, 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError):
        next(results)
    assert threads_end("read")


def test_leaving_early_ends_what_would_be_tried_again() -> None:
    tries = []

    def read(number: int) -> int:
        def attempt() -> int:
            tries.append(number)
            raise retries.Temporary("no", after=30)

        return retries.retried(attempt) if number else 0

    results = read_ahead(read, range(9), lambda n: True, weightless, 4)
    assert next(results) == 0
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert threads_end("read")
    assert time.monotonic() - started < 5
