"""Warnings of work that is done several times."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, cast


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """A context in which the same warning of several repetitions is shown once."""
    show = cast(Any, warnings.showwarning)
    shown: set[str] = set()

    def show_once(message: Warning | str, *arguments: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            show(message, *arguments)

    warnings.showwarning = cast(Any, show_once)
    try:
        yield
    finally:
        warnings.showwarning = show
