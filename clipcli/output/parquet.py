"""A Parquet file, row by row, in row groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import IO, Any

import numpy as np

from clipcli.errors import OutputError
from clipcli.output.cells import Cell, Row, readable
from clipcli.records import Value

_ROWS_A_GROUP = 10_000


class ParquetTable:
    """Writes rows to a binary stream. Times with a zone are stored in UTC.

    Args:
        columns: their names and types, as in `Sink`.
        stream: where to; whoever opened it closes it.
    """

    def __init__(self, columns: Mapping[str, type], stream: IO[bytes]) -> None:
        self.columns = columns
        self.stream = stream
        self.pending: list[Row] = []
        self._writer: Any = None

    def append(self, row: Row) -> None:
        """Add a row.

        Raises:
            OutputError: a cell is not of its column's type.
        """
        # Most texts are ASCII: to ask here costs a quarter of the call.
        self.pending.append(
            [readable(cell) if isinstance(cell, str) and not cell.isascii() else cell for cell in row]
        )
        if len(self.pending) >= _ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is pending, and the end of the file, without which no group could be read."""
        try:
            if self.pending:
                self._flush()
        finally:
            self._opened({}).close()

    def _flush(self) -> None:
        import pyarrow as pa

        cells = dict(zip(self.columns, zip(*self.pending, strict=True), strict=True))
        writer = self._opened(cells)
        kinds = zip(cells, writer.schema.types, strict=True)
        arrays = [arrow_array(name, cells[name], kind) for name, kind in kinds]
        writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))
        self.pending.clear()

    def _opened(self, cells: Mapping[str, Sequence[Value]]) -> Any:
        """The writer; the first cells tell which columns of times have a zone."""
        if self._writer is None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            types = {name: arrow_type(kind, cells.get(name, ())) for name, kind in self.columns.items()}
            schema = pa.schema([(readable(name), kind) for name, kind in types.items()])
            self._writer = pq.ParquetWriter(self.stream, schema)
        return self._writer


def arrow_type(kind: type, cells: Sequence[Value]) -> Any:
    """The type of a column; its first cells tell whether times have a zone."""
    import pyarrow as pa

    if kind is datetime:
        zoned = any(isinstance(cell, datetime) and cell.tzinfo is not None for cell in cells)
        return pa.timestamp("us", tz="UTC" if zoned else None)
    types = {
        str: pa.string(),
        np.int32: pa.int32(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        date: pa.date32(),
    }
    return types[kind]


def arrow_array(name: str, cells: Sequence[Cell], kind: Any) -> Any:
    """The cells of a column as an array of a type.

    Raises:
        OutputError: a cell is not of the type.
    """
    import pyarrow as pa

    try:
        return pa.array(cells, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise OutputError(
            f"column {name!r}: not every cell can be stored as {kind}: {error}", "Use .csv."
        ) from error
