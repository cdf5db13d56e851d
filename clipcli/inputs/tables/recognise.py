"""Tell tables from lists of paths, by name and by first bytes."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from typing import Literal, TypeAlias

from clipcli.errors import UsageError
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.inputs.tables.parted import is_parted, parts_of

TableFormat: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "arrow", "xlsx"]
"""How a table is stored. `csv` is separated by commas, semicolons or tabs, as its header is."""

IMAGE_COLUMNS = frozenset({"image", "path", "filepath", "file_name", "filename", "file", "image_path"})
"""Columns that name the images of a table, in lower case."""

ROW = re.compile(r"(?s)(?P<table>.+\.(?i:parquet|arrow|feather|ipc))#(?:(?P<column>.+)=)?(?P<row>[1-9]\d*)")
"""The name of an image in a table, as in `train.parquet#17` or `train.parquet#mask=17`."""

_SUFFIXES: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".xlsx": "xlsx",
}
_DELIMITERS: dict[str, TableFormat] = {"\t": "tsv", ",": "csv", ";": "csv"}
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]")
_BINARY_MARKS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"PAR1",
    b"ARROW1\0",
    b"PK\x03\x04",
    b"%PDF-",
    b"\x1f\x8b",
)
_ARROW_MARKS = (b"ARROW1\0\0", b"FEA1")  # the second is Feather's first version
_LONGEST_SCHEMA = 1 << 24
_EXAMINED_BYTES = 4096
_EXAMINED_LINES = 10
_MANY_CONTROLS = 0.05  # of all bytes; of random ones they are a tenth
_FEWEST_LINES = 2  # a single line has a row of its own, which says that there is no such file
_IMAGE_ENDS = tuple(IMAGE_SUFFIXES)
_BEGINS_AS_PATH = re.compile(r"\.{0,2}/|~|[A-Za-z]:[\\/]|\\\\|[A-Za-z][A-Za-z0-9+.-]+://")
_BEGINS_AS_TEXT = tuple("<{[\"'`$#")
_SUFFIX = re.compile(rb"\.\w\w")
# ASCII characters of UTF-16 in a row: some, and as few as a suffix has
_UTF16_TEXT = re.compile(rb"(?:[\t\n\r -~]\0){9}|(?:\0[\t\n\r -~]){9}")
_UTF16_ASCII = re.compile(rb"(?:[\t\n\r -~]\0){4}|(?:\0[\t\n\r -~]){4}")


def table_format(path: str) -> TableFormat | None:
    """The format that a file's suffix tells, or None where it is that of no table.

    Of a folder that is a table in parts, that of the parts.
    """
    known = _SUFFIXES.get(os.path.splitext(path)[1].lower())
    return table_format(parts_of(path)[0]) if known is None and is_parted(path) else known


def is_columnar(path: str) -> bool:
    """Whether a name is that of a table that may hold images."""
    return table_format(path) in ("parquet", "arrow")


def is_row(name: str) -> bool:
    """Whether a name is that of a row, as in `train.parquet#17`, of a table that is there or on the hub."""
    found = ROW.fullmatch(name)
    if found is None or os.path.lexists(name):
        return False
    return os.path.isfile(found["table"]) or found["table"].startswith("hf://")


def looks_like_table(head: bytes, image_column: str | None = None) -> TableFormat | None:
    """The format of a table that begins so, or None, as for a list of paths.

    Args:
        head: the first bytes, at least the first line.
        image_column: the column that the user named, if any; a text in lines is then a CSV, whereas
            without it a header is recognised only by a column from `IMAGE_COLUMNS` among others.
    """
    if binary := _binary_format(head):
        return binary
    lines = _first_lines(head)
    if not lines or (image_column is None and _exists(lines[0], "")):
        return None
    if lines[0].startswith("{") and (_is_json_object(lines[0]) or image_column is not None):
        return "jsonl"
    for delimiter, known in _DELIMITERS.items():
        if _is_header(_cells(lines[0], delimiter), image_column):
            return known
    return "csv" if image_column is not None else None


def _binary_format(head: bytes) -> TableFormat | None:
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"PAR1") and _CONTROL.match(head[4:5]):
        return "parquet"
    return "arrow" if head.startswith(_ARROW_MARKS) or _is_arrow_stream(head) else None


def _is_arrow_stream(head: bytes) -> bool:
    """A mark of four bytes, and then the length of the schema."""
    length = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and length % 8 == 0 and 0 < length < _LONGEST_SCHEMA


def check_plain_list(head: bytes, name: str, is_file: bool = True) -> None:
    """Refuse as a list of paths what is clearly something else.

    Args:
        head: the first bytes, at least the first line.
        name: the list's file, as errors call it.
        is_file: whether `head` is all that there is, or long. Of a pipe it is whatever has arrived, and what
            becomes of a list must not depend on that: only certain signs count.

    Raises:
        UsageError: it begins as a table, a script, UTF-16 text or a binary file does; or, if it is a file,
            with lines of which most cannot be paths and none is one.
    """
    start, folder = head[:_EXAMINED_BYTES].removeprefix(codecs.BOM_UTF8), os.path.dirname(name)
    entries = [os.fsdecode(entry.rstrip(b"\r")) for entry in re.split(rb"[\0\n]", start)[:_EXAMINED_LINES]]
    exist = [_exists(entry, folder) for entry in entries if entry]
    if _is_utf16(start) or (is_file and not (exist and all(exist)) and _UTF16_ASCII.search(start)):
        raise UsageError(f"{name} is UTF-16 text, not a list of images", "Save it as UTF-8.")
    if any(exist):
        return
    if start.startswith(_BINARY_MARKS) or start[4:8] == b"ftyp":  # names may hold any bytes, but not these
        raise _no_list(f"{name} is a binary file", name)
    if start.startswith(b"#!"):
        raise _no_list(f"{name} is a script", name)
    if b"\0" not in start and _is_table(start, folder):
        raise UsageError(
            f"{name} is a table, not a list of images",
            "Name the column that holds the paths: `image_column` NAME.",
        )
    if is_file:
        _check_paths(start, entries, name)


def _is_table(start: bytes, folder: str) -> bool:
    lines = _first_lines(start)
    return bool(looks_like_table(start)) or _has_image_cells(lines) or _has_existing_cells(lines, folder)


def _check_paths(start: bytes, entries: list[str], name: str) -> None:
    """Refuse lines of which none exists, and most cannot be paths; the last may be cut off."""
    if len(_CONTROL.findall(start)) > len(start) * _MANY_CONTROLS:
        raise _no_list(f"{name} is a binary file", name)
    complete = [entry for entry in entries[: start.count(b"\0") + start.count(b"\n")] if entry.strip()]
    if len(complete) < _FEWEST_LINES or 2 * sum(map(_may_be_path, complete)) >= len(complete):
        return
    if _CONTROL.search(start):
        raise _no_list(f"{name} is a binary file", name)
    if b"\0" not in start:
        raise _no_list(f"{name} begins with lines that are no paths, such as {complete[0][:80]!r}", name)


def _no_list(what: str, name: str) -> UsageError:
    hint = "Give a text file with one path per line; a table with a column of paths is named .csv or .tsv."
    if _is_image(name):
        hint = "To classify this image, leave `from_file` out."
    return UsageError(f"{what}: not a list of images", hint)


def _first_lines(head: bytes) -> list[str]:
    """The first lines that are not empty; the last of the head only where it is the first, too."""
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head[: len(head) & ~1].decode("utf-16", "ignore") if wide else os.fsdecode(head)
    *complete, rest = re.split("\r\n|\n|\r", text.removeprefix("\ufeff"))
    return [line for line in complete or [rest] if line.strip()][:_EXAMINED_LINES]


def _exists(line: str, folder: str) -> bool:
    return bool(line) and (os.path.lexists(line) or os.path.lexists(os.path.join(folder, line)))


def _is_utf16(start: bytes) -> bool:
    """With a byte-order mark, or every other byte is NUL, as in Latin letters: many, or with a suffix."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _UTF16_TEXT.search(start):
        return True
    pairs = start[: len(start) & ~1][:64]
    even, odd = pairs[::2], pairs[1::2]
    return any(
        not any(zeros) and all(text) and _SUFFIX.search(text) for zeros, text in ((even, odd), (odd, even))
    )


