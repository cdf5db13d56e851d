"""The captions of images, from a table: the truth of retrieval."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clipcli.errors import UsageError
from clipcli.inputs.tables.rows import as_text
from clipcli.inputs.tables.table import Table
from clipcli.inputs.truth import ByPath
from clipcli.records import ImageFailure, Item

CAPTION_COLUMNS = ("caption", "captions", "text", "title")
"""Columns that hold captions, in lower case; the first one there is taken."""


class Captions:
    """The captions that a table has for the paths of images.

    Args:
        path: a .csv, .tsv, .jsonl, .parquet or .xlsx table with a column of images and one of captions. An
            image with several captions has several rows or, in JSON lines and Parquet, a list of them. Paths
            start at the table's folder, at the working directory or at one of the inputs.
        inputs: files, folders and globs, as the user named them.
        image_column: the column that names the images; None finds it by its name.

    Raises:
        UsageError: the table cannot be read, a column is missing, or a cell holds no text.
    """

    def __init__(self, path: str, inputs: Sequence[str] = (), image_column: str | None = None) -> None:
        table = Table(path, image_column, keep=())
        self._captions = ByPath[list[str]](inputs)
        self.images: list[Item] = []
        """The images of the table, each once, in order."""
        for row, cell in table.with_cells(_caption_column(table)):
            if isinstance(row, ImageFailure):
                raise UsageError(f"{path}: {row.reason}")
            mine: list[str] = []
            captions = self._captions.setdefault(row.name, mine)
            if captions is mine:
                self.images.append(row)
            captions += [text for text in _texts(cell, path, row.name) if text not in captions]

    def of(self, name: str) -> tuple[str, ...]:
        """The distinct captions of an image, as they are written; none where the table has none."""
        return tuple(self._captions.get(name) or ())


def _caption_column(table: Table) -> str:
    columns = {name.strip().lower(): name for name in table.all_columns if name != table.image_column}
    found = next((columns[name] for name in CAPTION_COLUMNS if name in columns), None)
    if found is None:
        hint = f"Name it {CAPTION_COLUMNS[0]!r}. The columns are {', '.join(table.all_columns)}."
        raise UsageError(f"{table.name}: no column of captions", hint)
    return found


def _texts(cell: Any, path: str, image: str) -> Iterator[str]:
    for one in cell if isinstance(cell, list) else [cell]:
        if isinstance(one, dict | list | bytes):
            raise UsageError(f"{path}: a caption of {image} is no text", "Give a text, or a list of texts.")
        if one is not None and (text := as_text(one).strip()):
            yield text


def each_once(items: Iterable[Item | ImageFailure]) -> Iterator[Item | ImageFailure]:
    """Images without those that came before, by their paths: an image twice would hide itself."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, ImageFailure):
            yield item
        elif (place := os.path.abspath(item.name)) not in seen:
            seen.add(place)
            yield item
