"""What a workbook has besides its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from clipcli.records import Value

Section: TypeAlias = tuple[str, Sequence[tuple[str, Value]]]
"""A heading and what stands below it: names and values."""


@dataclass(frozen=True)
class WorkbookOptions:
    """What a workbook has besides its rows.

    Args:
        title: what its first sheet is called.
        thumbnails: whether the cells that name images show them.
        about: what the sheet `summary` tells, asked for when the rows are complete; None is no such sheet.
    """

    title: str = "predictions"
    thumbnails: bool = False
    about: Callable[[], Sequence[Section]] | None = None
