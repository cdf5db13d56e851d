"""What the true labels of images mean as classes, and which images have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from clipcli.cli import console
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.records import ImageFailure, Item
    from clipcli.scoring.targets import Targets


def with_a_class(images: Iterable[Item | ImageFailure], targets: Targets) -> Iterator[Item | ImageFailure]:
    """The images whose true label meets a label, and what could not be listed."""
    from clipcli.records import ImageFailure

    for image in images:
        if isinstance(image, ImageFailure) or targets.indices.get(image.truth or ""):
            yield image


def tell_left_out(
    counts: Counter[str], targets: Targets, separator: str | None, labels: str = "the labels"
) -> int:
    """Name the true labels that meet no label; returns how many images have no other.

    Args:
        counts: how many images have which true label.
        targets: the classes that they mean.
        separator: what parts several labels.
        labels: what to call those that there are to choose from.

    Raises:
        UsageError: all of them.
    """
    from clipcli.cli import figures
    from clipcli.scoring.targets import split_truth

    lost: Counter[str] = Counter()
    for text, count in counts.items():
        lost.update({one: count for one in split_truth(text, separator) if one in targets.unmatched})
    told = figures.some(
        f"{one} ({count}{f', nearest: {near}' if (near := targets.unmatched[one]) else ''})"
        for one, count in lost.most_common()
    )
    left_out = sum(count for text, count in counts.items() if not targets.indices[text])
    if left_out == counts.total():
        raise UsageError(f"no true label is one of {labels}", f"The true labels are: {told}.")
    if lost:
        console.warn(f"true labels that are none of {labels}: {told}")
    if left_out:
        console.warn(f"left out, without a true label among {labels}: {left_out} of {counts.total()} images")
    return left_out
