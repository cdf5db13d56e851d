"""What is written, read back by other libraries; and that a file is there as a whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from clipcli.choices import LayoutName
from clipcli.errors import OutputError, UsageError
from clipcli.output import parquet
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink, open_sinks
from clipcli.output.xlsx import workbook
from clipcli.records import ImageFailure, ImagePredictions, Outcome, Prediction, Value

FORMATS = ["csv", "tsv", "jsonl", "parquet", "xlsx"]
LABELS = ("cat", "dog", "tie")


def scored(image: str, scores: list[float], labels: tuple[str, ...] = LABELS, top_k: int = 2) -> Outcome:
    """What a classifier returns whose cosine is half the score, negative; `margin` as if one more had 0."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_k]
    predictions = tuple(
        Prediction(image, rank, labels[index], scores[index], -scores[index] / 2)
        for rank, index in enumerate(order, 1)
    )
    first, second = sorted([*scores, 0.0], reverse=True)[:2]
    return ImagePredictions(image, predictions, np.array(scores, np.float32), margin=first - second)


OUTCOMES = [
    scored("in/a.jpg", [0.25, 0.75, 0.0]),
    ImageFailure("in/b.jpg", "damaged image: truncated"),
    scored("c.jpg", [0.5, 0.125, 0.25])._replace(status="unknown"),
]
TABLES: dict[LayoutName, list[list[Any]]] = {
    "long": [
        ["image", "rank", "label", "score", "cosine", "error", "status", "margin"],
        ["in/a.jpg", 1, "dog", 0.75, -0.375, None, "ok", 0.5],
        ["in/a.jpg", 2, "cat", 0.25, -0.125, None, "ok", 0.5],
        ["in/b.jpg", None, None, None, None, "damaged image: truncated", "error", None],
        ["c.jpg", 1, "cat", 0.5, -0.25, None, "unknown", 0.25],
        ["c.jpg", 2, "tie", 0.25, -0.125, None, "unknown", 0.25],
    ],
    "wide": [
        ["image", "label", "score", "label_2", "score_2", "error", "status", "margin"],
        ["in/a.jpg", "dog", 0.75, "cat", 0.25, None, "ok", 0.5],
        ["in/b.jpg", None, None, None, None, "damaged image: truncated", "error", None],
        ["c.jpg", "cat", 0.5, "tie", 0.25, None, "unknown", 0.25],
    ],
    "matrix": [
        ["image", "cat", "dog", "tie", "error", "label", "status", "margin"],
        ["in/a.jpg", 0.25, 0.75, 0.0, None, "dog", "ok", 0.5],
        ["in/b.jpg", None, None, None, "damaged image: truncated", None, "error", None],
        ["c.jpg", 0.5, 0.125, 0.25, None, "cat", "unknown", 0.25],
    ],
}


def write(path: Path, outcomes: list[Outcome], layout: Layout | None = None, **options: Any) -> Path:
    consume(outcomes, [row_writer(layout or Layout("long", 2, LABELS), path, **options)])
    return path


def row_writer(layout: Layout, path: Path | None, *arguments: Any, **options: Any) -> RowWriter:
    return RowWriter(layout, open_sink(layout.columns, path, *arguments, **options))


