"""Folders as Hugging Face's `datasets` lays them out.

Tables with images inside (`data/train-00000-of-00004.parquet`, what `save_to_disk` writes), or image files
with a table of metadata beside them (`metadata.csv` with a column `file_name`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from clipcli.errors import UsageError
from clipcli.inputs.item import changed
from clipcli.inputs.tables.rows import as_type, common_type
from clipcli.inputs.walk import PathFilter
from clipcli.records import NO_COLUMNS, Columns, ImageFailure, Item

SPLITS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing"})
"""What the parts of a dataset are called."""

_SHARD = re.compile(r".+-\d{5}-of-\d{5}(-[0-9a-f]+)?\.(parquet|arrow)")
_SPLIT = re.compile(rf"({'|'.join(sorted(SPLITS))})(?![A-Za-z0-9]).*\.parquet")
_DESCRIPTIONS = ("README.md", "dataset_infos.json")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME = "file_name"
_DEPTH = 2  # a configuration, and a split in it
_HEAD_BYTES = 1 << 16


def has_split_folders(folder: str) -> bool:
    """Whether all subfolders are splits of a dataset, which have subfolders for classes in turn."""
    names = subfolders(folder)
    return (
        bool(names)
        and SPLITS.issuperset(names)
        and any(subfolders(os.path.join(folder, one)) for one in names)
    )


def subfolders(folder: str) -> list[str]:
    """The names of the folders in a folder, sorted, without those that are hidden."""
    with os.scandir(folder or ".") as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


# --- Tables with images inside -------------------------------------------------------------------


def dataset_tables(folder: str, path_filter: PathFilter, image_column: str | None = None) -> list[str]:
    """The tables with images that make a folder a dataset; none for any other folder.

    They are recognised by names that `datasets` and the hub give them, in the folder, in `data`, in a folder
    for a split or, where a README stands beside it, for a configuration. Other tables stay unread, as the
    results that somebody left beside images.

    Args:
        folder: where to look.
        path_filter: what the user wants of the files.
        image_column: the column of the images; None finds it.

    Raises:
        UsageError: some of them can be read, and another cannot.
    """
    try:
        paths = [
            os.path.join(folder, path) for path in _table_names(folder) if not path_filter.reason(path, False)
        ]
    except OSError:  # told when the folder is searched
        return []
    if not paths:
        return []
    from clipcli.inputs.tables.table import Table

    errors = []
    found = []
    for path in paths:
        try:
            if Table(path, image_column).cells is not None:
                found.append(path)
        except UsageError as error:
            errors.append(error)
    if found and errors:
        raise errors[0]
    return found


def is_table_of_dataset(path: str) -> bool:
    """Whether a file, named from the folder of a dataset, is called as those with its rows are."""
    folder, name = os.path.split(path)
    in_split = os.path.basename(folder) in SPLITS and name.endswith(".parquet")
    return bool(in_split or _SHARD.fullmatch(name) or _SPLIT.fullmatch(name))


def _table_names(folder: str, below: str = "", depth: int = 0) -> Iterator[str]:
    """The names of tables, from the folder, in order."""
    here = os.path.join(folder, below)
    described = depth == 0 and any(os.path.exists(os.path.join(here, name)) for name in _DESCRIPTIONS)
    with os.scandir(here or ".") as entries:  # of which there may be a million, and few that count
        found = [one for one in entries if _may_hold_tables(one, below, depth, described)]
    for entry in sorted(found, key=lambda one: one.name):
        path = os.path.join(below, entry.name)
        if entry.is_file():
            yield path
        else:
            yield from _table_names(folder, path, depth + 1)


def _may_hold_tables(entry: os.DirEntry[str], below: str, depth: int, described: bool) -> bool:
    if entry.name.startswith("."):
        return False
    if is_table_of_dataset(os.path.join(below, entry.name)):
        return entry.is_file()
    is_part = described or entry.name == "data" or entry.name in SPLITS
    return depth < _DEPTH and is_part and entry.is_dir()


# --- Images with metadata ------------------------------------------------------------------------


def metadata_of(folder: str) -> Metadata | None:
    """What the metadata files in a folder, or in the folders of its splits, say of its images; or None.

    Raises:
        UsageError: one of them is damaged, or says two things of one image.
    """
    try:
        places = [folder, *(os.path.join(folder, name) for name in subfolders(folder) if name in SPLITS)]
    except OSError:  # told when the folder is searched
        return None
    paths = [os.path.join(place, name) for place in places for name in _METADATA]
    found = [path for path in paths if os.path.isfile(path) and _has_file_names(path)]
    return Metadata(found) if found else None


def _has_file_names(path: str) -> bool:
    if path.endswith(".parquet"):
        from clipcli.inputs.tables.files import TableFile

        try:
            return _FILE_NAME in TableFile(path, path, "parquet").header()
        except UsageError:
            return False
    try:
        with open(path, "rb") as file:
            return _FILE_NAME.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


class Metadata:
    """The cells of images, by their files.

    Args:
        paths: tables with a column `file_name`, whose paths start at the table's folder.

    Raises:
        UsageError: one of them is damaged, or two rows say different things of one image.
    """

    def __init__(self, paths: list[str]) -> None:
        from clipcli.inputs.tables.table import Table

        self.columns: dict[str, type] = {}
        self._cells: dict[str, Columns] = {}
        self._missing: list[Item | ImageFailure] = []
        for path in paths:
            table = Table(path, _FILE_NAME)
            for name, kind in table.columns.items():
                self.columns[name] = common_type(self.columns.get(name), kind) or str
            for row in table:
                self._add(row, path)

    def with_cells(self, item: Item) -> Item | ImageFailure:
        """An image with its cells, which are empty for one that has none."""
        cells = self._typed(self._cells.get(os.path.abspath(item.name), NO_COLUMNS))
        return changed(item, columns=cells)

    def missing(self) -> Iterator[Item | ImageFailure]:
        """Rows without an image, whose files are not there."""
        for one in self._missing:
            cells = self._typed(one.columns)
            yield changed(one, columns=cells)

    def _typed(self, cells: Columns) -> Columns:
        return {name: as_type(cells.get(name), kind) for name, kind in self.columns.items()}

    def _add(self, row: Item | ImageFailure, path: str) -> None:
        if isinstance(row, ImageFailure) or not os.path.lexists(row.name):
            self._missing.append(row)
            return
        place = os.path.abspath(row.name)
        if self._cells.setdefault(place, row.columns) != row.columns:
            raise UsageError(f"{path}: {row.name} has two rows", "Leave one of them out.")
