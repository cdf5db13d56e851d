"""What folders hold and was not taken, counted, so that a summary can tell."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Literal, TypeAlias

from clipcli.inputs.formats import FileKind, kind_of

Reason: TypeAlias = Literal["hidden", "not included", "excluded", "paired", "nested"]
"""Hidden, left out by a pattern, the other one of a pair of RAW and JPEG, or an archive in an archive. Else
its kind is the reason."""


class Tally:
    """A number that threads count up. What another process counts in its copy is not known here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self.count += 1

    def __reduce__(self) -> tuple[type[Tally], tuple[()]]:
        return Tally, ()


class LeftOut:
    """Counts of files that were not taken.

    `kinds` counts files by what they hold, `suffixes` those that hold no images by their suffixes, `reasons`
    images that were left out for another reason, and `folders` whole folders. `first_pages` counts TIFF files
    of which only the first page was read; it grows while images are read.

    Args:
        first_pages: where those are counted.
    """

    def __init__(self, first_pages: Tally | None = None) -> None:
        self.first_pages = first_pages or Tally()
        self.kinds: Counter[FileKind] = Counter()
        self.suffixes: Counter[str] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.folders: Counter[Reason] = Counter()

    def add_folder(self, reason: Reason) -> None:
        """Count a folder that was not searched."""
        self.folders[reason] += 1

    def add(self, name: str, reason: Reason | None = None) -> None:
        """Count one file; without a reason, because of what it holds."""
        if reason is not None:
            self.reasons[reason] += 1
            return
        kind = kind_of(name)
        self.kinds[kind] += 1
        if kind == "other":
            self.suffixes[os.path.splitext(name)[1].lower()] += 1

    def take_back(self, name: str) -> None:
        """Count a file no longer that was taken after all, in another way than by its suffix."""
        kind = kind_of(name)
        self.kinds[kind] -= 1
        if kind == "other":
            self.suffixes[os.path.splitext(name)[1].lower()] -= 1
            self.suffixes += Counter()  # without those that are 0
