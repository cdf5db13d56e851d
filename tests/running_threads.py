"""Threads that are to end without being waited for."""

from __future__ import annotations

import threading
import time


def threads_end(prefix: str, seconds: float = 60) -> bool:
    """Whether no thread whose name begins so is left, or none is soon."""
    until = time.monotonic() + seconds
    while any(thread.name.startswith(prefix) for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True
