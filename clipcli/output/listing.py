"""The table of what would be classified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clipcli.output.cells import ImageName, Row
from clipcli.output.rows import carried_names
from clipcli.prefetch import prefetch_map
from clipcli.records import ImageFailure, Item, is_remote

_ASKED_AT_ONCE = 32

OWN_COLUMNS: dict[str, type] = {"image": ImageName, "kind": str, "version": str, "error": str}


class Listing:
    """Columns and rows of inputs that are listed, not read.

    `columns` are the names and types of all cells of a row.

    Args:
        carried: columns of the user's table, and the types of their cells.
    """

    def __init__(self, carried: Mapping[str, type]) -> None:
        self._carried = tuple(carried)
        names = carried_names(self._carried, OWN_COLUMNS)
        self.columns = {**OWN_COLUMNS, **dict(zip(names, carried.values(), strict=True))}

    def rows(self, images: Iterable[Item | ImageFailure]) -> Iterator[Row]:
        """The rows of images, in order; servers are asked for the versions of many at once."""

        def at_hand(one: Item | ImageFailure) -> Row | None:
            return None if is_remote(one) else self.row(one)

        return prefetch_map(self.row, images, _ASKED_AT_ONCE, _ASKED_AT_ONCE, at_hand)

    def row(self, one: Item | ImageFailure) -> Row:
        """The row of one image, or of what cannot be listed."""
        return [*_own(one), *map(one.columns.get, self._carried)]


def _own(one: Item | ImageFailure) -> Row:
    if isinstance(one, ImageFailure):
        return [one.image, None, None, one.reason]
    version = one.version()
    return [one.name, one.kind, version.token if version else None, None]
