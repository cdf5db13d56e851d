"""`clipcli classify --from-file TABLE`: the columns of the user's table travel to every format."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from commands import clipcli
from conftest import EXAMPLES, Result

COUNT, BROKEN = 1000, 20
COMMON = ("-l", "cat,sun", "-m", "nano", "--precision", "fp32", "-k", "1")


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """products.csv beside a folder of images; every 50th row is broken in one of four ways."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "images").mkdir()
    images = [path for path in sorted(EXAMPLES.iterdir()) if path.suffix in (".png", ".jpg")][::5]
    for image in images:
        (folder / "images" / image.name).write_bytes(image.read_bytes())
    (folder / "images" / "empty.png").touch()
    broken = ["images/gone.png", "images/empty.png", "", "products.csv"]
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sku", "path", "title", "score"])
        for number in range(COUNT):
            path = f"images/{images[number % len(images)].name}"
            if number % (COUNT // BROKEN) == 7:
                path = broken[number // (COUNT // BROKEN) % len(broken)]
            table.writerow([f"{number:05}", path, f'Chair, "{number}" =1+1 é', f"{number / 4}"])
    return folder / "products.csv"


@pytest.fixture(scope="module")
def written(products: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run that writes all four formats."""
    folder = tmp_path_factory.mktemp("written")
    outputs = {name: folder / f"out.{name}" for name in ("csv", "jsonl", "parquet", "xlsx")}
    command = [*clipcli(), "classify", "--from-file", str(products), *COMMON, "--layout", "long"]
    for path in outputs.values():
        command += ["-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert f"{BROKEN} failed" in done.stderr
    return outputs


OWN = ["image", "rank", "label", "score", "cosine", "error", "status", "margin"]
COLUMNS = [*OWN, "sku", "title", "input_score"]


def rows_of(path: Path) -> list[list[Any]]:
    """The rows of a file with its header; empty cells are None."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [[cell or None for cell in row] for row in csv.reader(file)]
    if path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [list(records[0]), *(list(record.values()) for record in records)]
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return [table.column_names, *(list(row.values()) for row in table.to_pylist())]
    workbook = openpyxl.load_workbook(path, read_only=True)
    rows = [list(row) for row in workbook.worksheets[0].iter_rows(values_only=True)]
    workbook.close()
    return rows


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_thousand_products_keep_their_columns(written: dict[str, Path], name: str) -> None:
    header, *rows = rows_of(written[name])
    assert header == COLUMNS
    assert len(rows) == COUNT
    failed = 0
    for number, (image, rank, label, _, _, error, status, _, sku, title, price) in enumerate(rows):
        assert sku == f"{number:05}"
        assert title == f'Chair, "{number}" =1+1 é'
        assert price == f"{number / 4}"
        if error:
            failed += 1
            assert (rank, label, status) == (None, None, "error")
        else:
            assert int(rank) == 1
            assert label in ("cat", "sun")
            assert Path(image).is_file()
    assert failed == BROKEN


def test_all_formats_hold_the_same(written: dict[str, Path]) -> None:
    as_text = {
        name: [[None if cell is None else str(cell) for cell in row] for row in rows_of(path)]
        for name, path in written.items()
    }
    assert as_text["csv"] == as_text["jsonl"] == as_text["parquet"] == as_text["xlsx"]


def test_some_columns_in_their_order(products: Path, run_cli: Callable[..., Result]) -> None:
    done = run_cli("classify", "-f", products, "--keep", "title, sku", *COMMON)
    header = next(csv.reader(io.StringIO(done.out)))
    assert header == [*OWN, "title", "sku"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-column", "pathh"], "path"),
        (["--keep", "titel"], "title"),
    ],
)
def test_a_column_that_is_not_there_is_told_with_the_nearest(
    products: Path, run_cli: Callable[..., Result], options: list[str], message: str
) -> None:
    done = run_cli("classify", "-f", products, *options, *COMMON)
    assert done.code == 2
    assert message in done.err


def test_a_table_in_place_of_an_image_is_told_its_option(
    products: Path, run_cli: Callable[..., Result]
) -> None:
    done = run_cli("classify", products, *COMMON)
    assert done.code == 2
    assert f"Use --from-file {products}" in done.err.replace("\n", "")


def test_a_table_without_a_tables_name_is_told_the_column_option(
    products: Path, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    (tmp_path / "list.txt").write_bytes(products.read_bytes())
    done = run_cli("classify", "-f", tmp_path / "list.txt", *COMMON)
    assert done.code == 2
    assert "--image-column NAME" in done.err


def test_columns_without_a_table_are_refused(pictures: Path, run_cli: Callable[..., Result]) -> None:
    done = run_cli("classify", pictures, "--keep", "title", *COMMON)
    assert done.code == 2
    assert "--from-file" in done.err
