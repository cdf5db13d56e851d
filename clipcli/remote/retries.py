"""One policy for all services: what may pass is tried again, later and later, and never for long."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import count
from typing import TypeVar

from clipcli.errors import RemoteError

TIMEOUT, ATTEMPTS, READS = "CLIPCLI_REMOTE_TIMEOUT", "CLIPCLI_REMOTE_ATTEMPTS", "CLIPCLI_REMOTE_READS"
"""Environment variables: seconds without an answer, how often something is tried, and reads at a time."""

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may pass."""

_FIRST_WAIT, _LONGEST_WAIT = 0.25, 20.0  # seconds
_LONGEST_ASKED = 60.0  # seconds that a server may ask to wait

Result = TypeVar("Result")
_leaving: ContextVar[threading.Event | None] = ContextVar("leaving", default=None)


class Temporary(Exception):
    """A failure that may pass.

    Args:
        reason: why it failed.
        after: seconds that the server asks to wait.
        attempts: how often to try at most; None is as often as anything.
    """

    def __init__(self, reason: str, after: float | None = None, attempts: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after, self.attempts = reason, after, attempts


def timeout() -> float:
    """Seconds without an answer, or without a part of one, after which a request has failed."""
    return _number(TIMEOUT, 10.0)


def reads_at_once() -> int:
    """Requests that may be under way at the same time."""
    return max(1, int(_number(READS, 64)))


def retried(attempt: Callable[[], Result], attempts: int | None = None) -> Result:
    """What a function returns, which is called again after a `Temporary` failure: with exponential back-off
    and full jitter, or when the server asks for it.

    Raises:
        RemoteError: it failed too often, or the server asks to wait for too long.
    """
    most = attempts or max(1, int(_number(ATTEMPTS, 5)))
    for number in count(1):
        try:
            return attempt()
        except Temporary as failure:
            wait = _wait(number) if failure.after is None else failure.after
            if number >= min(most, failure.attempts or most) or wait > _LONGEST_ASKED or _slept(wait):
                raise RemoteError(failure.reason) from None
    raise AssertionError


@contextlib.contextmanager
def given_up_with(leaving: threading.Event) -> Iterator[None]:
    """In the block, and in its thread, nothing is tried again once the event is set."""
    token = _leaving.set(leaving)
    try:
        yield
    finally:
        _leaving.reset(token)


def _wait(number: int) -> float:
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2**number)
    return random.uniform(longest / 2, longest)


def _slept(seconds: float) -> bool:
    """Wait; whether that is in vain, because nobody wants the result any more."""
    return (_leaving.get() or threading.Event()).wait(seconds)


def _number(variable: str, default: float) -> float:
    try:
        return float(os.environ.get(variable) or default)
    except ValueError:
        raise RemoteError(f"{variable} is no number: {os.environ[variable]}") from None
