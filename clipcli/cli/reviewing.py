"""`clipcli review-next`: features of the images of a table, and the ones to label next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli import console

if TYPE_CHECKING:
    from clipcli.cli.passes import Passes
    from clipcli.inputs.predictions import PredictedImage
    from clipcli.models.request import ModelRequest

_LABELS = 5  # of an image in the table that is written


def chosen(
    found: Sequence[PredictedImage], table: str, count: int, request: ModelRequest, passes: Passes
) -> list[PredictedImage]:
    """The images to label next, the most useful first, by the paths at which they lie.

    Args:
        found: the images of the table.
        table: its path.
        count: how many to choose.
        request: the model.
        passes: how images are encoded.

    Raises:
        ClipcliError: no image can be read.
    """
    from dataclasses import replace

    import numpy as np

    from clipcli.inputs.opening import item_named
    from clipcli.inputs.predictions import located
    from clipcli.inputs.truth import with_truth
    from clipcli.output.labelled import LabelledFeatures
    from clipcli.scoring.review import review_order

    images = [replace(one, image=located(one.image, table)) for one in found]
    items = [with_truth(item_named(one.image), str(number)) for number, one in enumerate(images)]
    collected = LabelledFeatures()
    with passes.encoding.opened(request) as run:
        passes.over(items, run, run.encoder(), collected, lambda: len(items)).print("")
    read = [images[int(number)] for number in collected.truths]
    margins = np.array([1.0 if one.margin is None else one.margin for one in read], dtype=np.float32)
    order = review_order(collected.features(), margins, min(count, len(read)))
    return [read[index] for index in order]


def write(images: Sequence[PredictedImage], path: Path | None) -> None:
    """Write a row for each image, with its best labels.

    Raises:
        UsageError: the suffix is no format.
        OutputError: the file cannot be written.
    """
    from clipcli.output.sinks import open_sink

    ranks = max(min(len(one.labels), _LABELS) for one in images)
    columns: dict[str, type] = {"image": str}
    for rank in range(1, ranks + 1):
        ending = "" if rank == 1 else f"_{rank}"
        columns |= {f"label{ending}": str, f"score{ending}": float}
    with open_sink({**columns, "margin": float}, path) as sink:
        for one in images:
            cells = [cell for label in one.labels[:ranks] for cell in (label.label, label.score)]
            sink.write([one.image, *cells, *[None] * (2 * ranks - len(cells)), one.margin])
    console.tell(f"{len(images)} images to label" + (f": {path}" if path else ""))
