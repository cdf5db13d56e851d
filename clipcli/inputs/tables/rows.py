"""Rows of tables as they are read, the types of their columns, and tables with a header."""

from __future__ import annotations

import json
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import IO, Any, Literal, NamedTuple, cast

from clipcli.errors import UsageError
from clipcli.records import Value

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON can name and no text can hold."""

MAX_COLUMNS = 16_384
"""As in Excel."""

_INT64 = range(-(1 << 63), 1 << 63)


class Row(NamedTuple):
    """One row: where it stands (`line 17`, `row 17`), its cells by column, and why it cannot be read."""

    place: str
    cells: Mapping[str, Any]
    problem: str = ""


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn an error of the operating system into one that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from None


def temporary_file(owner: object) -> IO[bytes]:
    """A file that lies on disk as long as its owner lives, and can be opened again by its name."""
    file = tempfile.NamedTemporaryFile(prefix="clipcli-")  # noqa: SIM115 (closed with its owner)
    weakref.finalize(owner, file.close)
    return cast(IO[bytes], file)


# --- Types ---------------------------------------------------------------------------------------


def unique(header: Sequence[str], name: str) -> Sequence[str]:
    """The header of the file of this name, in which each column has a name of its own.

    Raises:
        UsageError: it has not.
    """
    repeated = [column for column, count in Counter(header).items() if count > 1]
    if repeated:
        raise UsageError(
            f"{name}: several columns are named {', '.join(map(repr, repeated))}",
            "Rename all but one of them.",
        )
    return header


def type_of(value: Any) -> type | None:
    """The type of a column of such cells; None where it says nothing, as a missing value."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return None
    if type(value) is int:
        return int if value in _INT64 else str
    return type(value) if type(value) in (bool, float, datetime, date) else str


def common_type(one: type | None, other: type | None) -> type | None:
    """The type of a column that has cells of both."""
    if one is None or other is None or one is other:
        return one or other
    for several in ((int, float), (date, datetime)):
        if one in several and other in several:
            return several[1]
    return str


def as_type(value: Any, kind: type) -> Value:
    """A cell as its column wants it: missing values are None, and what has no type of ours is text."""
    if value is None or value != value:  # noqa: PLR0124 (NaN)
        return None
    if kind is str:
        return as_text(value)
    if kind is float:
        return float(value)
    if kind is datetime and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value  # type: ignore[no-any-return]


def as_text(value: Any) -> str:
    """A cell as text; nested values are compact JSON."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (bool, dict, list, tuple)):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=as_text)
    return LONE_SURROGATE.sub("\ufffd", str(value))


# --- Headers -------------------------------------------------------------------------------------


class Record(NamedTuple):
    """The cells of one row, which start in this line or row of the file."""

    number: int
    cells: list[Any]


def with_header(
    records: Iterator[Record], name: str, place: Literal["line", "row"]
) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns, and the rows below.

    Args:
        records: the header and all rows of the file.
        name: the file, as errors call it.
        place: what a record's number counts; the rows of a sheet (`row`) may be wider than its header,
            by empty cells.

    Raises:
        UsageError: there is no header.
    """
    first = next(records, None)
    if first is None:
        raise UsageError(f"{name} is empty", "It needs a header with the names of its columns.")
    header = _names(first.cells)
    width = MAX_COLUMNS if place == "row" else len(first.cells)
    return header, (_row(f"{place} {record.number}", header, width, record.cells) for record in records)


def _names(cells: list[Any]) -> list[str]:
    """Names at the end may be missing, for spreadsheets leave empty cells there; others get a number."""
    names = ["" if cell is None else as_text(cell).strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return [name or f"column_{number}" for number, name in enumerate(names, 1)]


def _row(place: str, header: list[str], width: int, cells: list[Any]) -> Row:
    """Missing cells are None. Cells too many are a problem, since all of them may have been moved."""
    named = len(header)
    if len(cells) > width or any(cell not in ("", None) for cell in cells[named:]):
        counts = f"not {named} columns but {len(cells)} cells"
        return Row(place, {}, f"{counts}: a text that holds the separator needs quotes around it")
    return Row(place, dict(zip(header, cells + [None] * (named - len(cells)), strict=False)))
