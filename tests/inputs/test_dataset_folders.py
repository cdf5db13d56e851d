"""Folders in the layouts of Hugging Face's `datasets`, and plain folders, which stay what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipcli.errors import ImageError, UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.truth import FolderTruth
from clipcli.records import ImageFailure

FILES = Path(__file__).parent.parent / "files"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(path: str, columns: dict[str, list[Any]] | None = None) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if columns is None:
        shutil.copy(FILES / f"hugging_face{Path(path).suffix}", path)
    else:
        pq.write_table(pa.table(columns), path)


def image(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)


def listed(*paths: str, **options: Any) -> list[str]:
    return [one.image if isinstance(one, ImageFailure) else one.name for one in Inputs(paths, **options)]


def rows(path: str) -> list[str]:
    return [f"{path}#{row}" for row in range(1, 6)]


# --- Tables with images inside -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "data/train-00000-of-00001.parquet",
        "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "data/anything-00000-of-00001.parquet",
        "train.parquet",
        "test-images.parquet",
        "train/0000.parquet",
        "data-00000-of-00001.arrow",
        "test/data-00000-of-00001.arrow",
        "mnist/train-00000-of-00001.parquet",
        "default/test/0000.parquet",
    ],
)
def test_tables_of_a_dataset_are_found(path: str) -> None:
    table(f"ds/{path}")
    Path("ds/README.md").touch()
    inputs = Inputs(("ds",))
    assert listed("ds") == rows(f"ds/{path}")
    assert list(inputs.columns) == ["image", "label", "score", "objects"]


@pytest.mark.parametrize(
    "path",
    [
        "predictions.parquet",
        "results_of_training.parquet",
        "cache-0123456789abcdef.arrow",
        "old/train.parquet",
        ".hidden/train.parquet",
        "data/deep/down/train.parquet",
    ],
)
def test_other_tables_in_a_folder_are_left_alone(path: str) -> None:
    table(f"ds/{path}")
    image("ds/a.png")
    assert listed("ds") == ["ds/a.png"]
    assert Inputs(("ds",)).columns == {}


def test_tables_of_paths_or_numbers_make_no_dataset() -> None:
    image("ds/a.png")
    table("ds/train.parquet", {"path": ["a.png"], "label": [1]})
    table("ds/test.parquet", {"x": [1]})
    Path("ds/valid.parquet").write_bytes(b"no table")
    assert listed("ds") == ["ds/a.png"]


def test_a_damaged_table_among_sound_ones_is_told() -> None:
    table("ds/train-00000-of-00002.parquet")
    Path("ds/train-00001-of-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"^ds/train-00001-of-00002\.parquet is not a Parquet file"):
        Inputs(("ds",))
    assert len(listed("ds", exclude=("*-00001-*",))) == 5


def test_tables_in_order_then_the_images_beside_them() -> None:
    for split in ("train", "test"):
        table(f"ds/data/{split}-00000-of-00001.parquet")
    image("ds/assets/cover.png")
    Path("ds/README.md").touch()
    inputs = Inputs(("ds",))
    test, train = (rows(f"ds/data/{split}-00000-of-00001.parquet") for split in ("test", "train"))
    assert [one.name for one in inputs] == [*test, *train, "ds/assets/cover.png"]  # type: ignore[union-attr]
    assert inputs.left_out.suffixes == {".md": 1}
    assert inputs.left_out.kinds["other"] == 1
    assert listed("ds", include=("train-*",)) == train
    assert listed("ds", exclude=("train-*", "assets/")) == test


# --- Images with metadata ------------------------------------------------------------------------


def write_metadata(path: str, found: list[dict[str, Any]]) -> None:
    if path.endswith(".jsonl"):
        Path(path).write_text("\n".join(map(json.dumps, found)))
    elif path.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(found), path)
    else:
        lines = [",".join(found[0]), *(",".join(map(str, row.values())) for row in found)]
        Path(path).write_text("\n".join(lines))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_give_images_their_cells(suffix: str) -> None:
    for name in ("b.png", "sub/a.png", "c.png"):
        image(f"ds/{name}")
    found = [
        {"file_name": "sub/a.png", "text": "one", "n": 1},
        {"file_name": "gone.png", "text": "two", "n": 2},
        {"file_name": "b.png", "text": "three", "n": 3},
    ]
    write_metadata(f"ds/metadata.{suffix}", found)
    inputs = Inputs(("ds",))
    kind = str if suffix == "csv" else int
    assert inputs.columns == {"text": str, "n": kind}
    *images, gone = inputs
    assert [(one.name, dict(one.columns)) for one in images] == [  # type: ignore[union-attr]
        ("ds/b.png", {"text": "three", "n": kind(3)}),
        ("ds/c.png", {"text": None, "n": None}),
        ("ds/sub/a.png", {"text": "one", "n": kind(1)}),
    ]
    assert gone.columns == {"text": "two", "n": kind(2)}
    with pytest.raises(ImageError, match="no such file"):
        gone.read()  # type: ignore[union-attr]
    assert next(iter(Inputs(("ds",), keep=("n",)))).columns == {"n": kind(3)}


def test_metadata_of_each_split() -> None:
    for split, cells in (("train", {"n": 1}), ("test", {"n": "x", "m": 2})):
        image(f"ds/{split}/a.png")
        write_metadata(f"ds/{split}/metadata.jsonl", [{"file_name": "a.png", **cells}])
    inputs = Inputs(("ds",))
    assert inputs.columns == {"n": str, "m": int}
    assert [(one.name, dict(one.columns)) for one in inputs] == [  # type: ignore[union-attr]
        ("ds/test/a.png", {"n": "x", "m": 2}),
        ("ds/train/a.png", {"n": "1", "m": None}),
    ]


def test_other_files_called_metadata_change_nothing() -> None:
    image("ds/a.png")
    Path("ds/metadata.csv").write_bytes(b"camera;\xff\n")
    Path("ds/metadata.parquet").write_bytes(b"no table")
    write_metadata("ds/metadata.jsonl", [{"camera": "x"}])
    assert Inputs(("ds",)).columns == {}
    assert listed("ds") == ["ds/a.png"]


def test_two_rows_of_one_image_are_refused() -> None:
    image("ds/a.png")
    write_metadata("ds/metadata.csv", [{"file_name": "a.png", "n": 1}, {"file_name": "a.png", "n": 2}])
    with pytest.raises(UsageError, match=r"ds/a\.png has two rows"):
        Inputs(("ds",))


# --- Splits --------------------------------------------------------------------------------------


def classes(folder: str) -> list[str | None]:
    truth = FolderTruth([folder])
    return [truth(one) for one in Inputs((folder,)) if not isinstance(one, ImageFailure)]


def test_below_folders_for_splits_are_the_classes() -> None:
    for name in ("test/cat/a.png", "train/cat/deep/b.png", "train/dog/c.png", "train/none.png"):
        image(f"ds/{name}")
    assert classes("ds") == ["cat", "cat", "dog", None]
    assert classes("ds/train") == ["cat", "dog", None]


def test_classes_that_are_only_called_like_splits() -> None:
    for name in ("train/a.png", "test/b.png"):
        image(f"flat/{name}")
        image(f"mixed/{name}")
    image("mixed/bus/city/c.png")
    assert classes("flat") == ["test", "train"]
    assert classes("mixed") == ["bus", "test", "train"]
