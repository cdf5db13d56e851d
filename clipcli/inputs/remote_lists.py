"""Lists and tables at addresses: fetched once, and kept in a temporary file as long as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from clipcli.errors import RemoteError, UsageError
from clipcli.inputs.lists import PathList
from clipcli.inputs.tables.recognise import looks_like_table, table_format
from clipcli.inputs.tables.rows import temporary_file
from clipcli.remote import objects
from clipcli.remote.addresses import beside, shown, without_query

if TYPE_CHECKING:
    from clipcli.inputs.tables.table import Table

_HEAD_BYTES = 1 << 16


class RemoteList:
    """A list of paths, or a table, at an address. Paths in it start at its folder, and are addresses, too.

    Args:
        url: its address.

    Raises:
        UsageError: it cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._url, self.name = url, shown(url)
        file = temporary_file(self)
        try:
            objects.save(url, file)
        except RemoteError as error:
            raise UsageError(f"{self.name} cannot be read: {error.message}", error.hint) from None
        file.flush()
        self._path = file.name

    def table(self, image_column: str | None, keep: Sequence[str] | None) -> Table | None:
        """The table that it is, by its suffix or by how it begins; None for a list of paths.

        Args:
            image_column: the column that names the images; None finds it.
            keep: the columns that travel; None means all.

        Raises:
            UsageError: it is damaged, has no such columns, or holds the images themselves.
        """
        from clipcli.inputs.tables.table import Table

        stored_as = table_format(without_query(self._url))
        if stored_as is None:
            with open(self._path, "rb") as file:
                stored_as = looks_like_table(file.read(_HEAD_BYTES), image_column)
        if stored_as is None and image_column is None:
            return None
        table = Table(self._path, image_column, keep, stored_as=stored_as, called=self._url)
        if table.cells is not None:
            raise UsageError(
                f"{self.name} holds images, not their paths", "Download it, and name the file that you have."
            )
        return table

    def names(self) -> Iterator[str]:
        """The addresses that a list names, as often as they are asked for.

        Raises:
            UsageError: it is something else than a list of paths.
        """
        with open(self._path, "rb") as file:
            yield from map(partial(beside, url=self._url), PathList(file, self.name).names())