def read(path: Path, file_format: str) -> list[list[Any]]:
    """The table in a file, column names first."""
    if file_format in ("csv", "tsv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="," if file_format == "csv" else "\t")
            return [[_value(cell) for cell in row] for row in rows]
    if file_format == "jsonl":
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        return [list(record) for record in records[:1]] + [list(record.values()) for record in records]
    if file_format == "parquet":
        table = pq.read_table(path)
        return [table.column_names, *(list(record.values()) for record in table.to_pylist())]
    with path.open("rb") as file:  # as `.partial` is no suffix for openpyxl
        sheets = openpyxl.load_workbook(file).worksheets
    return [list(row) for sheet in sheets for row in sheet.iter_rows(values_only=True)]


def _value(cell: str) -> str | float | None:
    try:
        return float(cell)
    except ValueError:
        return cell or None


# --- Contents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("layout", TABLES)
def test_every_outcome_has_its_rows_in_order(layout: LayoutName, file_format: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"out.{file_format}", OUTCOMES, Layout(layout, 2, LABELS))
    assert read(path, file_format) == TABLES[layout]
    assert list(tmp_path.iterdir()) == [path]


def test_nested_rows_are_one_object_an_image(tmp_path: Path) -> None:
    outcomes = [OUTCOMES[0]._replace(columns={"sku": "7", "status": "sold"}), *OUTCOMES[1:]]
    layout = Layout("nested", 2, LABELS, {"sku": str, "status": str})
    lines = write(tmp_path / "out.jsonl", outcomes, layout).read_text().splitlines()
    ranked = [
        [
            {"label": "dog", "score": 0.75, "cosine": -0.375},
            {"label": "cat", "score": 0.25, "cosine": -0.125},
        ],
        [],
        [{"label": "cat", "score": 0.5, "cosine": -0.25}, {"label": "tie", "score": 0.25, "cosine": -0.125}],
    ]
    carried = {"sku": "7", "input_status": "sold"}, *[{"sku": None, "input_status": None}] * 2
    own = [
        {"image": "in/a.jpg", "status": "ok", "margin": 0.5, "error": None},
        {"image": "in/b.jpg", "status": "error", "margin": None, "error": "damaged image: truncated"},
        {"image": "c.jpg", "status": "unknown", "margin": 0.25, "error": None},
    ]
    expected = [
        one | {"predictions": two} | three for one, two, three in zip(own, ranked, carried, strict=True)
    ]
    assert [json.loads(line) for line in lines] == expected
    assert [list(json.loads(line)) for line in lines] == [list(one) for one in expected]


def test_nested_rows_hold_any_text_and_no_number_that_is_none(tmp_path: Path) -> None:
    label = os.fsdecode(LATIN) + "\ud800\r\n"
    outcome = scored("a.jpg", [0.75], (label,), 1)
    outcome = outcome._replace(predictions=(outcome.predictions[0]._replace(cosine=float("nan")),))
    (line,) = write(tmp_path / "out.jsonl", [outcome], Layout("nested", 1, (label,))).read_text().splitlines()
    assert json.loads(line)["predictions"] == [{"label": label, "score": 0.75, "cosine": None}]


@pytest.mark.parametrize("file_format", ["csv", "tsv", "parquet", "xlsx"])
def test_nested_rows_are_refused_where_they_cannot_be(file_format: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"nested is JSON, which {file_format.upper()} cannot hold"):
        row_writer(Layout("nested", 2, LABELS), tmp_path / f"out.{file_format}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file_format", ["csv", "tsv", "parquet", "xlsx"])
def test_a_run_without_images_has_its_columns(file_format: str, tmp_path: Path) -> None:
    assert read(write(tmp_path / f"out.{file_format}", []), file_format) == TABLES["long"][:1]


def test_the_csv_to_the_letter(tmp_path: Path) -> None:
    outcomes = [scored("a, b.jpg", [0.1234567891, 1 / 3e9, 0.0], top_k=3), OUTCOMES[1]]
    assert write(tmp_path / "out.csv", outcomes).read_bytes() == (
        b"image,rank,label,score,cosine,error,status,margin\n"
        b'"a, b.jpg",1,cat,0.123457,-0.0617284,,ok,0.123457\n'
        b'"a, b.jpg",2,dog,3.33333e-10,-1.66667e-10,,ok,0.123457\n'
        b'"a, b.jpg",3,tie,0.0,-0.0,,ok,0.123457\n'
        b"in/b.jpg,,,,,damaged image: truncated,error,\n"
    )


@pytest.mark.parametrize("file_format", FORMATS)
def test_numbers_have_six_significant_digits(file_format: str, tmp_path: Path) -> None:
    outcome = scored("a.jpg", [0.98765432101, 0.000012345678, 1.0], top_k=3)
    rows = read(write(tmp_path / f"out.{file_format}", [outcome]), file_format)
    assert [row[3] for row in rows[1:]] == [1.0, 0.987654, 1.23457e-05]


@pytest.mark.parametrize(
    ("path", "reader"),
    [("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet), ("out.xlsx", pd.read_excel)],
)
def test_pandas_reads_it(path: str, reader: Any, tmp_path: Path) -> None:
    frame = reader(write(tmp_path / path, OUTCOMES))
    assert list(frame["label"].dropna()) == ["dog", "cat", "cat", "tie"]
    assert list(frame["status"]) == ["ok", "ok", "error", "unknown", "unknown"]
    assert frame["score"].dtype == frame["margin"].dtype == np.float64
    assert frame["error"].isna().tolist() == [True, True, False, True, True]


def test_pandas_reads_json_lines(tmp_path: Path) -> None:
    frame = pd.read_json(write(tmp_path / "out.jsonl", OUTCOMES), lines=True)
    assert frame.shape == (5, 8)
    assert frame["score"].sum() == 1.75


def test_parquet_columns_have_types(tmp_path: Path) -> None:
    schema = pq.read_schema(write(tmp_path / "out.parquet", OUTCOMES[1:2]))
    expected = ["string", "int32", "string", "double", "double", "string", "string", "double"]
    assert [str(kind) for kind in schema.types] == expected


def test_parquet_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS_A_GROUP", 2)
    path = write(tmp_path / "out.parquet", [*OUTCOMES, *OUTCOMES])
    assert pq.ParquetFile(path).num_row_groups == 5
    assert read(path, "parquet") == TABLES["long"] + TABLES["long"][1:]


def test_wide_has_no_more_columns_than_classes(tmp_path: Path) -> None:
    outcome = scored("a.jpg", [0.2, 0.8], ("cat", "dog"), top_k=5)
    rows = read(write(tmp_path / "out.csv", [outcome], Layout("wide", 5, ("cat", "dog"))), "csv")
    assert rows == [TABLES["wide"][0], ["a.jpg", "dog", 0.8, "cat", 0.2, None, "ok", 0.6]]


@pytest.mark.parametrize("label", ["image", "error", "label", "status", "margin"])
def test_a_matrix_refuses_a_class_named_like_its_other_columns(label: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be named '{label}'"):
        Layout("matrix", 1, ("cat", label))
    assert "rank" in Layout("matrix", 1, ("rank",)).columns


# --- Texts that are hard to write ----------------------------------------------------------------

HARD = (
    "a,b",
    'say "x"',
    "two\nlines",
    "ünï 奶酪 🧀",
    "tab\there",
    "=1+1",
    " padded ",
    "'quoted'",
    "#N/A",
    "007a",
)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("layout", ["long", "matrix"])
def test_labels_of_any_characters(layout: LayoutName, file_format: str, tmp_path: Path) -> None:
    scores = [0.5**power for power in range(len(HARD))]
    path = tmp_path / f"out.{file_format}"
    write(path, [scored("a.jpg", scores, HARD, 99)], Layout(layout, 99, HARD))
    rows = read(path, file_format)
    assert ([row[2] for row in rows[1:]] if layout == "long" else rows[0][1:-4]) == list(HARD)


@pytest.mark.parametrize(
    ("file_format", "query"),
    [
        ("csv", "FROM read_csv('{}', header = true, all_varchar = true)"),
        ("jsonl", "FROM read_json('{}', format = 'newline_delimited')"),
        ("parquet", "FROM read_parquet('{}')"),
    ],
)
def test_duckdb_reads_it(file_format: str, query: str, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    outcomes = [scored(f"{label}.jpg", [0.75], (label,), 1) for label in HARD]
    path = write(tmp_path / f"out.{file_format}", outcomes, Layout("long", 1, HARD))
    rows = duckdb.sql("SELECT image, label, score::DOUBLE " + query.format(path)).fetchall()
    assert rows == [(f"{label}.jpg", label, 0.75) for label in HARD]


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("out.csv", lambda path: pd.read_csv(path, keep_default_na=False)),
        ("out.tsv", lambda path: pd.read_csv(path, sep="\t", keep_default_na=False)),
        ("out.parquet", pd.read_parquet),
        ("out.xlsx", lambda path: pd.read_excel(path, keep_default_na=False)),
    ],
)
def test_pandas_reads_labels_of_any_characters(path: str, reader: Any, tmp_path: Path) -> None:
    outcomes = [scored(f"{label}.jpg", [0.75], (label,), 1) for label in HARD]
    frame = reader(write(tmp_path / path, outcomes, Layout("long", 1, HARD)))
    assert tuple(frame["label"]) == HARD
    assert list(frame["image"]) == [f"{label}.jpg" for label in HARD]
    assert set(frame["score"]) == {0.75}


@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl", "parquet"])
def test_carriage_returns_do_not_part_rows(file_format: str, tmp_path: Path) -> None:
    names = ["a\rb.jpg", "a\r\nb.jpg", "\r"]
    path = write(tmp_path / f"out.{file_format}", [ImageFailure(name, "no\rfile") for name in names])
    assert [(row[0], row[-3]) for row in read(path, file_format)[1:]] == [
        (name, "no\rfile") for name in names
    ]


LATIN = b"caf\xe9 \xff.jpg"


@pytest.mark.parametrize("file_format", ["csv", "tsv"])
def test_names_that_are_not_utf8_keep_their_bytes(file_format: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"out.{file_format}", [ImageFailure(os.fsdecode(LATIN), "no")])
    assert path.read_bytes().splitlines()[1].startswith(LATIN)


def test_names_that_are_not_utf8_are_escaped_in_json(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", [ImageFailure(os.fsdecode(LATIN), "ü")])
    ((name, *_, reason, _, _),) = read(path, "jsonl")[1:]
    assert (os.fsencode(name), reason) == (LATIN, "ü")


@pytest.mark.parametrize("file_format", ["parquet", "xlsx"])
def test_names_that_are_not_utf8_can_be_read(file_format: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"out.{file_format}", [ImageFailure(os.fsdecode(LATIN), "no")])
    assert read(path, file_format)[1][0] == r"caf\xe9 \xff.jpg"


def test_characters_that_xlsx_cannot_hold_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "out.xlsx", [ImageFailure("a\x00b\x1b.jpg", "no")])
    assert read(path, "xlsx")[1][0] == "a\ufffdb\ufffd.jpg"


# --- For spreadsheets ----------------------------------------------------------------------------

DANGEROUS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx")


@pytest.mark.parametrize("file_format", ["csv", "tsv"])
def test_excel_gets_a_mark_and_no_formulas(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{file_format}"
    outcomes = [scored("=a.jpg", [0.25] * 6, DANGEROUS, 6), ImageFailure("a=b.jpg", "-no")]
    write(path, outcomes, Layout("long", 6, DANGEROUS), excel=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfimage")
    rows = read(path, file_format)[1:]
    assert [row[2] for row in rows[:-1]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx"]
    assert rows[0][0] == "'=a.jpg"
    assert rows[0][4] == -0.125, "a number is no formula"
    assert rows[-1][:6:5] == ["a=b.jpg", "'-no"]


def test_excel_neutralises_column_names(tmp_path: Path) -> None:
    path = write(tmp_path / "out.csv", [], Layout("matrix", 1, DANGEROUS[:2]), excel=True)
    assert path.read_text(encoding="utf-8-sig") == "image,'=1+1,'+1,error,label,status,margin\n"


def test_without_excel_nothing_is_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "out.csv", [ImageFailure("=1+1", "@no")])
    assert path.read_bytes() == b"image,rank,label,score,cosine,error,status,margin\n=1+1,,,,,@no,error,\n"


def test_json_lines_have_no_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "out.jsonl", [ImageFailure("=1+1", "no")], excel=True)
    assert path.read_bytes().startswith(b'{"image": "=1+1"')


def test_xlsx_stores_formulas_as_text_and_numbers_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "out.xlsx", [scored("=1+1", [0.75, 0.25], ("#REF!", "=HYPERLINK(1)"))])
    sheet = openpyxl.load_workbook(path).active
    assert [cell.data_type for cell in sheet[2]][:5] == ["s", "n", "s", "n", "n"]
    assert [cell.value for cell in sheet[3]][:4] == ["=1+1", 2, "=HYPERLINK(1)", 0.25]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}


def test_a_full_sheet_goes_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 3)
    path = write(tmp_path / "out.xlsx", [*OUTCOMES, OUTCOMES[1]])
    columns, *rows = TABLES["long"]
    sheets = openpyxl.load_workbook(path).worksheets
    tables = [[list(row) for row in sheet.iter_rows(values_only=True)] for sheet in sheets]
    assert tables == [[columns, *rows[:2]], [columns, *rows[2:4]], [columns, rows[4], rows[2]]]


def test_more_columns_than_a_sheet_has_are_refused(tmp_path: Path) -> None:
    classnames = tuple(map(str, range(16_380)))
    row_writer(Layout("matrix", 1, classnames[1:]), tmp_path / "out.xlsx")
    with pytest.raises(UsageError, match="16385 columns"):
        row_writer(Layout("matrix", 1, classnames), tmp_path / "out.xlsx")


@pytest.mark.parametrize("text", ["x" * 32_768, "\N{GRINNING FACE}" * 16_384])
def test_what_is_too_long_for_a_cell_is_refused_not_cut(text: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a text of 32768 characters is more than an XLSX cell holds"):
        row_writer(Layout("long", 1, (text,)), tmp_path / "out.xlsx")
    with pytest.raises(OutputError, match="more than an XLSX cell holds"):
        write(tmp_path / "out.xlsx", [ImageFailure(text, "no such file")])
    whole = text[:-1]
    path = write(tmp_path / "out.xlsx", [ImageFailure(whole, "no such file")])
    assert read(path, "xlsx")[1][0] == whole


# --- Complete or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_file_appears_when_it_is_complete(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{file_format}"
    path.write_text("before")
    with row_writer(Layout("long", 2, LABELS), path) as rows:
        rows.add(OUTCOMES[0])
        assert path.read_text() == "before"
        assert (tmp_path / f"out.{file_format}.partial").is_file()
    assert len(read(path, file_format)) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError("full"), ValueError()])