def _is_json_object(line: str) -> bool:
    """Whether it is one, or at least begins as one and is too long to be seen whole."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return len(line) >= _EXAMINED_BYTES // 4 and re.match(r'\{\s*"', line) is not None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_header(cells: list[str], image_column: str | None) -> bool:
    """Several names, of which one, and only one, is that of the images, and none is a path."""
    names = [cell.strip() for cell in cells]
    if image_column is not None:
        return len(names) > 1 and image_column in names
    images = sum(name.lower() in IMAGE_COLUMNS for name in names)
    return len(names) > 1 and images == 1 and not any(map(_is_path, names))


def _is_path(cell: str) -> bool:
    return "/" in cell or "\\" in cell or _is_image(cell)


def _is_image(cell: str) -> bool:
    return os.path.splitext(cell.strip())[1].lower() in IMAGE_SUFFIXES


def _may_be_path(line: str) -> bool:
    text = line.strip()
    if text.lower().endswith(_IMAGE_ENDS) or _BEGINS_AS_PATH.match(text) or ROW.fullmatch(text):
        return True
    return ("/" in text or "\\" in text) and not text.startswith(_BEGINS_AS_TEXT) and " " not in text


def _has_existing_cells(lines: list[str], folder: str) -> bool:
    """Whether each line has as many cells, and of one there is a file with an image's suffix."""
    for delimiter in _DELIMITERS:
        rows = [_cells(line, delimiter) for line in lines]
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return any(_is_image(cell) and _exists(cell.strip(), folder) for row in rows for cell in row)
    return False


def _has_image_cells(lines: list[str]) -> bool:
    """Whether lines have as many cells as the first one, and images in a column whose header is none."""
    for delimiter in _DELIMITERS if lines else ():
        header, *rows = (_cells(line, delimiter) for line in lines)
        if len(header) < 2 or not rows or any(map(_is_path, header)):
            continue
        if any(len(row) != len(header) for row in rows):
            continue
        # a column beside that of the images: paths that hold commas end in images only at the end
        if any(all(_is_image(row[column]) for row in rows) for column in range(len(header))):
            return True
    return False
