"""Whatever a table holds: every row an image or a failure, or an error that names the file."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from clipcli.errors import UsageError
from clipcli.inputs.tables.recognise import check_plain_list, looks_like_table
from clipcli.inputs.tables.table import Table

ROWS = [
    {
        "path": f"in/{number}.png",
        "title": f"größe {number}",
        "price": number / 4,
        "seen": datetime(2024, 5, 6, number),
    }
    for number in range(20)
]


def parquet(compression: str = "snappy") -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), stream, compression=compression, row_group_size=7)
    return stream.getvalue()


def workbook() -> bytes:
    stream = io.BytesIO()
    book = Workbook()
    for cells in (list(ROWS[0]), *(list(row.values()) for row in ROWS)):
        book.worksheets[0].append(cells)
    book.save(stream)
    return stream.getvalue()


def text(suffix: str) -> bytes:
    import pandas as pd

    frame = pd.DataFrame(ROWS)
    if suffix == "jsonl":
        return frame.to_json(orient="records", lines=True, date_format="iso").encode()
    return frame.to_csv(index=False, sep="\t" if suffix == "tsv" else ",").encode()


SEEDS: dict[str, bytes] = {
    "csv": text("csv"),
    "tsv": text("tsv"),
    "jsonl": text("jsonl"),
    "parquet": parquet(),
    "xlsx": workbook(),
}
PLAIN_PARQUET = parquet("none")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], str]:
    folder = tmp_path_factory.mktemp("fuzz")

    def write(suffix: str, content: bytes) -> str:
        path = folder / f"t.{suffix}"
        path.write_bytes(content)
        return str(path)

    return write


def check(path: str) -> None:
    try:
        table = Table(path)
        for row in table:
            assert list(row.columns) == list(table.columns)
            for name, kind in table.columns.items():
                assert row.columns[name] is None or isinstance(row.columns[name], kind)
    except UsageError as error:
        assert path in error.message


@pytest.mark.filterwarnings("ignore::UserWarning:openpyxl")
@given(
    suffix=st.sampled_from(sorted(SEEDS)),
    seed=st.integers(0, 2**32),
    way=st.sampled_from(["cut", "bytes", "swap", "insert"]),
)
def test_damaged_tables(store: Any, suffix: str, seed: int, way: str) -> None:
    chance = random.Random(seed)
    data = bytearray(PLAIN_PARQUET if suffix == "parquet" and seed % 2 else SEEDS[suffix])
    place = chance.randrange(len(data))
    if way == "cut":
        del data[place:]
    elif way == "bytes":
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif way == "swap":
        data = data[place:] + data[:place]
    else:
        data[place:place] = chance.choice(
            [b'"', b"\0", b"\xff", b"\r", b"{", b",", b"]]", b"\n"]
        ) * chance.randint(1, 3)
    check(store(suffix, bytes(data)))


@given(suffix=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "xlsx"]), content=st.binary(max_size=200))
def test_bytes_of_any_kind(store: Any, suffix: str, content: bytes) -> None:
    check(store(suffix, content))
    check(store(suffix, b"path,x\n" + content))
    looks_like_table(content, "path")
    looks_like_table(content)
    try:
        check_plain_list(content, "list.txt")
    except UsageError as error:
        assert error.message.startswith("list.txt ")


def changed_part(part: str, change: Callable[[bytes], bytes]) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(SEEDS["xlsx"])) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = change(old.read(name)) if name == part else old.read(name)
            new.writestr(name, content)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning:openpyxl")
@given(
    part=st.sampled_from(zipfile.ZipFile(io.BytesIO(SEEDS["xlsx"])).namelist()),
    seed=st.integers(0, 2**32),
)
def test_workbooks_with_a_damaged_part(store: Any, part: str, seed: int) -> None:
    chance = random.Random(seed)

    def damage(content: bytes) -> bytes:
        numbers = list(re.finditer(rb"\d+", content))
        if numbers and seed % 2:
            at = chance.choice(numbers)
            return (
                content[: at.start()] + chance.choice([b"-1", b"0", b"999999999", b"x"]) + content[at.end() :]
            )
        place = chance.randrange(len(content))
        return content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]

    check(store("xlsx", changed_part(part, damage)))


SHEET = "xl/worksheets/sheet1.xml"


def test_a_bomb_is_refused_before_it_is_unpacked(store: Any) -> None:
    bomb = changed_part(
        SHEET, lambda content: content.replace(b"<sheetData>", b"<sheetData>" + b" " * 80_000_000)
    )
    assert len(bomb) < 200_000
    with pytest.raises(UsageError, match=r"t\.xlsx: refused, for it unpacks to 0\.1 GB from 0\.1 MB"):
        Table(store("xlsx", bomb))


def test_a_workbook_that_states_too_small_a_range_is_read_whole(store: Any) -> None:
    small = changed_part(SHEET, lambda content: re.sub(rb'ref="A1:\w+"', b'ref="A1:B3"', content))
    assert small != SEEDS["xlsx"]
    table = Table(store("xlsx", small))
    assert list(table.columns) == ["title", "price", "seen"]
    assert sum(1 for _ in table) == 20


def test_row_numbers_beyond_those_of_excel_end_the_sheet(store: Any) -> None:
    far = changed_part(SHEET, lambda content: content.replace(b'<row r="21"', b'<row r="999999999"'))
    assert sum(1 for _ in Table(store("xlsx", far))) == 19


@pytest.mark.parametrize("content", ["a zip", "no sheet"])
def test_what_is_no_workbook(store: Any, content: str) -> None:
    stream = io.BytesIO()
    if content == "a zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.txt", "a")
    else:
        book = Workbook()
        book.remove(book.worksheets[0])
        book.create_chartsheet("only")
        book.save(stream)
    path = store("xlsx", stream.getvalue())
    with pytest.raises(UsageError) as caught:
        Table(path)
    assert Path(path).name in caught.value.message


@pytest.mark.parametrize("cut", [4, 8, 100, -1, -4, -8, -200])
def test_truncated_parquet(store: Any, cut: int) -> None:
    path = store("parquet", SEEDS["parquet"][:cut])
    with pytest.raises(UsageError) as caught:
        Table(path)
    assert caught.value.message.startswith(f"{path} is not a Parquet file that can be read: ")


def test_damaged_pages_are_told_when_they_are_read(store: Any) -> None:
    data = bytearray(SEEDS["parquet"])
    data[4:60] = b"\xff" * 56
    path = store("parquet", bytes(data))
    with pytest.raises(UsageError) as caught:
        list(Table(path))
    assert caught.value.message.startswith(f"{path} is not a Parquet file that can be read: ")
