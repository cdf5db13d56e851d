"""Tables as inputs: which images they name, and which columns travel with them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PEAK_MEGABYTES
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import Workbook

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.item import FileItem
from clipcli.inputs.tables.table import Table
from clipcli.records import ImageFailure

Rows = list[dict[str, Any]]
FORMATS = ("csv", "tsv", "jsonl", "parquet", "xlsx")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write_text(path: Path, rows: Rows, delimiter: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_xlsx(path: Path, rows: Rows) -> None:
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
        sheet.append(cells)
    workbook.save(path)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "csv": lambda path, rows: write_text(path, rows, ","),
    "tsv": lambda path, rows: write_text(path, rows, "\t"),
    "jsonl": lambda path, rows: path.write_text("".join(json.dumps(row) + "\n" for row in rows)) and None,
    "parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
    "xlsx": write_xlsx,
}


def write(name: str, content: str | bytes | Rows) -> str:
    path = Path(name)
    if isinstance(content, list):
        WRITERS[path.suffix[1:]](path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def outcomes(table: Table) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, reason if it is a failure, and columns of each row."""
    return [
        (row.image, row.reason, dict(row.columns))
        if isinstance(row, ImageFailure)
        else (row.name, "", dict(row.columns))
        for row in table
    ]


def refused(*arguments: Any, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        list(Table(*arguments, **options))
    return caught.value


# --- All formats ---------------------------------------------------------------------------------


def products(count: int) -> Rows:
    """Every 50th row names no image."""
    return [
        {
            "sku": f"{number:05}",
            "path": "" if number % 50 == 7 else f"shop/{number}.jpg",
            "title": f"Größe {number}, “blau”",
            "price": number * 1.25,
        }
        for number in range(count)
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_thousand_products(suffix: str) -> None:
    rows = products(1000)
    table = Table(write(f"products.{suffix}", rows))
    is_text = suffix in ("csv", "tsv")
    assert table.image_column == "path"
    assert list(table.columns.items()) == [("sku", str), ("title", str), ("price", str if is_text else float)]
    first = 1 if suffix in ("jsonl", "parquet") else 2
    word = "row" if suffix in ("parquet", "xlsx") else "line"
    expected = []
    for number, row in enumerate(rows, first):
        columns = {"sku": row["sku"], "title": row["title"], "price": row["price"]}
        if is_text:
            columns["price"] = str(row["price"])
        if row["path"]:
            expected.append((row["path"], "", columns))
        else:
            place = f"{word} {number}"
            expected.append((f"products.{suffix} {place}", f"no image named in {place}", columns))
    found = outcomes(table)
    assert found == expected
    assert sum(reason != "" for _, reason, _ in found) == 20
    assert outcomes(table) == expected, "the second time"
    assert all(type(row[name]) is kind for _, _, row in found for name, kind in table.columns.items())


@pytest.mark.parametrize("suffix", FORMATS)
def test_kept_columns_and_their_order(suffix: str) -> None:
    path = write(f"products.{suffix}", products(3))
    assert list(Table(path, keep=["title", "sku"]).columns) == ["title", "sku"]
    assert [list(row.columns) for row in Table(path, keep=["price", "path"])] == [["price", "path"]] * 3
    assert [row.columns for row in Table(path, keep=[])] == [{}] * 3


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_threads_read_one_table(suffix: str) -> None:
    table = Table(write(f"products.{suffix}", products(300)))
    expected = outcomes(table)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(outcomes(table))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


@pytest.mark.parametrize("suffix", FORMATS)
def test_pipes_deliver_any_pieces(suffix: str) -> None:
    path = write(f"products.{suffix}", products(200))
    content = Path(path).read_bytes()
    expected = [(name.removeprefix(f"{path} "), reason, row) for name, reason, row in outcomes(Table(path))]

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest, self.sizes = content[10:], np.random.default_rng(0)

        def read(self, _size: int = -1) -> bytes:
            cut = int(self.sizes.integers(1, 500))
            piece, self.rest = self.rest[:cut], self.rest[cut:]
            return piece

    table = Table(Pipe(), "path", head=content[:10])
    assert [
        (name.removeprefix("standard input "), reason, row) for name, reason, row in outcomes(table)
    ] == expected
    assert len(outcomes(table)) == 200, "a second time"


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "here.png").touch()
    os.mkfifo(tmp_path / "pipe")
    content = b"image,sku\nhere.png,1\n"
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(content))
    writer.start()
    table = Table(str(tmp_path / "pipe"))
    writer.join()
    assert outcomes(table) == outcomes(table) == [("here.png", "", {"sku": "1"})], (
        "from the working directory"
    )


