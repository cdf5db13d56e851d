"""A folder of parts is read as one table, wherever a table is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipcli.errors import UsageError
from clipcli.inputs.predictions import read_predictions
from clipcli.inputs.tables.table import Table
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink
from clipcli.records import ImageFailure


def parted(folder: Path, suffix: str, *parts: list[list[Any]]) -> Path:
    """A finished folder whose parts hold these rows of image, weight and note."""
    folder.mkdir()
    for number, rows in enumerate(parts):
        path = folder / f"part-0000-{number:012}.{suffix}"
        with open_sink({"image": str, "weight": float, "note": str}, path) as sink:
            for row in rows:
                sink.write(row)
    (folder / "_parts").mkdir()
    (folder / "_SUCCESS").write_text("{}")
    (folder / "run.json").write_text("{}")
    return folder


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_come_in_order_with_types_of_all_parts(tmp_path: Path, suffix: str) -> None:
    first = [["a.png", None, "x"], ["b.png", None, None]]
    folder = parted(tmp_path / "out", suffix, first, [["c.png", 1.5, None]])
    table = Table(str(folder))
    weight = str if suffix == "csv" else float  # in CSV all cells are texts
    assert table.columns == {"weight": weight, "note": str}
    found = [(one.name, dict(one.columns)) for one in table if not isinstance(one, ImageFailure)]
    assert [Path(name).name for name, _ in found] == ["a.png", "b.png", "c.png"]
    assert [cells["weight"] or None for _, cells in found] == [None, None, weight("1.5")]
    assert [cells["note"] or None for _, cells in found] == ["x", None, None]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("layout", ["long", "wide", "matrix"])
def test_predictions_are_read_from_parts(tmp_path: Path, suffix: str, layout: Any) -> None:
    rows_of = Layout(layout, 2, ["cat", "dog"])
    whole, folder = tmp_path / f"whole.{suffix}", tmp_path / "out"
    folder.mkdir()
    failures = [ImageFailure(f"{number}.png", "no such file") for number in range(4)]
    for path, some in (
        (whole, failures),
        (folder / f"part-0000-000000000000.{suffix}", failures[:3]),
        (folder / f"part-0001-000000000000.{suffix}", failures[3:]),
    ):
        with open_sink(rows_of.columns, path) as sink:
            for failure in some:
                for row in rows_of.rows(failure):
                    sink.write(row)
    (folder / "_SUCCESS").write_text("{}")
    assert list(read_predictions(str(folder))) == list(read_predictions(str(whole)))


def test_a_folder_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    folder = parted(tmp_path / "out", "csv", [["a.png", None, None]])
    (folder / "_SUCCESS").unlink()
    with pytest.raises(UsageError, match="is not finished"):
        list(read_predictions(str(folder)))


def test_errors_name_the_part_and_its_line(tmp_path: Path) -> None:
    folder = parted(tmp_path / "out", "csv", [["a.png", None, None]], [["b.png", None, None]])
    with (folder / "part-0000-000000000001.csv").open("a") as file:
        file.write("c.png,1,2,3,4\n")
    problems = [one.reason for one in Table(str(folder)) if isinstance(one, ImageFailure)]
    assert len(problems) == 1
    assert "part-0000-000000000001.csv, line 3" in problems[0]


def test_a_report_is_made_of_parts(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    rows_of = Layout("long", 1, ["cat"])
    folder = tmp_path / "out"
    folder.mkdir()
    with open_sink(rows_of.columns, folder / "part-0000-000000000000.csv") as sink:
        for row in rows_of.rows(ImageFailure("a.png", "no such file")):
            sink.write(row)
    (folder / "_SUCCESS").write_text("{}")
    assert run_cli("report", folder, "-o", tmp_path / "r.html").code == 0
    assert "a.png" in (tmp_path / "r.html").read_text()
    assert run_cli("sort", folder, "--into", tmp_path / "sorted").code == 0
