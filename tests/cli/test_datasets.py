"""Commands on tables with images inside."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result

from clipcli.inputs.tables.cells import CellItem

Cli = Callable[..., Result]
NANO = ("-m", "nano", "--precision", "fp32", "--device", "cpu")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LABELS = ["cat", "sea bird"]


@pytest.fixture
def table(pictures: Path, tmp_path: Path) -> Path:
    """The pictures in a Parquet file with metadata as `datasets` writes them."""
    paths = sorted(pictures.iterdir())
    features = {"image": {"_type": "Image"}, "label": {"names": LABELS, "_type": "ClassLabel"}}
    schema = pa.schema(
        {"image": STRUCT, "label": pa.int64(), "score": pa.float32()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    columns = [images, [number % 2 for number in range(12)], [number / 10 for number in range(12)]]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=5)
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    time.sleep(max(0.0, path.stat().st_ctime + 2.1 - time.time()))  # it has a version from then on
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_features_are_those_of_the_files_and_are_read_once(
    run_cli: Cli, table: Path, pictures: Path, tmp_path: Path
) -> None:
    inside, beside, again = (tmp_path / name for name in ("inside.npy", "beside.npy", "again.npy"))
    assert run_cli("embed", pictures, *NANO, "--no-cache", "-o", beside).code == 0
    assert run_cli("embed", table, *NANO, "-o", inside).code == 0
    assert np.load(inside).shape[0] == 12
    np.testing.assert_array_equal(np.load(inside), np.load(beside))
    with mock.patch.object(CellItem, "read", side_effect=AssertionError("read again")):
        assert run_cli("embed", table, *NANO, "-o", again).code == 0
        output = tmp_path / "out.csv"
        result = run_cli("classify", table, *NANO, "-l", "cat,dog", "-k", 1, "-o", output)
    assert result.code == 0, result.err
    assert again.read_bytes() == inside.read_bytes()
    found = rows(output)
    assert [row["image"] for row in found] == [f"{table}#{number}" for number in range(1, 13)]
    assert [row["input_label"] for row in found] == LABELS * 6
    assert [row["input_score"] for row in found] == [str(number / 10) for number in range(12)]
    assert [row["input_image"] for row in found] == [path.name for path in sorted(pictures.iterdir())]


def test_a_label_column_is_the_truth(run_cli: Cli, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "metrics.json"
    result = run_cli("eval", table, "--truth-column", "label", *NANO, "-o", output)
    assert result.code == 0, result.err
    metrics = json.loads(output.read_text())
    assert [(one["label"], one["support"]) for one in metrics["per_class"]] == [("cat", 6), ("sea bird", 6)]
    missing = run_cli("eval", table, "--truth-column", "labels", *NANO)
    assert missing.code == 2
    assert "no column 'labels'" in missing.err


def test_what_is_listed(run_cli: Cli, table: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "list.csv"
    result = run_cli("inputs", table, pictures, "--keep", "label", "-o", output)
    assert result.code == 0, result.err
    assert "24 images: 12 table row, 12 file" in result.err
    found = rows(output)
    assert list(found[0]) == ["image", "kind", "version", "error", "label"]
    assert [row["label"] for row in found] == LABELS * 6 + [""] * 12
    assert len({row["version"] for row in found[:12]}) == 1


def test_two_columns_of_images_are_told_with_the_option(run_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    cells = pa.array([{"bytes": b"", "path": None}], STRUCT)
    pq.write_table(pa.table({"image": cells, "mask": cells}), path)
    result = run_cli("inputs", path)
    assert result.code == 2
    assert "several columns hold images: image, mask" in result.err
    assert "--image-column" in result.err
    assert run_cli("inputs", path, "--image-column", "mask").code == 0
