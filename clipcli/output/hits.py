"""Tables of what a search found: the images of each query, or groups of near-equal images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from clipcli.output.cells import ImageName, Row, Score
from clipcli.output.rows import carried_names, rounded
from clipcli.records import Columns, Duplicate, Hit, ImageFailure

HIT_COLUMNS: dict[str, type] = {
    "query": str,
    "rank": np.int32,
    "image": ImageName,
    "score": Score,
    "relative": float,
    "error": str,
}
DUPLICATE_COLUMNS: dict[str, type] = {"group": np.int32, "image": ImageName, "score": Score, "error": str}


class FoundTable:
    """Columns and rows of what was found; images that cannot be read follow, each with the reason.

    Args:
        own: `HIT_COLUMNS` or `DUPLICATE_COLUMNS`.
        carried: columns of the user's table, and the types of their cells.
    """

    def __init__(self, own: Mapping[str, type], carried: Mapping[str, type]) -> None:
        self._own = tuple(own)
        self._carried = tuple(carried)
        names = carried_names(self._carried, own)
        self.columns = {**own, **dict(zip(names, carried.values(), strict=True))}

    def rows(self, found: Iterable[Hit | Duplicate], failures: Sequence[ImageFailure]) -> Iterator[Row]:
        """A row for each image that was found, then one for each failure."""
        for one in found:
            yield self._row(_cells(one), one.columns)
        for failure in failures:
            yield self._row({"image": failure.image, "error": failure.reason}, failure.columns)

    def _row(self, cells: Mapping[str, str | int | float], columns: Columns) -> Row:
        return [*map(cells.get, self._own), *map(columns.get, self._carried)]


def _cells(one: Hit | Duplicate) -> dict[str, str | int | float]:
    if isinstance(one, Duplicate):
        return {"group": one.group, "image": one.image, "score": rounded(one.score)}
    return {
        "query": one.query,
        "rank": one.rank,
        "image": one.image,
        "score": rounded(one.score),
        "relative": rounded(one.relative),
    }
