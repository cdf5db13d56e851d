"""Which column of a table names its images, or holds them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple

from clipcli.errors import UsageError
from clipcli.inputs.tables.cells import Column, has_images
from clipcli.inputs.tables.columnar import ColumnarFormat, damage_told
from clipcli.inputs.tables.files import TableFile
from clipcli.inputs.tables.recognise import IMAGE_COLUMNS
from clipcli.inputs.tables.schema import Schema


class ImageColumn(NamedTuple):
    """The column with the images of a table.

    `cells` is where they lie, None if the column holds paths. `others` are columns that are nothing but the
    bytes of images, which never travel. `is_found` tells whether this column is taken if none is named.
    """

    name: str
    cells: Column | None = None
    others: frozenset[str] = frozenset()
    is_found: bool = True


def image_column(file: TableFile, columns: Mapping[str, type], asked: str | None) -> ImageColumn:
    """The column that is asked for, or else the only one that can be meant.

    Images in cells go before paths; paths are recognised by the column's name.

    Args:
        file: the table.
        columns: those that it has.
        asked: the name of a column, or None.

    Raises:
        UsageError: there is no such column, or it holds something else; none or several may be meant.
    """
    stored_as, schema = file.columnar, file.schema
    if stored_as is None or schema is None:
        return ImageColumn(_named(columns, asked, file.name))
    inside = _with_images(file, stored_as, schema)
    if asked is not None:
        check_column(asked, schema.types, file.name)
        _check_kind(asked, schema, file.name)
        found = [asked] if asked in inside or schema.holds[asked] == "bytes" else []
    else:
        found = inside
    if len(found) > 1:
        raise UsageError(
            f"{file.name}: several columns hold images: {', '.join(found)}",
            "Name one of them with `image_column`.",
        )
    is_found = asked is None or inside == [asked]
    name = found[0] if found else _named(_may_be_paths(columns, schema), asked, file.name)
    others = frozenset(inside) - schema.has_path
    if not found and schema.holds[name] != "bytes":
        return ImageColumn(name, None, others, is_found)
    part = f"{name}.bytes" if name in schema.nested else name
    cells = Column(file.path, stored_as, name, part, f"{name}.path" if name in schema.has_path else "")
    return ImageColumn(name, cells, others | ({name} - schema.has_path), is_found)


def check_column(column: str, columns: Mapping[str, type], name: str) -> None:
    """Refuse a column that is not there.

    Args:
        column: its name.
        columns: those that there are.
        name: what has them, as the error calls it.

    Raises:
        UsageError: it is none of them.
    """
    if column not in columns:
        near = difflib.get_close_matches(column, columns, 1, cutoff=0.5)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{name} has no column {column!r}", f"{guess}Its columns are {', '.join(columns)}.")


def _with_images(file: TableFile, stored_as: ColumnarFormat, schema: Schema) -> list[str]:
    """The columns with images in their cells; of mere bytes, the first cell tells."""
    with damage_told(file.name, stored_as):
        return [
            name
            for name, holds in schema.holds.items()
            if holds == "image" or (holds == "bytes" and has_images(Column(file.path, stored_as, name, name)))
        ]


def _check_kind(asked: str, schema: Schema, name: str) -> None:
    if schema.holds[asked] == "media" or (schema.holds[asked] == "value" and asked in schema.nested):
        what = "lists of images or other media" if schema.holds[asked] == "media" else "nested values"
        raise UsageError(
            f"{name}: the column {asked!r} holds {what}, not one image or path a row",
            "Name another column with `image_column`.",
        )


def _may_be_paths(columns: Mapping[str, type], schema: Schema) -> dict[str, type]:
    return {name: kind for name, kind in columns.items() if name not in schema.nested}


def _named(columns: Mapping[str, type], asked: str | None, name: str) -> str:
    if asked is not None:
        check_column(asked, columns, name)
        return asked
    known = [column for column in columns if column.strip().lower() in IMAGE_COLUMNS]
    if len(known) == 1:
        return known[0]
    problem = f"several columns may name the images: {', '.join(known)}" if known else "no image column"
    raise UsageError(
        f"{name}: {problem}",
        f"Name it with `image_column`. The columns are {', '.join(columns)}.",
    )
