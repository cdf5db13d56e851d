"""Which outputs are reports, and what a report says of the run as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.scoring.evaluation import Evaluation

SUFFIX = ".html"


def is_report(path: Path) -> bool:
    """Whether the suffix of an output is that of a report."""
    return path.suffix.lower() == SUFFIX


@dataclass(frozen=True)
class About:
    """What a report says of the run as a whole.

    Args:
        title: heads the page, such as the names of the inputs.
        model: which model was used, if that is known.
        labels: all labels there were to choose from; those of the images are added.
        evaluation: the figures, if the true labels are known.
        is_gallery: whether images are only to be looked at, in this order: labels stand for queries or
            groups, and there is nothing to correct.
    """

    title: str
    model: str = ""
    labels: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    is_gallery: bool = False
