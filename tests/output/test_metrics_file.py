"""Figures in files: names, values, and places that cannot serve."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from clipcli.errors import OutputError, UsageError
from clipcli.output.metrics_file import check_outputs, write_metrics
from clipcli.scoring.comparison import Comparison, all_differences
from clipcli.scoring.evaluation import Doubt, Estimate, evaluate_classification, evaluate_multilabel
from clipcli.scoring.fitting import ClassThreshold, FitOptions, FitReport, Measures
from clipcli.scoring.retrieval import evaluate_retrieval
from clipcli.scoring.thresholds import NEVER

NAMES = ["cat", "dog, big", "c", "d", "e"]
TARGET, PREDICTED = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
FIGURES = evaluate_classification(
    NAMES,
    TARGET,
    PREDICTED,
    np.array([0, 1, 0, 0]),
    np.full(4, 0.9, np.float32),
    [Doubt("caf\udce9.png", "cat", 0.1, "dog, big", 0.9)],
)


def test_json_has_the_names_of_clip_benchmark_and_ours(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, FIGURES, {"model": "nano"})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["model"] == "nano"
    assert (content["acc1"], content["acc5"], content["mean_per_class_recall"]) == (0.75, 1, 0.75)
    assert content["acc1_low"] <= 0.75 <= content["acc1_high"]
    assert (content["images"], content["classes"], content["chance"]) == (4, 5, 0.2)
    assert {"macro_f1", "ece_equal_mass", "ece_equal_width"} < content.keys()
    assert content["per_class"][0] == {
        "label": "cat",
        "precision": 1,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    assert content["confused"] == [{"truth": "cat", "predicted": "dog, big", "images": 1}]
    assert content["labels_to_check"][0]["image"] == "caf\udce9.png"
    assert list(tmp_path.iterdir()) == [path]


def test_csv_has_a_row_for_each_figure(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, FIGURES, {"model": "nano"})
    with path.open(encoding="utf-8", newline="") as file:
        rows = {(row["metric"], row["label"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["acc1", ""]) == 0.75
    assert float(rows["recall", "cat"]) == 0.5
    assert float(rows["support", "dog, big"]) == 2
    assert list(tmp_path.iterdir()) == [path]


ESTIMATE = Estimate(0.5, 0.25, 0.75)
FIT = FitReport(
    fitted_on=20,
    images=19,
    options=FitOptions(min_precision=0.9, coverage=0.99, seed=3),
    fitted_acc1=0.5,
    temperature=None,
    quantile=math.inf,
    measures=Measures(ESTIMATE, ESTIMATE, ESTIMATE, ESTIMATE, None, ESTIMATE, Estimate(5, 5, 5)),
    per_class=[
        ClassThreshold("cat", 0.25, 9, 8, 7, ESTIMATE),
        ClassThreshold("dog, big", None, 1, 2, 2, ESTIMATE),
        ClassThreshold("c", NEVER, 10, 9, 0, None),
    ],
)


def test_figures_of_a_fitted_classifier(tmp_path: Path) -> None:
    for name in ("m.json", "m.csv"):
        write_metrics(tmp_path / name, FIGURES, {"model": "nano"}, FIT)
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    fit = content["fit"]
    assert (fit["fitted_on"], fit["images"], fit["seed"], fit["min_precision"]) == (20, 19, 3, 0.9)
    assert (fit["coverage_asked_for"], fit["temperature"], fit["conformal_quantile"]) == (0.99, None, None)
    assert (fit["ece_after"], fit["ece_after_low"], fit["ece_after_high"]) == (0.5, 0.25, 0.75)
    assert "acc1_kept" not in fit
    assert [one["threshold"] for one in fit["per_class"]] == [0.25, None, None]
    assert [one["is_always_unknown"] for one in fit["per_class"]] == [False, False, True]
    assert [one["precision"] for one in fit["per_class"]] == [0.5, 0.5, None]
    assert (content["images"], content["acc1"]) == (4, 0.75)
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["metric"], row["label"]): row["value"] for row in csv.DictReader(file)}
    assert (float(rows["images", ""]), float(rows["fit_images", ""])) == (4, 19)
    assert (float(rows["precision", "cat"]), float(rows["fit_precision", "cat"])) == (1, 0.5)
    assert (rows["fit_threshold", "c"], float(rows["fit_is_always_unknown", "c"])) == ("", 1)
    write_metrics(tmp_path / "m.json", FIGURES, {})
    assert "fit" not in json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))


def test_several_labels_an_image(tmp_path: Path) -> None:
    figures = evaluate_multilabel(["a", "b"], np.array([[0.9, 0], [0.1, 0]], np.float32), [(0,), (0,)])
    write_metrics(tmp_path / "m.json", figures, {})
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["mean_average_precision"] == 1
    assert content["per_class"][1] == {"label": "b", "average_precision": None, "support": 0}
    write_metrics(tmp_path / "m.csv", figures, {})
    assert "average_precision,b,\n" in (tmp_path / "m.csv").read_text()


def test_places_that_cannot_serve_are_refused_before_the_work(tmp_path: Path) -> None:
    check_outputs([tmp_path / "a.json", tmp_path / "a.CSV"])
    with pytest.raises(UsageError, match="cannot tell the output format"):
        check_outputs([tmp_path / "metrics.xlsx"])
    with pytest.raises(UsageError, match="no such folder"):
        check_outputs([tmp_path / "none" / "metrics.json"])
    with pytest.raises(UsageError, match="named twice"):
        check_outputs([tmp_path / "a.json", tmp_path / ".." / tmp_path.name / "a.json"])


def test_an_older_file_stays_if_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_metrics(path, FIGURES, {})
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def read_csv(path: Path) -> dict[tuple[str, str], str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["metric"], row["label"]): row["value"] for row in csv.DictReader(file)}


def test_a_comparison_has_the_figures_of_each_and_all_pairs(tmp_path: Path) -> None:
    right = np.array([[True, False, True, True], [True, True, True, True], [True, False, True, True]])
    names = ["photo", "icons", "mine.txt"]
    found = Comparison("templates", names, [FIGURES] * 3, all_differences(names, right))
    write_metrics(tmp_path / "m.json", found, {"model": "nano"})
    content = json.loads((tmp_path / "m.json").read_text())
    assert (content["model"], content["comparison"], content["images"]) == ("nano", "templates", 4)
    first, icons, mine = content["compared"]
    assert (first["name"], first["acc1"], first["classes"]) == ("photo", 0.75, 5)
    assert first["per_class"][0]["label"] == "cat"
    assert not {"acc1_difference", "mcnemar_p"} & first.keys()
    assert not {"confused", "labels_to_check", "images"} & first.keys()
    assert (icons["acc1_difference"], icons["only_first_right"], icons["only_second_right"]) == (0.25, 0, 1)
    assert (icons["mcnemar_p"], icons["tie"]) == (1, True)
    assert mine["acc1_difference_low"] == mine["acc1_difference_high"] == 0
    assert [(one["first"], one["second"], one["acc1_difference"]) for one in content["pairs"]] == [
        ("photo", "icons", 0.25),
        ("photo", "mine.txt", 0),
        ("icons", "mine.txt", -0.25),
    ]
    write_metrics(tmp_path / "m.csv", found, {})
    rows = read_csv(tmp_path / "m.csv")
    assert float(rows["images", ""]) == 4
    assert float(rows["acc1", "mine.txt"]) == 0.75
    assert float(rows["acc1_difference", "icons"]) == 0.25
    assert float(rows["tie", "icons"]) == 1
    assert ("acc1_difference", "photo") not in rows


def test_recall_has_the_names_of_clip_benchmark(tmp_path: Path) -> None:
    axes = np.eye(6, dtype=np.float32)
    found = evaluate_retrieval(axes[:5], axes[[1, 1, 2, 3, 4]], [[0], [1], [2], [3], [4]])
    write_metrics(tmp_path / "m.json", found, {"left_out": 0})
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["image_retrieval_recall@1"] == 0.8
    assert content["text_retrieval_recall@5"] == 1
    assert content["image_retrieval_recall@1_low"] < 0.8 < content["image_retrieval_recall@1_high"]
    assert "image_retrieval_recall@10" not in content
    assert (content["images"], content["captions"], content["image_retrieval_chance@1"]) == (5, 5, 0.2)
    write_metrics(tmp_path / "m.csv", found, {})
    assert float(read_csv(tmp_path / "m.csv")["image_retrieval_recall@1", ""]) == 0.8
