"""Files of features: read back by other libraries, complete or not at all, and no row is ever another's."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from clipcli.errors import OutputError, UsageError
from clipcli.output.feature_files import WRITERS, check_feature_files, open_feature_file
from clipcli.records import ImageFailure, ImageFeatures

CARRIED: dict[str, type] = {"sku": str, "price": float, "day": date, "image": str}
ABOUT = {"model": "nano", "fingerprint": "f"}
ODD = "odd-\udcff\nname.png"


def outcomes(count: int = 5, width: int = 7) -> list[ImageFeatures | ImageFailure]:
    """Images, of which the first, the third and the last cannot be read."""
    rows = np.random.default_rng(0).standard_normal((count, width)).astype(np.float32)
    made: list[ImageFeatures | ImageFailure] = []
    for number, row in enumerate(rows):
        columns = {
            "sku": f"00{number}",
            "price": 0.5 * number,
            "day": date(2026, 1, 1 + number % 28),
            "image": "x",
        }
        made.append(ImageFeatures(f"{number}.png" if number else ODD, row, columns))
    for place in (0, 2, len(made) + 2):
        made.insert(place, ImageFailure(f"bad-{place}.png", f"no, {place}", {"sku": "bad"}))
    return made


def good(made: list[ImageFeatures | ImageFailure]) -> list[ImageFeatures]:
    return [one for one in made if isinstance(one, ImageFeatures)]


def written(path: Path, made: list[ImageFeatures | ImageFailure], **options: Any) -> Path:
    with open_feature_file(path, ABOUT, CARRIED, **options) as writer:
        for one in made:
            writer.add(one)
    assert not [left for left in path.parent.iterdir() if "partial" in left.name]
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_npy_with_its_names(tmp_path: Path, dtype: Any) -> None:
    made = outcomes()
    array = np.load(written(tmp_path / "f.npy", made, dtype=dtype))
    assert array.dtype == np.dtype(dtype)
    assert np.array_equal(array, np.stack([one.features for one in good(made)]).astype(dtype))
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        names, *rows = csv.reader(file)
    assert names == ["row", "image", "error", "sku", "price", "day", "input_image"]
    assert [row[:3] for row in rows[:5]] == [[str(n), one.image, ""] for n, one in enumerate(good(made))]
    assert [row[:3] for row in rows[5:]] == [["", f"bad-{n}.png", f"no, {n}"] for n in (0, 2, 7)]
    assert [row[3] for row in rows] == ["000", "001", "002", "003", "004", "bad", "bad", "bad"]
    assert [row[5] for row in rows] == [*(f"2026-01-0{n}" for n in range(1, 6)), "", "", ""]
    about = json.loads((tmp_path / "f.json").read_text())
    assert about == {"kind": "clipcli features", **ABOUT, "dtype": dtype}


def test_an_npy_can_be_mapped_and_is_replaced_by_the_next(tmp_path: Path) -> None:
    path = written(tmp_path / "f.npy", outcomes())
    assert np.load(path, mmap_mode="r").shape == (5, 7)
    assert np.load(written(path, outcomes(3, 300))).shape == (3, 300)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_npz(tmp_path: Path, dtype: Any) -> None:
    made = outcomes()
    with np.load(written(tmp_path / "f.npz", made, dtype=dtype)) as arrays:
        assert set(arrays) == {"features", "images", "failed", "reasons", "metadata"}
        assert np.array_equal(
            arrays["features"], np.stack([one.features for one in good(made)]).astype(dtype)
        )
        assert arrays["images"].tolist() == [one.image for one in good(made)]
        assert arrays["failed"].tolist() == ["bad-0.png", "bad-2.png", "bad-7.png"]
        assert arrays["reasons"].tolist() == ["no, 0", "no, 2", "no, 7"]
        assert json.loads(str(arrays["metadata"]))["model"] == "nano"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_safetensors(tmp_path: Path, dtype: Any) -> None:
    made = outcomes()
    path = written(tmp_path / "f.safetensors", made, dtype=dtype)
    tensors = load_file(path)
    assert np.array_equal(tensors["features"], np.stack([one.features for one in good(made)]).astype(dtype))
    assert json.loads(tensors["images"].tobytes()) == [one.image for one in good(made)]
    assert json.loads(tensors["failed"].tobytes())[1] == ["bad-2.png", "no, 2"]
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["clipcli"])["fingerprint"] == "f"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet(tmp_path: Path, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.output.feature_parquet._ROWS_A_GROUP", 3)
    made = outcomes()
    path = written(tmp_path / "f.parquet", made, dtype=dtype)
    table = pq.read_table(path)
    assert pa.types.is_list(table.schema.field("features").type), (
        "fixed sizes are not read by pyarrow before 26"
    )
    assert {len(one) for one in table["features"].to_pylist() if one is not None} == {7}
    assert json.loads(table.schema.metadata[b"clipcli"])["model"] == "nano"
    rows = table.to_pylist()
    assert [row["error"] for row in rows] == [getattr(one, "reason", None) for one in made]
    for row, one in zip(rows, made, strict=True):
        if isinstance(one, ImageFailure):
            assert row["features"] is None
        else:
            assert np.array_equal(np.array(row["features"], dtype), one.features.astype(dtype))
        assert row["sku"] == one.columns["sku"]
        assert row["day"] == one.columns.get("day")
        assert row["input_image"] == one.columns.get("image")
    assert rows[1]["image"] == "odd-\\xff\nname.png"
    found = duckdb.sql(f"SELECT image, features FROM '{path}' WHERE error IS NULL").fetchall()
    assert np.array_equal(np.array(found[2][1], dtype), good(made)[2].features.astype(dtype))


@pytest.mark.parametrize("suffix", WRITERS)
def test_where_nothing_can_be_encoded_there_are_no_features(tmp_path: Path, suffix: str) -> None:
    for made in ([], [ImageFailure("bad.png", "no")]):
        path = written(tmp_path / f"f{suffix}", list(made))
        if suffix == ".parquet":
            assert pd.read_parquet(path).image.tolist() == [one.image for one in made]
        else:
            arrays = np.load(path) if suffix in (".npy", ".npz") else load_file(path)
            assert len(arrays if suffix == ".npy" else arrays["features"]) == 0


@pytest.mark.parametrize("suffix", WRITERS)
def test_after_an_error_what_was_there_stays_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"f{suffix}", outcomes())
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}

    def fail() -> None:
        with open_feature_file(path, ABOUT, CARRIED) as writer:
            for one in outcomes(3):
                writer.add(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["f.csv", "f.json"])
def test_a_table_of_the_user_is_not_replaced_by_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("path,sku\na.png,1\n")
    with pytest.raises(UsageError, match=f"{name} would be replaced"):
        open_feature_file(tmp_path / "f.npy", ABOUT)
    assert (tmp_path / name).read_text() == "path,sku\na.png,1\n"


def test_places_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write features as f\.csv"):
        check_feature_files([tmp_path / "f.csv"])
    with pytest.raises(UsageError, match="no such folder"):
        check_feature_files([tmp_path / "none" / "f.npy"])
    with pytest.raises(UsageError, match="named twice"):
        check_feature_files([tmp_path / "f.npy", tmp_path / "f.npy"])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".parquet", ".safetensors"])
def test_a_full_disk_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"f{suffix}"
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        written(path, outcomes(50, 512))
