"""`clipcli embed` end to end: other tools find the neighbours that `clipcli search` finds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, Result

import clipcli
from clipcli.records import ImageFailure, ImageFeatures

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
FISH = str(EXAMPLES / "fish-5.png")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def neighbours(run_cli: Cli) -> list[str]:
    """The images nearest to a fish, as `clipcli search` finds them."""
    result = run_cli("search", "--like", FISH, EXAMPLES, *NANO, "-k", 12)
    return [row["image"] for row in csv.DictReader(io.StringIO(result.out))]


def test_parquet_in_duckdb_and_pandas(run_cli: Cli, tmp_path: Path, neighbours: list[str]) -> None:
    path = tmp_path / "features.parquet"
    assert run_cli("embed", EXAMPLES, *NANO, "-o", path).code == 0
    found = duckdb.sql(
        f"SELECT image FROM '{path}' ORDER BY list_cosine_similarity(features,"
        f" (SELECT features FROM '{path}' WHERE image = '{FISH}')) DESC LIMIT 12"
    ).fetchall()
    assert [image for (image,) in found] == neighbours
    frame = pd.read_parquet(path).set_index("image")
    features = np.stack(list(frame.features))
    cosines = pd.Series(features @ frame.features[FISH], frame.index)
    assert cosines.nlargest(12).index.tolist() == neighbours
    about = json.loads(pq.read_schema(path).metadata[b"clipcli"])
    assert about["model"] == "nano"
    assert about["precision"] == "fp32"
    assert about["preprocess"]["size"] == [192, 192]
    assert about["fingerprint"]


def test_npy_in_faiss_and_usearch(run_cli: Cli, tmp_path: Path, neighbours: list[str]) -> None:
    faiss = pytest.importorskip("faiss", exc_type=ImportError)
    usearch = pytest.importorskip("usearch.index", exc_type=ImportError)
    assert run_cli("embed", EXAMPLES, *NANO, "-o", tmp_path / "features.npy").code == 0
    features = np.load(tmp_path / "features.npy")
    images = pd.read_csv(tmp_path / "features.csv").image
    query = features[images == FISH]
    index = faiss.IndexFlatIP(features.shape[1])
    index.add(features)
    assert images[index.search(query, 12)[1][0]].tolist() == neighbours
    other = usearch.Index(ndim=features.shape[1], metric="cos", dtype="f32")
    other.add(np.arange(len(features)), features)
    assert images[other.search(query[0], 12, exact=True).keys].tolist() == neighbours


def test_failures_and_columns_of_a_table(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    table = tmp_path / "products.csv"
    table.write_text(f"file,sku\n{tmp_path}/broken.png,01\n{FISH},02\n")
    outputs = [part for suffix in ("parquet", "npz") for part in ("-o", tmp_path / f"f.{suffix}")]
    result = run_cli("embed", "--from-file", table, *NANO, *outputs)
    assert result.code == 3
    assert f"the columns of the table are not in {tmp_path}/f.npz" in result.err
    frame = pd.read_parquet(tmp_path / "f.parquet")
    assert frame.sku.tolist() == ["01", "02"]
    assert frame.features.isna().tolist() == [True, False]
    assert np.load(tmp_path / "f.npz")["images"].tolist() == [FISH]
    assert run_cli("embed", "--from-file", table, *NANO, *outputs, "--allow-failures").code == 0


def test_texts(run_cli: Cli, tmp_path: Path, nano: Any) -> None:
    (tmp_path / "texts.txt").write_text("a cat\na fish\na cat\n")
    path = tmp_path / "texts.parquet"
    assert run_cli("embed", "--texts", tmp_path / "texts.txt", *NANO, "-o", path).code == 0
    frame = pd.read_parquet(path)
    assert list(frame.columns) == ["text", "features", "error"]
    assert frame.text.tolist() == ["a cat", "a fish", "a cat"]
    expected = nano.encode_texts(["a cat", "a fish", "a cat"])
    assert np.stack(list(frame.features)) == pytest.approx(expected, abs=1e-6)
    result = run_cli("embed", "--texts", tmp_path / "texts.txt", *NANO, "-o", path, "-t", "a drawing of {}")
    assert result.code == 0
    (cat,) = nano.encode_texts(["a drawing of a cat"])
    assert pd.read_parquet(path).features[0] == pytest.approx(cat, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EXAMPLES,), "no output file named"),
        ((EXAMPLES, "-o", "features.csv"), "cannot write features as features.csv"),
        ((EXAMPLES, "--texts", "README.md", "-o", "f.npy"), "cannot be encoded into one file"),
        ((EXAMPLES, "-t", "a {}", "-o", "f.npy"), "--templates are for texts"),
        (("-o", "f.npy"), "no images given"),
    ],
)
def test_wrong_use_is_told(run_cli: Cli, arguments: tuple[object, ...], message: str) -> None:
    result = run_cli("embed", *arguments, *NANO)
    assert result.code == 2
    assert message in result.err


def test_python_writes_the_same_files(run_cli: Cli, tmp_path: Path, nano: Any, own_cache: Path) -> None:
    clipcli.save_features(clipcli.encode(EXAMPLES, nano), tmp_path / "mine.npy", nano)
    run_cli("embed", EXAMPLES, *NANO, "-o", tmp_path / "theirs.npy")
    for suffix in ("npy", "csv", "json"):
        assert (tmp_path / f"mine.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()


def test_an_encoder_of_failures_alone(tmp_path: Path, nano: Any) -> None:
    outcomes: list[ImageFeatures | ImageFailure] = [ImageFailure("a.png", "no such file")]
    clipcli.save_features(outcomes, tmp_path / "f.npy", nano)
    assert np.load(tmp_path / "f.npy").shape == (0, 0)
