"""Names of any characters go through every sink, and come back: as they were, or as the format's rule says.

A few dozen each in `make test`; more with `make fuzz`.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from clipcli.inputs.tables.table import Table
from clipcli.output.cells import readable, whole
from clipcli.output.sinks import open_sink

PIECES = ["_x0041_", "_x005F_", "_x000D_", "\r", "\n", "\r\n", "\t", '"', "'", ",", ";", "=1+1", "@x", "\x1b"]
ODD = [*"\ud800\udc00\udce9\udcff\ufffe\uffff\ufeff\u2028\u202e\U0001ffff\x7f", "\udbff\udc00"]
TEXTS = st.lists(
    st.sampled_from(PIECES + ODD) | st.characters(exclude_characters="\0"), min_size=1, max_size=9
).map("".join)
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_text(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def read_jsonl(path: Path) -> list[list[Any]]:
    (row,) = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1])
    return [list(row), list(row.values())]


def read_parquet(path: Path) -> list[list[Any]]:
    table = pq.read_table(path)
    return [table.column_names, *(list(row.values()) for row in table.to_pylist())]


def read_xlsx(path: Path) -> list[list[Any]]:
    with zipfile.ZipFile(path) as archive:
        ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
        return [[unescape(str(cell)) for cell in row] for row in rows]


def as_pairs(text: str) -> str:
    """JSON takes two halves that follow each other for the character that they make."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


SINKS: dict[str, tuple[Callable[[Path], list[list[Any]]], Callable[[str], Any]]] = {
    ".csv": (read_text, whole),
    ".tsv": (read_text, whole),
    ".jsonl": (read_jsonl, as_pairs),
    ".parquet": (read_parquet, readable),
    ".xlsx": (read_xlsx, lambda text: NO_XML.sub("\ufffd", str(readable(text)))),
}


@pytest.mark.parametrize("suffix", SINKS)
@given(name=TEXTS, label=TEXTS)
@example(name="\r", label="\udbff\udc00")
@example(name="a\ud800\udce9.png", label="_x005F_x0041_")
def test_a_name_comes_back(
    suffix: str, name: str, label: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    read, expected = SINKS[suffix]
    path = tmp_path_factory.getbasetemp() / f"names{suffix}"
    column = f"{label}."  # not one of the columns
    with open_sink({"image": str, "label": str, column: str}, path) as sink:
        sink.write([name, label, f"{name}{label}"])
    header, cells = read(path)
    assert header[:2] == ["image", "label"]
    assert header[2] == expected(whole(column))
    assert cells == [*map(expected, (name, label, f"{name}{label}"))]
    assert not path.with_name(f"{path.name}.partial").exists()


@pytest.mark.parametrize("suffix", SINKS)
@given(names=st.lists(TEXTS, max_size=4))
@example(names=["a.png", "b\rc.png"])
@example(names=["a.png", "é.png", "\ud800.png"])
def test_rows_together_are_the_rows_one_by_one(
    suffix: str, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    together, singly = (tmp_path_factory.getbasetemp() / f"{how}{suffix}" for how in ("together", "singly"))
    rows = [[name, number / 3, None] for number, name in enumerate(names)]
    columns = {"image": str, "score": float, "error": str}
    with open_sink(columns, together) as sink:
        sink.write_all(rows)
        assert sink.rows == len(rows)
    with open_sink(columns, singly) as sink:
        for row in rows:
            sink.write(row)
    assert together.read_bytes() == singly.read_bytes()


@given(name=TEXTS)
def test_our_own_workbooks_can_be_inputs(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "ours.xlsx"
    with open_sink({"image": str, "name": str}, path) as sink:
        sink.write(["a.png", name])
    (found,) = (item.columns["name"] for item in Table(path))
    assert found == SINKS[".xlsx"][1](name)