@pytest.mark.parametrize("file_format", FORMATS)
def test_an_interrupted_run_leaves_its_rows_as_partial(file_format: str, error: Any, tmp_path: Path) -> None:
    path = tmp_path / f"out.{file_format}"
    path.write_text("before")
    rows = row_writer(Layout("long", 2, LABELS), path)
    with pytest.raises(error if isinstance(error, type) else type(error)), rows:
        rows.add(OUTCOMES[0])
        rows.add(OUTCOMES[1])
        raise error
    assert path.read_text() == "before"
    assert read(tmp_path / f"out.{file_format}.partial", file_format) == TABLES["long"][:4]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_run_that_fails_before_its_first_row_leaves_nothing(file_format: str, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        row_writer(Layout("long", 2, LABELS), tmp_path / f"o.{file_format}"),
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_place_that_cannot_be_written_is_an_output_error(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{file_format}"
    path.write_text("before")
    (tmp_path / f"out.{file_format}.partial").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*out\.\w+: Is a directory"):
        write(path, OUTCOMES)
    assert path.read_text() == "before"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_full_disk_is_an_output_error(file_format: str) -> None:
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left"):
        write(Path("/dev/full"), OUTCOMES * 5_000, format_name=file_format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_without_permission_is_an_output_error(
    file_format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unprivileged: Callable[[], AbstractContextManager[None]],
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    with unprivileged(), pytest.raises(OutputError, match="Permission denied"):
        write(Path(f"out.{file_format}"), OUTCOMES)
    assert not list(tmp_path.iterdir())


def test_a_read_only_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    path = Path("out.csv")
    path.write_text("before")
    path.chmod(0o444)
    with unprivileged(), pytest.raises(OutputError, match=r"cannot write out\.csv: it is read-only"):
        write(path, OUTCOMES)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / path]


def test_a_target_that_becomes_a_folder_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with (
        pytest.raises(OutputError, match="cannot write"),
        row_writer(Layout("long", 2, LABELS), path) as rows,
    ):
        rows.add(OUTCOMES[1])
        path.mkdir()
    assert len(read(tmp_path / "out.csv.partial", "csv")) == 2


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_text()))
    reader.start()
    write(path, OUTCOMES)
    reader.join()
    assert received[0].count("\n") == 6
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(exists: bool, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store/real.csv", tmp_path / "out.csv"
    link.symlink_to("store/real.csv")
    if exists:
        target.write_text("before")
    write(link, OUTCOMES)
    assert link.is_symlink()
    assert len(read(target, "csv")) == 6
    assert list((tmp_path / "store").iterdir()) == [target]


# --- Where to and in which format ----------------------------------------------------------------


def test_standard_output_gets_csv_and_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    with row_writer(Layout("wide", 1, LABELS), None) as rows:
        rows.add(OUTCOMES[1])
    print("afterwards", flush=True)  # noqa: T201
    assert capfd.readouterr().out == (
        "image,label,score,error,status,margin\nin/b.jpg,,,damaged image: truncated,error,\nafterwards\n"
    )


def test_a_reader_that_goes_away_is_no_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(BrokenPipeError), row_writer(Layout("long", 2, LABELS), None) as rows:
            for outcome in OUTCOMES * 5_000:
                rows.add(outcome)


@pytest.mark.parametrize("file_format", ["parquet", "xlsx"])
def test_binary_formats_need_a_file(file_format: str) -> None:
    with pytest.raises(UsageError, match="cannot go to standard output"):
        row_writer(Layout("long", 2, LABELS), None, file_format)


@pytest.mark.parametrize(
    ("name", "format_name"), [("out.CSV", None), ("out.dat", "csv"), ("out.xlsx", "csv")]
)
def test_the_format_follows_the_option_then_the_suffix(
    name: str, format_name: str | None, tmp_path: Path
) -> None:
    assert read(write(tmp_path / name, OUTCOMES, format_name=format_name), "csv") == TABLES["long"]


@pytest.mark.parametrize(
    ("name", "format_name", "message"),
    [
        ("out.txt", None, "cannot tell the output format of .*out.txt"),
        ("out", None, "cannot tell the output format of .*out"),
        ("out.csv", "html5", "unknown output format 'html5'"),
        ("missing/out.csv", None, "no such folder: .*missing"),
        ("file/out.csv", None, "no such folder: .*file"),
        ("folder.csv", None, "folder.csv is a folder"),
    ],
)
def test_outputs_that_cannot_be_are_refused_at_once(
    name: str, format_name: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        row_writer(Layout("long", 2, LABELS), tmp_path / name, format_name)


def test_a_name_that_is_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / f"{'x' * 300}.csv", OUTCOMES)


@pytest.mark.parametrize("name", ["out.png", "photos.JPG"])
def test_an_output_named_like_an_image_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is named like an image"):
        row_writer(Layout("long", 2, LABELS), tmp_path / name, "csv")


# --- Columns of the user's table -----------------------------------------------------------------

CARRIED: dict[str, type] = {
    "sku": str,
    "stock": int,
    "price": float,
    "sold": bool,
    "seen": datetime,
    "made": date,
    "image": str,
}
FULL: dict[str, Value] = {
    "sku": "007, \n=ü🧀",
    "stock": 2**40,
    "price": 19.99,
    "sold": True,
    "seen": datetime(2024, 5, 1, 12, 30, 15),
    "made": date(2023, 2, 28),
    "image": "front.jpg",
}
CARRIED_OUTCOMES: list[Outcome] = [
    OUTCOMES[0]._replace(columns=FULL),
    OUTCOMES[1]._replace(columns=FULL | {"sold": False}),
    OUTCOMES[2],
]
ISO = {"seen": "2024-05-01T12:30:15", "made": "2023-02-28"}
STORED: dict[str, dict[str, Any]] = {
    "csv": {**FULL, **ISO, "sold": "true", "stock": float(2**40)},
    "tsv": {**FULL, **ISO, "sold": "true", "stock": float(2**40)},
    "jsonl": {**FULL, **ISO},
    "parquet": FULL,
    "xlsx": {**FULL, "made": datetime(2023, 2, 28)},
}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("layout", TABLES)
def test_carried_columns_keep_their_order_and_types(
    layout: LayoutName, file_format: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out.{file_format}"
    columns, *rows = read(write(path, CARRIED_OUTCOMES, Layout(layout, 2, LABELS, CARRIED)), file_format)
    own = len(TABLES[layout][0])
    assert [columns[:own], *(row[:own] for row in rows)] == TABLES[layout]
    assert columns[own:] == ["sku", "stock", "price", "sold", "seen", "made", "input_image"]
    stored = STORED[file_format]
    failed = stored | {"sold": "false" if file_format in ("csv", "tsv") else False}
    cells = {"in/a.jpg": stored, "in/b.jpg": failed, "c.jpg": dict.fromkeys(CARRIED)}
    assert [row[own:] for row in rows] == [list(cells[row[0]].values()) for row in rows]
    kinds = {type(cell) for row in rows for cell in row[own:][3:4] if cell is not None}
    assert kinds == {str if file_format in ("csv", "tsv") else bool}


def test_carried_columns_in_the_csv_to_the_letter(tmp_path: Path) -> None:
    layout = Layout("wide", 1, LABELS, CARRIED)
    outcomes = [CARRIED_OUTCOMES[1]._replace(columns=FULL | {"sku": "a", "price": 0.1 + 0.2}), OUTCOMES[1]]
    assert write(tmp_path / "out.csv", outcomes, layout).read_text() == (
        "image,label,score,error,status,margin,sku,stock,price,sold,seen,made,input_image\n"
        "in/b.jpg,,,damaged image: truncated,error,,a,1099511627776,0.30000000000000004,true,"
        "2024-05-01T12:30:15,2023-02-28,front.jpg\n"
        "in/b.jpg,,,damaged image: truncated,error,,,,,,,,\n"
    )


def test_carried_columns_have_types_in_parquet(tmp_path: Path) -> None:
    layout = Layout("long", 1, LABELS, CARRIED)
    path = write(tmp_path / "out.parquet", CARRIED_OUTCOMES, layout)
    carried = ["string", "int64", "double", "bool", "timestamp[us]", "date32[day]", "string"]
    assert [str(kind) for kind in pq.read_schema(path).types][8:] == carried
    empty = pq.read_schema(write(tmp_path / "empty.parquet", [], layout))
    assert [str(kind) for kind in empty.types][8:] == carried


def test_excel_neutralises_carried_texts_only(tmp_path: Path) -> None:
    layout = Layout("wide", 1, LABELS, {"=note": str, "change": int, "made": date})
    outcome = ImageFailure("a.jpg", "no", {"=note": "=1+1", "change": -5, "made": date(2023, 2, 28)})
    text = write(tmp_path / "out.csv", [outcome], layout, excel=True).read_text(encoding="utf-8-sig")
    assert text.splitlines()[0].endswith(",'=note,change,made")
    assert text.splitlines()[1].endswith(",'=1+1,-5,2023-02-28")


NOON = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))


def seen(path: Path, *cells: Value, kind: type = datetime) -> Path:
    """A file with one carried column."""
    outcomes: list[Outcome] = [ImageFailure("a.jpg", "no", {"seen": cell}) for cell in cells]
    return write(path, outcomes, Layout("long", 1, LABELS, {"seen": kind}))


def test_times_with_a_zone_keep_their_instant(tmp_path: Path) -> None:
    column = pq.read_table(seen(tmp_path / "out.parquet", None, NOON))["seen"]
    assert str(column.type) == "timestamp[us, tz=UTC]"
    assert column.to_pylist() == [None, NOON]
    for file_format in ("csv", "jsonl", "xlsx"):
        rows = read(seen(tmp_path / f"out.{file_format}", NOON), file_format)
        assert rows[1][-1] == "2024-05-01T12:00:00+02:00", file_format


def test_a_zone_that_is_found_in_a_later_group_keeps_the_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_A_GROUP", 2)
    column = pq.read_table(seen(tmp_path / "out.parquet", None, None, NOON))["seen"]
    assert column.to_pylist() == [None, None, datetime(2024, 5, 1, 10)]


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    path = seen(tmp_path / "out.jsonl", float("nan"), float("-inf"), 1.5, kind=float)
    assert [row[-1] for row in read(path, "jsonl")[1:]] == [None, None, 1.5]
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(("cell", "kind"), [(2**63, int), ("many", int), ("soon", date)])
def test_a_cell_that_parquet_cannot_hold_names_its_column(cell: Value, kind: type, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="column 'seen': not every cell can be stored as"):
        seen(tmp_path / "out.parquet", cell, kind=kind)


def test_groups_before_a_cell_that_cannot_be_held_stay_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_A_GROUP", 2)
    with pytest.raises(OutputError, match="column 'seen'"):
        seen(tmp_path / "out.parquet", 1, 2, 3, "many", kind=int)
    assert [row[-1] for row in read(tmp_path / "out.parquet.partial", "parquet")] == ["seen", 1, 2]


def test_a_carried_text_too_long_for_a_cell_is_refused_not_cut(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="more than an XLSX cell holds"):
        seen(tmp_path / "out.xlsx", "x" * 32_768, kind=str)


# --- Several outputs of one run ------------------------------------------------------------------


def test_each_output_has_its_own_format(tmp_path: Path) -> None:
    paths = [tmp_path / f"out.{file_format}" for file_format in FORMATS]
    kinds = [type(sink).__name__ for sink in open_sinks({"image": str}, [*paths, None])]
    assert kinds == ["CsvSink", "TsvSink", "JsonlSink", "ParquetSink", "XlsxSink", "CsvSink"]


@pytest.mark.parametrize("again", ["out.csv", "../{}/out.csv", "link.csv"])
def test_the_same_file_twice_is_refused(again: str, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("out.csv")
    second = tmp_path / again.format(tmp_path.name)
    with pytest.raises(UsageError, match=r"out\.csv is named twice as an output"):
        open_sinks({"image": str}, [tmp_path / "out.csv", tmp_path / "b.csv", second])


def test_standard_output_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="standard output is named twice"):
        open_sinks({"image": str}, [None, None])


def test_one_format_for_several_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one format, csv, for 2 outputs"):
        open_sinks({"image": str}, [tmp_path / "a.csv", tmp_path / "b.csv"], "csv")
    (sink,) = open_sinks({"image": str}, [tmp_path / "a.txt"], "tsv")
    assert type(sink).__name__ == "TsvSink"
