"""Threads that each compute on one core, begun in the process that uses them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class SingleThreads:
    """As many threads as torch uses, in each of which it uses that one alone.

    A forked process has none of its parent's threads, and begins its own when it first needs them.
    """

    def __init__(self) -> None:
        self._process = 0
        self._starting = threading.Lock()
        self._pool = self._of_this_process()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As `ThreadPoolExecutor.map`."""
        return self._of_this_process().map(function, items)

    def _of_this_process(self) -> ThreadPoolExecutor:
        if self._process == os.getpid():
            return self._pool
        with self._starting:
            if self._process != os.getpid():
                self._pool = _begun()
                self._process = os.getpid()
            return self._pool


_starting = threading.Lock()


def _begun() -> ThreadPoolExecutor:
    def use_one() -> None:
        torch.set_num_threads(1)  # of this thread, and for now of those that others start
        torch.get_num_threads()  # makes it stay
        all_started.wait()

    with _starting:
        threads = torch.get_num_threads()
        all_started = threading.Barrier(threads)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="encode", initializer=use_one)
        list(pool.map(lambda _: None, range(threads)))
        torch.set_num_threads(threads)
    return pool


def _renew_lock() -> None:
    """In a forked process: a thread that may have held it is gone."""
    global _starting  # noqa: PLW0603
    _starting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
