"""`clipcli eval` end to end, with the bundled model on the examples."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import EXAMPLES, Result

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
TRUTH = pd.read_csv(EXAMPLES / "labels.csv").set_index("image").label

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def sorted_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples in a folder for each class; one path, and so one version, for all tests."""
    folder = tmp_path_factory.mktemp("sorted")
    for image, label in TRUTH.items():
        (folder / label.replace(" ", "_")).mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / str(image), folder / label.replace(" ", "_") / str(image))
    return folder


def measured(
    run_cli: Cli, tmp_path: Path, *arguments: object, code: int = 0
) -> tuple[dict[str, Any], Result]:
    """The JSON of a run, and what it printed."""
    path = tmp_path / "metrics.json"
    result = run_cli("eval", *arguments, *NANO, "-o", path)
    assert result.code == code, result.err
    return json.loads(path.read_text(encoding="utf-8")), result


def test_folders_of_classes_are_measured_as_classify_labels_them(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path
) -> None:
    """The label is `light bulb` and the folder `light_bulb`."""
    options = ("--classes", EXAMPLES / "classes.txt")
    content, result = measured(run_cli, tmp_path, sorted_examples, *options, "-o", tmp_path / "m.csv")
    run_cli("classify", sorted_examples, *options, *NANO, "-k", 1, "-o", tmp_path / "predictions.csv")
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    true = predictions.image.map(lambda image: TRUTH[Path(image).name])
    assert content["images"] == 58
    assert content["acc1"] == pytest.approx((predictions.label == true).mean())
    assert content["acc1"] >= 0.8
    recalls = (predictions.label == true).groupby(true).mean()
    assert content["mean_per_class_recall"] == pytest.approx(recalls.mean())
    assert {one["label"]: one["recall"] for one in content["per_class"]} == pytest.approx(dict(recalls))
    assert sum(one["images"] for one in content["confused"]) == (predictions.label != true).sum()
    assert content["model"] == "nano"
    assert f"top-1,{content['acc1']:.1%},{content['acc1_low']:.1%} to " in result.out
    assert "Classes, the worst first" in result.out
    assert "classes with fewer than 5 images, whose figures say little: cat (4), light bulb (4)" in result.err
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = {(row["metric"], row["label"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["acc1", ""]) == pytest.approx(content["acc1"])


def test_folders_are_not_taken_for_a_column_in_silence(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    rows = [(image, image.parent.name, "cat") for image in sorted(sorted_examples.glob("*/*"))]
    pd.DataFrame(rows, columns=["image", "folder", "Label"]).to_csv(table, index=False)
    content, result = measured(run_cli, tmp_path, "--from-file", table)
    assert content["acc1"] > 0.8
    assert "not the column Label: if it has them, use --truth-column Label" in result.err
    _, result = measured(run_cli, tmp_path, "--from-file", table, "--truth-column", "folder")
    assert "taken for their true labels" not in result.err


def test_without_labels_the_folders_are_the_labels(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path
) -> None:
    content, _ = measured(run_cli, tmp_path, sorted_examples)
    assert [one["label"] for one in content["per_class"]] == sorted(TRUTH.str.replace(" ", "_").unique())
    assert content["acc1"] >= 0.8


def test_a_table_of_labels_gives_the_same_figures_as_folders(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path
) -> None:
    options = ("--classes", EXAMPLES / "classes.txt")
    folders, _ = measured(run_cli, tmp_path, sorted_examples, *options)
    for arguments in (
        (EXAMPLES, "--truth", EXAMPLES / "labels.csv"),
        ("--truth", EXAMPLES / "labels.csv"),
        ("--from-file", EXAMPLES / "labels.csv", "--truth-column", "label"),
    ):
        content, _ = measured(run_cli, tmp_path, *arguments, *options)
        assert content["per_class"] == folders["per_class"]
        assert content["acc5"] == folders["acc5"]


def test_true_labels_that_meet_none_are_told_with_the_nearest(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path
) -> None:
    labels = "cat,FISH,sun,house,bicycles,rocket,umbrella,camera,book,key,Light-Bulb"
    content, result = measured(run_cli, tmp_path, sorted_examples, "--labels", labels)
    assert "true labels that are none of the labels: bicycle (5, nearest: bicycles), heart (5)" in result.err
    assert "left out, without a true label among the labels: 10 of 58 images" in result.err
    assert "1 of 11 labels have no image" in result.err
    assert (content["images"], content["left_out"]) == (48, 10)
    assert content["per_class"][1]["label"] == "FISH"


def test_several_labels_an_image(run_cli: Cli, tmp_path: Path) -> None:
    labels = TRUTH[TRUTH.isin(["cat", "sun", "key"])]
    table = tmp_path / "labels.csv"
    several = labels.replace("cat", "cat|Sun").rename(lambda image: str(EXAMPLES / image))
    several.to_csv(table)
    content, result = measured(run_cli, tmp_path, "--truth", table, "--labels", "cat,sun,key")
    options = ("--labels", "cat,sun,key", "--score", "cosine", "--layout", "matrix")
    run_cli("classify", "--from-file", table, *options, *NANO, "-o", tmp_path / "cosines.csv")
    cosines = pd.read_csv(tmp_path / "cosines.csv").set_index("image")
    for one in content["per_class"]:
        ranked = several[cosines[one["label"]].sort_values(ascending=False).index]
        positive = ranked.str.lower().str.contains(one["label"]).to_numpy()
        precision = positive.cumsum() / range(1, len(positive) + 1)
        assert one["average_precision"] == pytest.approx(precision[positive].mean())
    assert [one["support"] for one in content["per_class"]] == [4, 9, 5]
    precisions = [one["average_precision"] for one in content["per_class"]]
    assert content["mean_average_precision"] == pytest.approx(sum(precisions) / 3)
    assert "acc1" not in content
    assert f"mean average precision,{content['mean_average_precision']:.1%}\n" in result.out


def test_labels_to_check_are_those_that_were_given_wrongly(run_cli: Cli, tmp_path: Path) -> None:
    labels = TRUTH.copy()
    labels["sun-1.png"] = "umbrella"
    table = tmp_path / "labels.csv"
    labels.rename(lambda image: str(EXAMPLES / image)).to_csv(table)
    content, result = measured(run_cli, tmp_path, "--truth", table, "--classes", EXAMPLES / "classes.txt")
    (found,) = [one for one in content["labels_to_check"] if one["image"] == str(EXAMPLES / "sun-1.png")]
    assert (found["truth"], found["predicted"]) == ("umbrella", "sun")
    assert found["score"] - found["truth_score"] >= 0.5
    assert "Labels to check" in result.out


def test_an_accuracy_that_guessing_has_is_warned_of(run_cli: Cli, tmp_path: Path) -> None:
    swapped = {"cat": "sun", "sun": "cat"}
    lines = [
        f"{EXAMPLES / str(image)},{swapped[label]}" for image, label in TRUTH.items() if label in swapped
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *lines]))
    _, result = measured(run_cli, tmp_path, "--truth", tmp_path / "labels.csv")
    assert "no better than guessing (50.0%)" in result.err


def test_an_image_that_cannot_be_read_is_told_and_left_out(run_cli: Cli, tmp_path: Path) -> None:
    for label in ("cat", "sun"):
        (tmp_path / "set" / label).mkdir(parents=True)
        shutil.copy(EXAMPLES / f"{label}-2.png", tmp_path / "set" / label)
    (tmp_path / "set" / "cat" / "broken.png").write_bytes(b"no image")
    content, result = measured(run_cli, tmp_path, tmp_path / "set", code=3)
    assert (content["images"], content["failed"]) == (2, 1)
    assert "broken.png" in result.err
    assert run_cli("eval", tmp_path / "set", *NANO, "--allow-failures", "--quiet").code == 0


def test_a_list_on_a_pipe_is_read_once(
    run_cli: Cli, sorted_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(map(str, sorted(sorted_examples.glob("[cs]*/*")))))
    with (tmp_path / "list.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        content, _ = measured(run_cli, tmp_path, "-")
    assert [one["label"] for one in content["per_class"]] == ["camera", "cat", "sun"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EXAMPLES,), "all images have the same true label, 'drawings'"),
        ((EXAMPLES, "--labels", "cat,dog"), "no true label is one of the labels"),
        ((EXAMPLES, "--truth-column", "label"), "--truth-column names a column, but there is no table"),
        ((EXAMPLES, "--truth", "none.csv"), "none.csv: No such file or directory"),
        ((EXAMPLES, "-o", "metrics.xlsx"), "cannot tell the output format of metrics.xlsx"),
        ((), "no images given"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    run_cli: Cli, arguments: tuple[object, ...], message: str
) -> None:
    result = run_cli("eval", *arguments, *NANO)
    assert result.code == 2
    assert message in result.err


def test_a_table_of_other_images_is_told(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\nother.png,cat\n")
    result = run_cli("eval", EXAMPLES, "--truth", tmp_path / "labels.csv", "--labels", "cat,dog", *NANO)
    assert result.code == 2
    assert "no image has a true label" in result.err
    assert "Paths in a table of true labels start at its folder" in result.err
