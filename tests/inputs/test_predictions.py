"""Predictions read back: what every layout and format holds, old tables, corrections, damaged tables."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipcli.choices import LayoutName
from clipcli.errors import UsageError
from clipcli.inputs.predictions import PredictedImage, RankedLabel, located, read_predictions
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink
from clipcli.records import ImageFailure
from clipcli.scoring.classifier import Classifier, Ranking

CLASSES = ("cat", "dog", "unknown", "score")
COLUMNS: dict[str, Any] = {"sku": "A-1", "input_status": 'sold, or "new"'}


def outcomes() -> list[Any]:
    """An image that is known, one that is not, one that failed, and one with an odd name."""
    classifier = Classifier(CLASSES, np.eye(4, dtype=np.float32), 10.0, None, "softmax", "f")
    features = np.array([[1, 0.5, 0, 0], [0.5, 0.52, 0.5, 0.5], [0, 0, 1, 0]], np.float32)
    found = classifier.predict(["a.png", 'b,\n"c".png', "猫.png"], features, Ranking(3, min_margin=0.2))
    found = [one._replace(columns=COLUMNS) for one in found]
    return [found[0], ImageFailure("broken.png", "damaged image", COLUMNS), *found[1:]]


def written(path: Path, layout: LayoutName) -> list[PredictedImage]:
    made = Layout(layout, 3, CLASSES, dict.fromkeys(COLUMNS, str))
    consume(outcomes(), [RowWriter(made, open_sink(made.columns, path))])
    return list(read_predictions(str(path)))


@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("layout", ["long", "wide", "matrix"])
def test_what_was_written_is_read(layout: LayoutName, file_format: str, tmp_path: Path) -> None:
    known, failed, unknown, last = outcomes()
    read = written(tmp_path / f"predictions.{file_format}", layout)
    assert [one.image for one in read] == [known.image, failed.image, unknown.image, last.image]
    assert [one.status for one in read] == ["ok", "error", "unknown", "ok"]
    assert read[1] == PredictedImage("broken.png", (), "error", None, "damaged image", COLUMNS)
    for one, expected in zip([read[0], *read[2:]], [known, unknown, last], strict=True):
        labels = [label.label for label in one.labels][:3]
        assert labels == [each.label for each in expected.predictions]
        scores = [label.score for label in one.labels][:3]
        assert scores == pytest.approx([each.score for each in expected.predictions], rel=1e-5)
        assert one.margin == pytest.approx(expected.margin, rel=1e-4)
        assert one.columns == COLUMNS
        assert one.error is None
    if layout == "long":
        assert read[0].labels[0].cosine == pytest.approx(known.predictions[0].cosine, rel=1e-5)


OLD_LONG = "image,rank,label,score,cosine,error\n"


def test_a_table_without_status_tells_the_unknown_by_their_label(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text(
        OLD_LONG
        + "a.png,1,cat,0.9,0.3,\na.png,2,dog,0.1,0.2,\nb.png,1,unknown,0.4,0.2,\nc.png,,,,,damaged image\n"
    )
    cat, unknown, failed = read_predictions(str(path))
    assert cat.labels == (RankedLabel("cat", 0.9, 0.3), RankedLabel("dog", 0.1, 0.2))
    assert cat.margin == pytest.approx(0.8)
    assert (unknown.status, unknown.labels) == ("unknown", ())
    assert (failed.status, failed.error) == ("error", "damaged image")


def test_corrections_and_tables_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("image,label,was\na.png,cat,dog\nb.png,,cat\n")
    cat, none = read_predictions(str(path))
    assert (cat.labels, cat.status, cat.columns) == ((RankedLabel("cat"),), "ok", {"was": "dog"})
    assert (none.labels, none.status) == ((), "unknown")
    path.write_text("file_name;label;score\r\na.png;cat;0,75\r\n")
    (german,) = read_predictions(str(path))
    assert german.labels == (RankedLabel("cat", 0.75),)


def test_nested_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "nested.jsonl"
    ranked = [{"label": "cat", "score": 0.7, "cosine": 0.3}, {"label": "dog", "score": 0.3, "cosine": 0.2}]
    rows = [
        {"image": "a.png", "status": "unknown", "margin": 0.4, "error": None, "predictions": ranked, "n": 1},
        {"image": "b.png", "status": "error", "margin": None, "error": "damaged", "predictions": []},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    unknown, failed = read_predictions(str(path))
    assert unknown.labels == (RankedLabel("cat", 0.7, 0.3), RankedLabel("dog", 0.3, 0.2))
    assert (unknown.status, unknown.margin, unknown.columns) == ("unknown", 0.4, {"n": 1})
    assert (failed.status, failed.error, failed.labels) == ("error", "damaged", ())


def test_an_image_that_is_named_twice_is_two_images(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text(OLD_LONG + "a.png,1,cat,0.9,0.3,\na.png,2,dog,0.1,0.2,\na.png,1,cat,0.9,0.3,\n")
    assert [len(one.labels) for one in read_predictions(str(path))] == [2, 1]


def test_rows_that_were_sorted_apart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sorted.csv"
    path.write_text(OLD_LONG + "a.png,1,cat,0.9,0.3,\nb.png,1,cat,0.9,0.3,\na.png,2,dog,0.1,0.2,\n")
    with pytest.raises(UsageError, match=r"line 4: the labels of a\.png do not begin with rank 1") as refused:
        list(read_predictions(str(path)))
    assert "Sort the rows by image and rank" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,price\na.png,3\n", "holds no predictions: it has no column `label`"),
        ("sku,label\n1,cat\n", "no column `image`"),
        ("image,label\n,cat\n", "line 2: no image is named"),
        ("image,label,score\na.png,cat,much\n", "line 2: 'much' is no number"),
        ("image,label\na.png,cat,dog\n", "line 2: not 2 columns but 3 cells"),
    ],
)
def test_what_are_no_predictions(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        list(read_predictions(str(path)))


@pytest.mark.parametrize("name", ["missing.csv", "predictions.txt"])
def test_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=name):
        list(read_predictions(str(tmp_path / name)))


@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl"])
def test_a_name_that_is_no_text_keeps_its_bytes(file_format: str, tmp_path: Path) -> None:
    made = Layout("long", 1, CLASSES)
    name = os.fsdecode(b"caf\xe9.png")
    known = outcomes()[0]
    predictions = tuple(one._replace(image=name) for one in known.predictions)
    path = tmp_path / "predictions.csv"
    consume(
        [known._replace(image=name, predictions=predictions)],
        [RowWriter(made, open_sink(made.columns, path))],
    )
    assert [one.image for one in read_predictions(str(path))] == [name]


def test_sheets_that_continue_the_first_one_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.output.xlsx.workbook.MAX_ROWS", 3)
    read = written(tmp_path / "predictions.xlsx", "long")
    assert [one.image for one in read] == [one.image for one in outcomes()]
    assert [len(one.labels) for one in read] == [3, 0, 3, 3]


def test_rows_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("image,label\n" + "a.png,cat\n" * 1001 + "a.png,cat,dog\n")
    images = read_predictions(str(path))
    assert [next(images).image for _ in range(1000)] == ["a.png"] * 1000


def test_relative_paths_start_at_the_table_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    assert located("a.png", "there/predictions.csv") == "there/a.png"
    assert located("b.png", "there/predictions.csv") == "b.png"
    assert located("/x/b.png", "there/predictions.csv") == "/x/b.png"


@pytest.mark.parametrize(
    "name", ["s.zip!/a/b.png", "S.TAR.GZ!/a.png", "clip.mp4#t=3.0", "a.pdf#page=2", "t.parquet#7"]
)
def test_what_lies_in_a_file_is_found_beside_the_table_if_the_file_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(name, "there/predictions.csv") == name
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / re.split("!/|#", name)[0]).touch()
    assert located(name, "there/predictions.csv") == f"there/{name}"
