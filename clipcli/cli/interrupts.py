"""Ctrl-C and SIGTERM: the first lets a run finish its batch, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, ClassVar

from clipcli.cli import console

_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupted(Exception):
    """A run ended early because a signal asked for it.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.exit_code = 128 + number


class StopOnSignal:
    """A context in which a signal is only noted; calling it tells whether there was one.

    A signal that is ignored, as in the background of some shells, stays ignored.
    """

    ended_at_once: ClassVar[bool] = False
    """Whether a second signal came in this process: threads may then never end, and are not waited for."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self._number is not None

    def check(self) -> None:
        """Raise `Interrupted` if there was a signal."""
        if self._number is not None:
            raise Interrupted(self._number)

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():  # signals reach no other
            for number in _NAMES:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None:
            StopOnSignal.ended_at_once = True
            raise KeyboardInterrupt
        self._number = number
        console.note("finishing this batch; once more to stop at once")
