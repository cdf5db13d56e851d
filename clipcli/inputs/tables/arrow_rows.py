"""Rows of Parquet and Arrow files as Python values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from clipcli.inputs.tables.columnar import ColumnarFormat, damage_told, opened
from clipcli.inputs.tables.rows import Row, unique
from clipcli.inputs.tables.schema import Schema, schema_of

_BATCH_ROWS = 1024


def arrow_schema(path: str, name: str, stored_as: ColumnarFormat) -> Schema:
    """The columns and the types of their cells, as the file states them.

    Raises:
        UsageError: it cannot be read, or two columns have one name.
    """
    with damage_told(name, stored_as):
        schema = opened(path, stored_as).schema
        unique(schema.names, name)
        return schema_of(schema)


def arrow_rows(
    path: str, name: str, stored_as: ColumnarFormat, columns: Collection[str] | None = None
) -> Iterator[Row]:
    """Every row. Of images only the paths are read, where they have any.

    Args:
        path: the file.
        name: what errors call it.
        stored_as: its format.
        columns: those that are needed; None means all.

    Raises:
        UsageError: the file is damaged.
    """
    number = 0
    with damage_told(name, stored_as):
        file = opened(path, stored_as)
        schema = schema_of(file.schema)
        asked = [column for column in schema.carried if columns is None or column in columns]
        parts = {column: f"{column}.path" if column in schema.has_path else column for column in asked}
        for batch in file.batches(parts, _BATCH_ROWS):
            cells = [_values(batch.column(column), column, schema) for column in asked]
            for row in zip(*cells, strict=True) if cells else [()] * batch.num_rows:
                number += 1
                yield _row(f"row {number}", dict(zip(asked, row, strict=True)))


def _row(place: str, cells: dict[str, Any]) -> Row:
    for name, value in cells.items():
        if isinstance(value, Exception):
            return Row(place, {}, f"column {name} cannot be read: {value}")
    return Row(place, cells)


def _values(cells: Any, column: str, schema: Schema) -> list[Any]:
    """Cells as Python values: of images the paths, of classes the names."""
    values = _python_values(cells)
    if column in schema.has_path:
        return [value.get("path") if isinstance(value, dict) else value for value in values]
    names = schema.classes.get(column)
    return values if names is None else [_class_name(value, names) for value in values]


def _class_name(value: Any, names: Sequence[str]) -> Any:
    """The name that an integer stands for; -1 is none, as in the test sets of `datasets`."""
    if not isinstance(value, int) or value == -1:
        return None if value == -1 else value
    return names[value] if 0 <= value < len(names) else str(value)


def _python_values(column: Any) -> list[Any]:
    """Cells as Python values; an exception in place of a cell that has none."""
    import pyarrow

    if column.type in (pyarrow.float32(), pyarrow.float16()):  # 0.1 stays 0.1
        column = column.cast(pyarrow.float32()).cast(pyarrow.string()).cast(pyarrow.float64())
    elif pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except Exception:  # such as text that is not UTF-8, or a year beyond 9999
        return [_python_value(cell) for cell in column]


def _python_value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except Exception as error:
        return error
