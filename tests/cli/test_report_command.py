"""Reports from the command line: beside tables, of evaluations, from predictions; and the way back."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import Opened, chromium
from conftest import EXAMPLES, Result

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
CLASSES = ("--classes", EXAMPLES / "classes.txt")
TRUTH = pd.read_csv(EXAMPLES / "labels.csv").set_index("image").label

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder above some examples; one path, and so one version, for all tests."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "photos").mkdir()
    for name in list(TRUTH.index)[::4]:
        shutil.copy(EXAMPLES / name, folder / "photos" / name)
    return folder


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(photos)
    return photos


def data_of(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])


def labels_of(data: dict[str, Any]) -> list[list[tuple[str, float]]]:
    return [[(data["labels"][label], score) for label, score in ranked] for ranked in data["ranked"]]


def test_a_report_is_written_beside_a_table_of_the_same_run(run_cli: Cli, here: Path, tmp_path: Path) -> None:
    table, report = tmp_path / "a.csv", tmp_path / "a.html"
    result = run_cli(
        "classify", "photos", *CLASSES, *NANO, "-k", 3, "--min-margin", 0.2, "-o", table, "-o", report
    )
    assert result.code == 0, result.err
    assert f"wrote {table}, {report}" in result.err
    data, frame = data_of(report), pd.read_csv(table)
    best = frame[frame["rank"] == 1]
    assert data["names"] == best.image.tolist()
    assert data["title"] == "photos"
    assert data["model"] == "nano"
    assert len(data["labels"]) == 12, "all labels of the run, to choose from"
    assert labels_of(data) == [
        list(zip(rows.label, rows.score, strict=True)) for _, rows in frame.groupby("image", sort=False)
    ]
    assert data["margins"] == best.margin.tolist()
    assert data["statuses"] == [["ok", "unknown"].index(status) for status in best.status]
    assert 1 in data["statuses"]
    addresses = [os.path.normpath(tmp_path / address) for address in data["addresses"]]
    assert addresses == [str(here / name) for name in data["names"]]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_report_of_predictions_is_that_of_their_run(
    run_cli: Cli, here: Path, tmp_path: Path, suffix: str
) -> None:
    """The table has another folder, with no images: paths start at the working directory."""
    table, one, other = tmp_path / f"a.{suffix}", tmp_path / "one.html", tmp_path / "other.html"
    run = ("classify", "photos", *CLASSES, *NANO, "-k", 12, "--min-margin", 0.2)
    assert run_cli(*run, "-o", table, "-o", one).code == 0
    result = run_cli("report", table, "-o", other)
    assert (result.code, result.out, result.err) == (0, "", f"wrote {other}\n")
    made, read = data_of(one), data_of(other)
    assert labels_of(read) == labels_of(made)
    for same in ("names", "margins", "statuses", "addresses", "columns", "cells"):
        assert read[same] == made[same], same
    assert read["title"] == table.name


def test_columns_and_failures_are_in_the_report(run_cli: Cli, here: Path, tmp_path: Path) -> None:
    name = sorted(path.name for path in (here / "photos").iterdir())[0]
    (tmp_path / "products.csv").write_text(f"path,sku\n{here}/photos/{name},A-1\nnone.png,A-2\n")
    for suffix in ("csv", "html"):
        run = ("classify", "--from-file", tmp_path / "products.csv", *CLASSES, *NANO)
        assert run_cli(*run, "-o", tmp_path / f"a.{suffix}").code == 3
    run_cli("report", tmp_path / "a.csv", "-o", tmp_path / "b.html")
    for report in ("a.html", "b.html"):
        data = data_of(tmp_path / report)
        assert (data["columns"], data["cells"]) == (["sku"], [["A-1"], ["A-2"]])
        assert data["errors"] == {"1": "no such file"}
        assert data["statuses"] == [0, 2]


def test_images_are_found_beside_their_table_or_in_a_folder(
    run_cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    name = sorted(path.name for path in (photos / "photos").iterdir())[0]
    shutil.copy(photos / "photos" / name, tmp_path / "elsewhere" / name)
    table = f"image,rank,label,score,cosine,error\n{name},1,cat,0.5,0.2,\n"
    (tmp_path / "elsewhere" / "a.csv").write_text(table)
    (tmp_path / "b.csv").write_text(table)
    found, lost = (
        run_cli("report", "elsewhere/a.csv", "-o", "a.html"),
        run_cli("report", "b.csv", "-o", "b.html"),
    )
    assert (found.err, data_of(tmp_path / "a.html")["addresses"]) == ("wrote a.html\n", [f"elsewhere/{name}"])
    assert lost.code == 0
    assert lost.err.startswith("warning: b.html: 1 of 1 images cannot be read now")
    named = run_cli("report", "b.csv", "-o", "b.html", "--images", "elsewhere")
    assert (named.err, data_of(tmp_path / "b.html")["addresses"]) == ("wrote b.html\n", [f"elsewhere/{name}"])


def test_a_report_can_be_opened(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    (tmp_path / "a.csv").write_text("image,rank,label,score,cosine,error\na.png,1,cat,0.5,0.2,\n")
    assert run_cli("report", tmp_path / "a.csv", "-o", tmp_path / "a b.html", "--open").code == 0
    assert addresses == [f"file://{tmp_path}/a%20b.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "html"), "a report cannot go to standard output"),
        (("-o", "a.html", "-o", "a.html"), "a.html is named twice as an output"),
        (("-o", "none/a.html"), "no such folder: none"),
        (("-o", "a.html", "-o", "b.html", "--format", "html"), "one format, html, for 2 outputs"),
        (("-o", "a.doc"), "cannot tell the output format of a.doc"),
    ],
)
def test_outputs_that_cannot_be_are_refused(
    run_cli: Cli, here: Path, words: tuple[str, ...], message: str
) -> None:
    result = run_cli("classify", "photos", "-l", "cat,dog", *NANO, *words)
    assert result.code == 2
    assert message in result.err.splitlines()[0]
    assert not list(here.glob("*.html"))


def test_the_format_makes_a_report_of_any_name(run_cli: Cli, here: Path, tmp_path: Path) -> None:
    assert (
        run_cli("classify", "photos", *CLASSES, *NANO, "--format", "html", "-o", tmp_path / "page.txt").code
        == 0
    )
    assert len(data_of(tmp_path / "page.txt")["names"]) == len(list((here / "photos").iterdir()))


def test_a_table_without_predictions_is_refused(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,rank,label,score,cosine,error\n")
    result = run_cli("report", tmp_path / "a.csv", "-o", tmp_path / "a.html")
    assert (result.code, result.err.splitlines()[0]) == (2, f"error: {tmp_path / 'a.csv'} has no predictions")
    assert not (tmp_path / "a.html").exists()


# --- Evaluations ---------------------------------------------------------------------------------


def test_an_evaluation_has_figures_and_true_labels_in_its_report(
    run_cli: Cli, here: Path, tmp_path: Path
) -> None:
    TRUTH.rename(lambda name: f"photos/{name}").to_csv("labels.csv")
    outputs = ("-o", tmp_path / "a.json", "-o", tmp_path / "a.html")
    result = run_cli("eval", "photos", "--truth", "labels.csv", *CLASSES, *NANO, *outputs)
    assert result.code == 0, result.err
    data, figures = data_of(tmp_path / "a.html"), json.loads((tmp_path / "a.json").read_text())
    assert data["figures"]["acc1"] == figures["acc1"]
    true = [[data["labels"][label] for label in labels] for labels in data["truths"]]
    assert true == [[TRUTH[Path(name).name]] for name in data["names"]]
    right = [labels[0][0] == one[0] for labels, one in zip(labels_of(data), true, strict=True)]
    assert sum(right) / len(right) == figures["acc1"]
    assert all(len(labels) == 9 for labels in data["ranked"])


def test_corrections_are_true_labels(run_cli: Cli, here: Path, tmp_path: Path) -> None:
    """As the page writes them: with quotes, with odd bytes as \\xNN, and empty for none of these."""
    sources = sorted((here / "photos").iterdir())[:4]
    names = ["a, b.png", os.fsdecode(b"caf\xe9.png"), "c.png", "none.png"]
    (tmp_path / "odd").mkdir()
    for source, name in zip(sources, names, strict=True):
        shutil.copy(source, tmp_path / "odd" / name)
    labels = [TRUTH[source.name] for source in sources]
    rows = ["image,label,was", f'"a, b.png",{labels[0]},cat', rf"caf\xe9.png,{labels[1]},cat"]
    rows += [f"c.png,{labels[2]},cat", "none.png,,cat", ""]
    (tmp_path / "corrections.csv").write_text("\r\n".join(rows), newline="")
    metrics, truth = tmp_path / "m.json", ("--truth", tmp_path / "corrections.csv")
    result = run_cli("eval", tmp_path / "odd", *truth, *CLASSES, *NANO, "-o", metrics)
    assert result.code == 0, result.err
    assert json.loads(metrics.read_text())["images"] == 3
    assert "left out, without a true label among the labels: 1 of 4 images" in result.err


def test_the_round_trip(run_cli: Cli, here: Path, tmp_path: Path) -> None:
    """All labels are confirmed or corrected in the browser; `eval` then finds the accuracy that they have."""
    report = tmp_path / "report.html"
    assert run_cli("classify", "photos", *CLASSES, *NANO, "-k", 2, "-o", report).code == 0
    data = data_of(report)
    true = [TRUTH[Path(name).name] for name in data["names"]]
    ranked = [[label for label, _ in labels] for labels in labels_of(data)]
    with chromium() as browser:
        opened = Opened(browser, report)
        opened.page.select_option("#sort", "input")
        opened.press("Home")
        for label, labels in zip(true[:-1], ranked, strict=False):
            if label in labels:
                opened.press(str(labels.index(label) + 1))
            else:
                opened.press("l")
                opened.page.keyboard.type(label)
                opened.press("Enter")
            opened.press("ArrowRight")
        opened.press("0")
        (tmp_path / "corrections.csv").write_bytes(opened.exported())
        opened.close()
    with (tmp_path / "corrections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [*true[:-1], ""]
    assert [row["was"] for row in rows] == [labels[0] for labels in ranked]
    truth = ("--truth", tmp_path / "corrections.csv")
    result = run_cli("eval", "photos", *truth, *CLASSES, *NANO, "-o", tmp_path / "m.json")
    assert result.code == 0, result.err
    figures = json.loads((tmp_path / "m.json").read_text())
    right = [labels[0] == label for label, labels in zip(true[:-1], ranked, strict=False)]
    assert 0 < sum(right) < len(right), "some are corrected, some confirmed"
    assert (figures["images"], figures["acc1"]) == (len(right), sum(right) / len(right))
    assert f"left out, without a true label among the labels: 1 of {len(true)} images" in result.err
