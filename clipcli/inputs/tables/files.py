"""Tables on disk, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from clipcli.errors import UsageError
from clipcli.inputs.tables.arrow_rows import arrow_rows, arrow_schema
from clipcli.inputs.tables.columnar import ColumnarFormat
from clipcli.inputs.tables.parted import is_parted, parts_of
from clipcli.inputs.tables.recognise import TableFormat
from clipcli.inputs.tables.rows import (
    MAX_COLUMNS,
    Row,
    common_type,
    named_errors,
    type_of,
    unique,
    with_header,
)
from clipcli.inputs.tables.schema import Schema
from clipcli.inputs.tables.text import csv_records, jsonl_rows
from clipcli.inputs.tables.workbook import Sheet

_COLUMNAR: dict[TableFormat, ColumnarFormat] = {"parquet": "parquet", "arrow": "arrow"}


@dataclass(frozen=True)
class TableFile:
    """A table on disk. Each iteration reads it anew.

    Args:
        path: a regular file, or a folder of its parts.
        name: what errors call it.
        table_format: how it is stored.
        any_bytes: keep bytes of a text file that are not text, as lone surrogates, rather than refuse them.
    """

    path: str
    name: str
    table_format: TableFormat
    any_bytes: bool = False

    def columns(self) -> dict[str, type]:
        """Every column and the type of its cells: str, int, float, bool, datetime or date.

        All but Parquet and Arrow is read to the end for it, so that damage is found early. Columns of images
        have their paths as cells; those of images without paths are left out.

        Raises:
            UsageError: the file cannot be read, two columns have one name, or there are no columns.
        """
        with named_errors(self.name):
            schema = self.schema
            columns = schema.carried if schema else self._columns_of_rows()
        if not columns and not (schema and schema.types):
            first = next(self.rows(), None)
            problem = f"{self.name}, {first.place}: {first.problem}" if first else f"{self.name} is empty"
            raise UsageError(problem, "A table needs rows, and columns with names.")
        return columns

    @cached_property
    def schema(self) -> Schema | None:
        """What a Parquet or Arrow file says of its columns; None for other tables.

        Raises:
            UsageError: as in `columns`.
        """
        if self.columnar is None:
            return None
        return self._parts[0].schema if self._parts else arrow_schema(self.path, self.name, self.columnar)

    @property
    def columnar(self) -> ColumnarFormat | None:
        """The format, if it is one by columns."""
        return _COLUMNAR.get(self.table_format)

    def header(self) -> list[str]:
        """The columns in order; none for JSON lines, whose rows name them.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        with named_errors(self.name):
            if self._parts:
                return self._parts[0].header()
            return list(self.schema.carried) if self.schema else self._header_and_rows()[0]

    def rows(self, names: Collection[str] | None = None) -> Iterator[Row]:
        """Every row in order.

        Args:
            names: the columns that are needed, where reading fewer is faster; None means all.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        with named_errors(self.name):
            if self._parts:
                for part in self._parts:
                    yield from (_within(part, row) for row in part.rows(names))
            elif self.columnar is not None:
                yield from arrow_rows(self.path, self.name, self.columnar, names)
            else:
                yield from self._header_and_rows()[1]

    def _header_and_rows(self) -> tuple[list[str], Iterator[Row]]:
        """JSON lines have no header: their rows name the columns."""
        if self.table_format == "jsonl":
            return [], jsonl_rows(self.path, self.name, self.any_bytes)
        if self.table_format == "xlsx":
            return with_header(self._sheet.records(), self.name, "row")
        delimiter = "\t" if self.table_format == "tsv" else None
        records = csv_records(self.path, self.name, delimiter, self.any_bytes)
        return with_header(records, self.name, "line")

    @cached_property
    def _sheet(self) -> Sheet:
        return Sheet(self.path, self.name)

    @cached_property
    def _parts(self) -> list[TableFile]:
        """The tables that this one consists of; none if it is a file."""
        if not is_parted(self.path):
            return []
        return [replace(self, path=path, name=path) for path in parts_of(self.path)]

    def _columns_of_rows(self) -> dict[str, type]:
        types: dict[str, type | None] = {}
        for file in self._parts or [self]:
            for name, kind in file._types_of_rows().items():
                types[name] = common_type(types.get(name), kind)
        return {name: kind or str for name, kind in types.items()}

    def _types_of_rows(self) -> dict[str, type | None]:
        """Every column and the type of its cells, None where all are empty."""
        header, rows = self._header_and_rows()
        types: dict[str, type | None] = dict.fromkeys(unique(header, self.name))
        for row in rows:
            for name, value in row.cells.items():
                types[name] = common_type(types.get(name), type_of(value))
            if len(types) > MAX_COLUMNS:
                raise UsageError(f"{self.name}, {row.place}: more than {MAX_COLUMNS:,} columns")
        return types


def _within(part: TableFile, row: Row) -> Row:
    return row._replace(place=f"{os.path.basename(part.name)}, {row.place}")