@pytest.mark.parametrize("kind", ["pipe", "workbook"])
def test_temporary_files_go_with_the_table(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    table = (
        Table(write("products.xlsx", products(3)))
        if kind == "workbook"
        else Table(io.BytesIO(b"path,a\nx,y\n"))
    )
    assert len(outcomes(table)) in (1, 3)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    gone = weakref.ref(table)
    del table
    assert gone() is None
    assert list((tmp_path / "temporary").iterdir()) == []


MEMORY = """
import sys
from clipcli.inputs.tables.table import Table
table = Table(sys.argv[1])
print(sum(1 for _ in table), peak_megabytes())
"""


@pytest.mark.parametrize("suffix", [*FORMATS[:-1], pytest.param("xlsx", marks=pytest.mark.long)])
def test_memory_is_flat(suffix: str) -> None:
    peaks = {}
    for count in (2_000, 100_000):
        path = write(f"{count}.{suffix}", products(count))
        command = [sys.executable, "-c", PEAK_MEGABYTES + MEMORY, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found, peak = done.stdout.split()
        assert int(found) == count
        peaks[count] = float(peak)
    # Parquet: one page of each column; XLSX: what openpyxl keeps of a row
    spare = {"parquet": 24, "xlsx": 12}.get(suffix, 4)
    assert peaks[100_000] <= 1.15 * peaks[2_000] + spare, peaks


# --- Types ---------------------------------------------------------------------------------------


def test_cells_of_text_stay_as_they_stand() -> None:
    path = write("a.csv", 'path,sku,on,note\na.png,00123,TRUE," x "\nb.png,1e5,,"two\nlines, ""quoted"""\n')
    assert outcomes(Table(path)) == [
        ("a.png", "", {"sku": "00123", "on": "TRUE", "note": " x "}),
        ("b.png", "", {"sku": "1e5", "on": "", "note": 'two\nlines, "quoted"'}),
    ]


def test_types_of_json_lines_are_those_of_all_rows() -> None:
    lines = [
        {
            "path": "a.png",
            "whole": 1,
            "number": 1,
            "mixed": 1,
            "yes": True,
            "empty": None,
            "deep": {"ä": [1, None]},
        },
        {"path": "b.png", "number": 0.5, "mixed": "x", "late": "z", "big": 2**63, "deep": [True]},
        {"path": "c.png", "mixed": True, "number": float("nan"), "big": 1, "half": "\ud83d"},
    ]
    table = Table(write("a.jsonl", lines))
    assert list(table.columns.items()) == [
        ("whole", int),
        ("number", float),
        ("mixed", str),
        ("yes", bool),
        ("empty", str),
        ("deep", str),
        ("late", str),
        ("big", str),
        ("half", str),
    ]
    rows = [tuple(row.columns.values()) for row in table]
    assert rows == [
        (1, 1.0, "1", True, None, '{"ä":[1,null]}', None, None, None),
        (None, 0.5, "x", None, None, "[true]", "z", str(2**63), None),
        (None, None, "true", None, None, None, None, "1", "\ufffd"),
    ]
    assert type(rows[0][1]) is float


def test_types_of_parquet_are_its_own() -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456)
    columns = {
        "path": pa.array(["a.png"]).dictionary_encode(),
        "small": pa.array([7], pa.int8()),
        "hash": pa.array([2**64 - 1], pa.uint64()),
        "single": pa.array([0.1], pa.float32()),
        "half": pa.array([0.1], pa.float16()),
        "missing": pa.array([float("nan")]),
        "yes": pa.array([True]),
        "day": pa.array([date(2024, 5, 6)]),
        "moment": pa.array([moment]),
        "fine": pa.array([np.datetime64("2024-05-06T07:08:09.123456789")]),
        "zoned": pa.array([moment.replace(microsecond=0)], pa.timestamp("ms", "UTC")),
        "price": pa.array([Decimal("12.50")]),
        "tags": pa.array([["x", "y"]]),
        "bytes": pa.array([b"caf\xe9"]),
        "label": pa.array(["cat"]).dictionary_encode(),
        "a.b": pa.array([1]),
        "nothing": pa.nulls(1),
    }
    pq.write_table(pa.table(columns), "a.parquet")
    table = Table("a.parquet")
    ((_, _, row),) = outcomes(table)
    assert row == {
        "small": 7,
        "hash": str(2**64 - 1),
        "single": 0.1,
        "half": pytest.approx(0.1, abs=1e-4),
        "missing": None,
        "yes": True,
        "day": date(2024, 5, 6),
        "moment": moment,
        "fine": moment,
        "zoned": moment.replace(microsecond=0, tzinfo=timezone.utc),
        "price": "12.50",
        "tags": '["x","y"]',
        "bytes": "caf\\xe9",
        "label": "cat",
        "a.b": 1,
        "nothing": None,
    }
    for name, value in row.items():
        assert value is None or type(value) is table.columns[name], name


def test_types_of_a_workbook_are_those_of_its_cells() -> None:
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(["path", "count", "price", "sold", "seen", "code", None, "ratio"])
    sheet.append(["a.png", 3, 2, datetime(2024, 5, 6), datetime(2024, 5, 6, 7, 8), 123, "x", "=1/0"])
    sheet.append([])
    sheet.append(["b.png", 4, 2.5, datetime(2024, 5, 7), datetime(2024, 5, 7), "00123", None, "#N/A"])
    sheet.append([None, 5])
    sheet.append([17, 5, None, None, None, None, None, None, None, "too far"])
    workbook.save("a.xlsx")
    table = Table("a.xlsx")
    assert list(table.columns.items()) == [
        ("count", int),
        ("price", float),
        ("sold", date),
        ("seen", datetime),
        ("code", str),
        ("column_7", str),
        ("ratio", str),
    ]
    nothing = (None,) * 5
    assert [(name, reason, *row.values()) for name, reason, row in outcomes(table)] == [
        ("a.png", "", 3, 2.0, date(2024, 5, 6), datetime(2024, 5, 6, 7, 8), "123", "x", None),
        ("b.png", "", 4, 2.5, date(2024, 5, 7), datetime(2024, 5, 7), "00123", None, None),
        ("a.xlsx row 5", "no image named in row 5", 5, None, *nothing),
        ("a.xlsx row 6", f"row 6: not 8 columns but 10 cells: {NEEDS_QUOTES}", None, None, *nothing),
    ]


NEEDS_QUOTES = "a text that holds the separator needs quotes around it"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"], ids=lambda name: name
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
def test_encodings_and_line_ends(encoding: str, newline: str) -> None:
    text = newline.join(["path;größe", "ä.png;12,5", "", "b.png;😀"])
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path = write("a.csv", (mark + text).encode(encoding))
    assert outcomes(Table(path)) == [("ä.png", "", {"größe": "12,5"}), ("b.png", "", {"größe": "😀"})]


# --- Columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image", "Path", "FILEPATH", "file_name", "filename", "File", "image_path"])
def test_the_image_column_is_guessed(name: str) -> None:
    table = Table(write("a.csv", f"sku,{name},x\n1,a.png,2\n"))
    assert (table.image_column, list(table.columns)) == (name, ["sku", "x"])


def test_an_image_column_that_cannot_be_guessed() -> None:
    none = refused(write("a.csv", "sku,photo\n1,a.png\n"))
    assert (none.message, none.hint) == (
        "a.csv: no image column",
        "Name it with `image_column`. The columns are sku, photo.",
    )
    several = refused(write("b.csv", "path,image,x\n1,2,3\n"))
    assert several.message == "b.csv: several columns may name the images: path, image"
    assert outcomes(Table("a.csv", "photo")) == [("a.png", "", {"sku": "1"})]


def test_unknown_columns_are_told_with_the_nearest() -> None:
    path = write("a.csv", "path,title,sku\na.png,x,1\n")
    unknown = refused(path, "paths")
    assert unknown.message == "a.csv has no column 'paths'"
    assert unknown.hint == "Did you mean 'path'? Its columns are path, title, sku."
    assert refused(path, keep=["sku", "titel"]).hint.startswith("Did you mean 'title'?")
    assert refused(path, keep=["zzz"]).hint == "Its columns are path, title, sku."


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
def test_columns_of_one_name_are_refused(suffix: str) -> None:
    path = f"a.{suffix}"
    if suffix == "csv":
        write(path, "path,x,x\na.png,1,2\n")
    elif suffix == "xlsx":
        workbook = Workbook()
        for cells in (["path", "x", "x"], ["a.png", 1, 2]):
            workbook.worksheets[0].append(cells)
        workbook.save(path)
    else:
        pq.write_table(pa.table([["a.png"], [1], [2]], names=["path", "x", "x"]), path)
    assert refused(path).message == f"{path}: several columns are named 'x'"


def test_columns_without_a_name() -> None:
    frame = pd.DataFrame({"path": ["a.png"], "x": ["y"]})
    frame.to_csv("a.csv")
    assert list(Table("a.csv").columns) == ["column_1", "x"], "the index of a DataFrame"
    assert list(Table(write("b.csv", "path,x,,\na.png,1,,\n")).columns) == ["x"], "empty ones at the end"


def test_nested_values_are_no_paths() -> None:
    pq.write_table(pa.table({"image": [["a.png"]], "label": [1]}), "a.parquet")
    message = "a.parquet: the column 'image' holds nested values, not one image or path a row"
    assert refused("a.parquet", "image").message == message
    assert refused("a.parquet").message == "a.parquet: no image column"
    table = Table(write("b.jsonl", [{"path": "a.png"}, {"path": ["b.png"]}]))
    assert outcomes(table)[1] == ("b.jsonl line 2", "no path but a nested value in line 2", {})


# --- Paths ---------------------------------------------------------------------------------------


def test_paths_start_at_the_table_if_there_and_else_at_the_working_directory() -> None:
    for path in ("shop/in/a.png", "shop/both.png", "both.png", "b.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    Path("shop/dangling.png").symlink_to("nowhere")
    cells = [
        "in/a.png",
        "both.png",
        "b.png",
        "none.png",
        "./in/a.png",
        "dangling.png",
        str(Path.cwd() / "b.png"),
    ]
    path = write("shop/a.csv", "image\n" + "\n".join(cells) + "\n")
    assert [name for name, *_ in outcomes(Table(path))] == [
        "shop/in/a.png",
        "shop/both.png",
        "b.png",
        "none.png",
        "shop/./in/a.png",
        "shop/dangling.png",
        str(Path.cwd() / "b.png"),
    ]


def test_urls() -> None:
    Path("a b#1.png").touch()
    here = Path.cwd()
    cells = [
        (here / "a b#1.png").as_uri(),
        f"file://localhost{here}/a%20b%231.png",
        "file://server/share/a.png",
        "https://example.org/a.png",
        "s3://bucket/a.png",
        "ftp://example.org/a.png",
    ]
    found = outcomes(Table(write("a.csv", "path\n" + "\n".join(cells) + "\n")))
    assert found == [
        (str(here / "a b#1.png"), "", {}),
        (str(here / "a b#1.png"), "", {}),
        ("file://server/share/a.png", "on another computer: server", {}),
        ("https://example.org/a.png", "", {}),
        ("s3://bucket/a.png", "", {}),
        ("ftp://example.org/a.png", "ftp:// cannot be read: download it first", {}),
    ]


def test_names_that_no_file_can_have() -> None:
    lines = '{"path": "half \\ud83d.png"}\n{"path": "nul\\u0000.png"}\n{"path": 17}\n'
    half, nul, number = Table(write("a.jsonl", lines))
    assert half == ImageFailure("half \ufffd.png", "half of a character in its name", {})
    assert number == FileItem("17", {})
    assert isinstance(nul, FileItem)
    with pytest.raises(ImageError):
        nul.read()


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    str.strip
)


@given(
    names=st.lists(NAMES.filter(lambda name: "://" not in name), max_size=6),
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
)
@example(
    names=['a,b "c"\t;d.png', "\ufeff.png", " a.png ", "\r.png", "x\ny.png", "\x85.", "#", '"'], suffix="csv"
)
@example(names=["\u2028.png", "{}", "\x1c.png"], suffix="jsonl")
def test_every_name_comes_back(names: list[str], suffix: str) -> None:
    path = write(
        f"names.{suffix}",
        [{"image": "first.png", "copy": ""}, *({"image": name, "copy": name} for name in names)],
    )
    _, *found = outcomes(Table(path))
    assert [(name, row["copy"]) for name, _, row in found] == [(name, name) for name in names]


@given(
    header=st.lists(NAMES.map(str.strip), min_size=1, max_size=5, unique=True),
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
)
def test_every_column_comes_back(header: list[str], suffix: str) -> None:
    row = {name: str(number) for number, name in enumerate(header)}
    (found,) = outcomes(Table(write(f"columns.{suffix}", [row]), header[0]))
    assert found == ("0", "", {name: row[name] for name in header[1:]})


# --- Broken rows ---------------------------------------------------------------------------------


def test_rows_with_other_counts_of_cells_are_never_moved() -> None:
    text = "path,sku,note\na.png,1,x\nb.png,2\nc.png,3,x,\n,4\nd.png,5,very, very\n"
    nothing = {"sku": None, "note": None}
    assert outcomes(Table(write("a.csv", text))) == [
        ("a.png", "", {"sku": "1", "note": "x"}),
        ("b.png", "", {"sku": "2", "note": None}),
        ("a.csv line 4", f"line 4: not 3 columns but 4 cells: {NEEDS_QUOTES}", nothing),
        ("a.csv line 5", "no image named in line 5", {"sku": "4", "note": None}),
        ("a.csv line 6", f"line 6: not 3 columns but 4 cells: {NEEDS_QUOTES}", nothing),
    ]


def test_a_row_of_several_lines_has_the_number_of_its_first() -> None:
    text = 'path,note\na.png,"one\ntwo\nthree"\n,x\n'
    assert outcomes(Table(write("a.csv", text)))[1][0] == "a.csv line 5"


def test_malformed_lines_of_json_are_rows() -> None:
    lines = [
        '{"path": "a.png", "n": 1}',
        "",
        '{"path": ',
        "[1]",
        '{"n": 2}',
        "[" * 100_000,
        '{"path": "b.png"}',
    ]
    found = outcomes(Table(write("a.jsonl", "\n".join(lines))))
    assert [(name, reason[:24], row) for name, reason, row in found] == [
        ("a.png", "", {"n": 1}),
        ("a.jsonl line 3", "line 3: not JSON: Expect", {"n": None}),
        ("a.jsonl line 4", "line 4: not an object in", {"n": None}),
        ("a.jsonl line 5", "no image named in line 5", {"n": 2}),
        ("a.jsonl line 6", "line 6: not JSON: maximu", {"n": None}),
        ("b.png", "", {"n": None}),
    ]


def test_a_cell_of_parquet_that_cannot_be_read_is_a_row() -> None:
    bad = pa.array([b"x", b"\xff", b"y"]).view(pa.string())
    far = pa.array([0, 0, 10**15], pa.timestamp("s"))
    pq.write_table(pa.table({"path": ["a.png", "b.png", "c.png"], "bad": bad, "far": far}), "a.parquet")
    found = outcomes(Table("a.parquet"))
    assert [name for name, *_ in found] == ["a.png", "a.parquet row 2", "a.parquet row 3"]
    assert found[1][1].startswith("row 2: column bad cannot be read: ")
    assert found[2][1].startswith("row 3: column far cannot be read: ")


# --- Damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.csv", b"", "a.csv is empty", "header"),
        ("a.csv", b"\n\n", "a.csv is empty", "header"),
        ("a.jsonl", b"", "a.jsonl is empty", "rows"),
        ("a.jsonl", b"\n{\n", "a.jsonl, line 2: not JSON: ", ""),
        (
            "a.csv",
            b"path,x\na.png,1\nb.png,caf\xe9\n",
            "a.csv: not UTF-8 text in line 3",
            "Save the file as UTF-8",
        ),
        ("a.jsonl", b'{"path": "a.png"}\n{"path": "\xe9"}\n', "a.jsonl: not UTF-8 text in line 2", "UTF-8"),
        ("a.csv", "\ufeffpath,x\na.png,1\nb".encode("utf-16-le")[:-1], "not UTF-8 text in line 3", "UTF-8"),
        ("a.csv", "path,x\n".encode("utf-16-le"), "a.csv: not UTF-8 text in line 1", "UTF-8"),
        (
            "a.csv",
            b'path,x\na.png,1\nb.png,"2\nc.png,3\n',
            "line 3: a quote is opened and never closed",
            "Close it",
        ),
        (
            "a.csv",
            b"path,x\na.png," + b"x" * 140_000,
            "a.csv, line 2: a cell of more than 131,072",
            "Close the quote",
        ),
        ("a.jsonl", b"[" + b" " * (1 << 26), "a.jsonl: line 1 has more than 67,108,864 characters", ""),
        ("a.parquet", b"PAR1 and no more", "a.parquet is not a Parquet file that can be read", ""),
        ("a.xlsx", b"PK\x03\x04 and no more", "a.xlsx is not an Excel workbook that can be read", ".xlsx"),
        (
            "a.xlsx",
            b"\xd0\xcf\x11\xe0 of old",
            "a.xlsx is not an Excel workbook that can be read",
            "password",
        ),
        ("a.txt", b"a.png\nb.png\n", "a.txt is not a table", "header"),
    ],
)
def test_damage_is_told_before_the_first_row(name: str, content: bytes, message: str, hint: str) -> None:
    write(name, content)
    with pytest.raises(UsageError) as caught:
        Table(name)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_missing_files_and_folders() -> None:
    assert refused("none.csv").message == "none.csv: No such file or directory"
    assert refused(".").message == ".: Is a directory"


@pytest.fixture
def csv_limit() -> Iterator[int]:
    before = csv.field_size_limit()
    yield before
    assert csv.field_size_limit() == before


def test_the_limit_of_the_host_stays_and_counts(csv_limit: int) -> None:
    path = write("a.csv", "path,x\na.png," + "x" * 140_000)
    refused(path)
    csv.field_size_limit(200_000)
    try:
        assert len(outcomes(Table(path))) == 1
    finally:
        csv.field_size_limit(csv_limit)
