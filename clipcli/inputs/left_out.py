"""What folders hold and was not taken, counted, so that a summary can tell."""

from __future__ import annotations

import os
from collections import Counter
from typing import Literal, TypeAlias

from clipcli.inputs.formats import FileKind, kind_of

Reason: TypeAlias = Literal["hidden", "not included", "excluded", "paired", "nested"]
"""Hidden, left out by a pattern, the other one of a pair of RAW and JPEG, or an archive in an archive. Else
its kind is the reason."""


class LeftOut:
    """Counts of files that were not taken.

    `kinds` counts files by what they hold, `suffixes` those that hold no images by their suffixes, `reasons`
    images that were left out for another reason, and `folders` whole folders.
    """

    def __init__(self) -> None:
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
