"""The true labels of images: the folders that they lie in, a table of labels, a column of their own table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias, cast

from clipcli.errors import UsageError
from clipcli.inputs.item import FileItem
from clipcli.inputs.tables import Table
from clipcli.records import ImageFailure, Item, Value

TRUTH_COLUMNS = ("label", "labels", "class", "truth")
"""Columns that hold the true labels of a table, in lower case; the first one there is taken."""

Truth: TypeAlias = Callable[[Item], str | None]
"""Finds the true label of an image, or None."""


@dataclass(frozen=True)
class Labelled:
    """Images with their true labels, as often as the images can be read.

    Args:
        items: the images.
        truth: finds the label of each.
    """

    items: Iterable[Item | ImageFailure]
    truth: Truth

    def __iter__(self) -> Iterator[Item | ImageFailure]:
        for item in self.items:
            if isinstance(item, ImageFailure):
                yield item
            else:
                yield cast(Item, replace(cast(FileItem, item), truth=self.truth(item)))


class FolderTruth:
    """The name of the folder that stands for an image's class.

    Of an input with subfolders it is the subfolder, however deep the image lies below it, and images beside
    the subfolders have no class. Of any other image it is the folder that it lies in.

    Args:
        inputs: files, folders and globs, as the user named them.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._roots = {_trimmed(path) for path in inputs if os.path.isdir(path)}
        self._of_folder = lru_cache(maxsize=1024)(self._class_of)

    def __call__(self, item: Item) -> str | None:
        """The class of an image, or None."""
        return self._of_folder(os.path.dirname(item.name))

    def _class_of(self, folder: str) -> str | None:
        root, below = folder, ""
        while root not in self._roots:
            parent, below = os.path.split(root)
            if parent in ("", root):
                return _name(folder)
            root = parent
        return _text(below) if below else (None if _has_folders(root) else _name(root))


class TableTruth:
    """The labels that a table has for the paths of images.

    Args:
        path: a .csv, .tsv, .jsonl, .parquet or .xlsx table with a column of images and one of labels. Paths
            start at the table's folder, at the working directory or at one of the inputs.
        column: that of the labels; None takes the first that is named `label`, `labels`, `class` or `truth`.
        inputs: files, folders and globs, as the user named them.

    Raises:
        UsageError: the table cannot be read, a column is missing, or an image has two labels.
    """

    def __init__(self, path: str, column: str | None = None, inputs: Sequence[str] = ()) -> None:
        self._roots = tuple({_trimmed(one) for one in inputs if os.path.isdir(one)})
        self.column = truth_column_of(path, column)
        self._labels: dict[str, str] = {}
        for row in Table(path, keep=(self.column,)):
            if isinstance(row, ImageFailure):
                raise UsageError(f"{path}: {row.reason}")
            label = _cell(row.columns[self.column])
            place = os.path.abspath(row.name)
            if label is not None and self._labels.setdefault(place, label) != label:
                labels = f"{self._labels[place]!r} and {label!r}"
                raise UsageError(f"{path}: {row.name} has two labels, {labels}", "Leave one of them out.")

    def __call__(self, item: Item) -> str | None:
        """The label of an image, or None."""
        found = self._label_of(item.name)
        return found if found is not None else self._label_of(_text(item.name))

    def _label_of(self, name: str) -> str | None:
        """The label of a path, which may have its odd bytes as escapes, as some of our own tables do."""
        found = self._labels.get(os.path.abspath(name))
        return found if found is not None else self._below_roots(name)

    def _below_roots(self, name: str) -> str | None:
        """The label of a path that starts at one of the inputs."""
        starts = (os.path.join(root, "") for root in self._roots)
        below = (name[len(start) :] for start in starts if name.startswith(start))
        labels = (self._labels.get(os.path.abspath(path)) for path in below)
        return next((label for label in labels if label is not None), None)


@dataclass(frozen=True)
class ColumnTruth:
    """A cell of the table that names the images.

    Args:
        column: that holds the label.
    """

    column: str

    def __call__(self, item: Item) -> str | None:
        """The label of an image, or None where the cell is empty."""
        return _cell(item.columns.get(self.column))


def truth_column_of(path: str, asked: str | None = None) -> str:
    """The column of a table that holds the true labels.

    Args:
        path: the table.
        asked: its name, or None to find it.

    Raises:
        UsageError: there is none, or the table cannot be read.
    """
    if asked is not None:
        return asked
    columns = {name.strip().lower(): name for name in Table(path).columns}
    found = next((columns[name] for name in TRUTH_COLUMNS if name in columns), None)
    if found is None:
        hint = f"Name it with `truth_column`. The columns are {', '.join(columns.values())}."
        raise UsageError(f"{path}: no column of labels", hint)
    return found


def _cell(value: Value) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _trimmed(path: str) -> str:
    """A folder as `os.path.dirname` names it."""
    return path.rstrip("/") or path[:1]


def _has_folders(path: str) -> bool:
    with os.scandir(path or ".") as entries:
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def _name(folder: str) -> str:
    return _text(os.path.basename(os.path.abspath(folder or ".")))


def _text(name: str) -> str:
    """A folder's name, whose bytes may be no text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
