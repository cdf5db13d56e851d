"""Read Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

from clipcli.errors import UsageError
from clipcli.inputs.tables.rows import Row, unique

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 16


@contextmanager
def _parquet_file(path: str, name: str) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        message = f"{name} is not a Parquet file that can be read: {error}"
        raise UsageError(message, "Write it again.") from None


def parquet_columns(path: str, name: str) -> dict[str, type]:
    """The columns and the types of their cells, as the file states them.

    Raises:
        UsageError: it cannot be read, or two columns have one name.
    """
    with _parquet_file(path, name) as file:
        schema = file.schema_arrow
    unique(schema.names, name)
    return {field.name: _type_of_arrow(field.type) for field in schema}


def _type_of_arrow(kind: Any) -> type:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _type_of_arrow(kind.value_type)
    if types.is_uint64(kind):  # may exceed what the tables that are written can hold
        return str
    known = {
        bool: types.is_boolean,
        int: types.is_integer,
        float: types.is_floating,
        datetime: types.is_timestamp,
        date: types.is_date,
    }
    return next((python for python, is_kind in known.items() if is_kind(kind)), str)


def parquet_rows(path: str, name: str, columns: Collection[str] | None = None) -> Iterator[Row]:
    """Every row.

    Args:
        path: the file.
        name: what errors call it.
        columns: those that are needed; None means all.

    Raises:
        UsageError: the file is damaged.
    """
    number = 0
    wanted = None if columns is None else list(columns)
    with _parquet_file(path, name) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
            header = batch.schema.names
            for cells in zip(*map(_python_values, batch.columns), strict=True):
                number += 1
                yield _parquet_row(f"row {number}", dict(zip(header, cells, strict=True)))


def _parquet_row(place: str, cells: dict[str, Any]) -> Row:
    for name, value in cells.items():
        if isinstance(value, Exception):
            return Row(place, {}, f"column {name} cannot be read: {value}")
    return Row(place, cells)


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
