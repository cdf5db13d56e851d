"""The images in an archive, in its order: one outcome each, whatever else the archive holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from clipcli.errors import ImageError
from clipcli.inputs.archives.file import MEMBER_MARK, ArchiveFile
from clipcli.inputs.archives.items import TWICE, MemberItem, entries, item_of
from clipcli.inputs.archives.samples import Sample, as_columns, samples
from clipcli.inputs.archives.stored import Entry
from clipcli.inputs.item import FileItem
from clipcli.inputs.remote import RemoteItem
from clipcli.inputs.walk import Search, is_taken_within
from clipcli.records import ImageFailure, Item


def members(
    item: Item, search: Search, columns: Mapping[str, type] | None = None
) -> Iterator[Item | ImageFailure]:
    """The images in an archive, as the search wants them; those that cannot be read are failures.

    Args:
        item: the archive.
        search: decides by the paths within the archive.
        columns: of the samples in it, with their types, if it is a shard of samples.

    Yields:
        items; in the end a failure of the archive itself if it is damaged.
    """
    if not isinstance(item, FileItem | RemoteItem):
        yield ImageFailure(item.name, "an archive within another file: unpack that one first", item.columns)
        return
    try:
        archive = ArchiveFile.at(item.location)
        listing = _Listing(item, archive, search)
        yield from listing.of_files() if columns is None else listing.of_samples(columns)
    except ImageError as error:
        yield ImageFailure(item.name, error.message, item.columns or dict.fromkeys(columns or ()), item.truth)


class _Listing:
    """One pass over an archive."""

    def __init__(self, item: FileItem | RemoteItem, archive: ArchiveFile, search: Search) -> None:
        self._item, self._archive, self._search = item, archive, search
        self._seen: set[str] = set()

    def of_files(self) -> Iterator[Item | ImageFailure]:
        for entry in entries(self._archive):
            if is_taken_within(entry.path, self._search):
                yield self._found(entry)

    def of_samples(self, columns: Mapping[str, type]) -> Iterator[Item | ImageFailure]:
        """Images once all files of their samples have passed by, for these may hold their cells."""
        for sample in samples(entries(self._archive), self._taken):
            yield from self._with_cells(sample, columns)

    def _taken(self, entry: Entry) -> Item | ImageFailure | None:
        return self._found(entry) if is_taken_within(entry.path, self._search) else None

    def _with_cells(self, sample: Sample, columns: Mapping[str, type]) -> Iterator[Item | ImageFailure]:
        try:
            cells, problem = as_columns(sample, columns), ""
        except ImageError as error:
            cells, problem = dict.fromkeys(columns), error.message
        for found in sample.images:
            if isinstance(found, ImageFailure):
                yield found._replace(columns=cells)
            elif problem:
                yield ImageFailure(found.name, problem, cells)
            else:
                yield replace(cast(MemberItem, found), columns=cells)

    def _found(self, entry: Entry) -> MemberItem | ImageFailure:
        name = f"{self._item.name}{MEMBER_MARK}{entry.path}"
        refusal = TWICE if entry.path in self._seen else entry.refusal
        self._seen.add(entry.path)
        if refusal:
            return ImageFailure(name, refusal, self._item.columns, self._item.truth)
        return item_of(entry, self._archive, self._item.name, self._item.columns)
