"""`clipcli probe` and `review-next`, and the loop that they are for, with the bundled model on drawings."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from PIL import Image

import clipcli

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
LABELS = ("cat", "fish", "key")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve examples in a folder for each class."""
    folder = tmp_path_factory.mktemp("labelled")
    for label in LABELS:
        (folder / label).mkdir()
        for path in sorted(EXAMPLES.glob(f"{label}-*"))[:4]:
            shutil.copy2(path, folder / label)
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


# --- The classifier ------------------------------------------------------------------------------


def test_words_alone_stand_beside_what_is_used(run_cli: Cli, labelled: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    result = run_cli("probe", labelled, *NANO, "-o", file)
    assert result.code == 0, result.err
    found = {row["classifier"]: row for row in rows_of(result.out)}
    assert found["zero-shot"]["95% interval"].endswith("%")
    assert sum(row["used"] == "yes" for row in rows_of(result.out)) == 1
    again = tmp_path / "again.safetensors"
    assert run_cli("probe", labelled, *NANO, "-o", again).code == 0
    assert file.read_bytes() == again.read_bytes()


def test_classify_uses_the_file_without_torch_once_the_images_are_known(
    run_cli: Cli, labelled: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "mine.safetensors", tmp_path / "out.csv"
    words = ("--labels", "dog,house,sun", "--method", "prototype")
    assert run_cli("probe", labelled, *NANO, *words, "-o", file).code == 0
    before = set(sys.modules)
    result = run_cli("classify", labelled, *NANO, "--classifier", file, "--layout", "wide", "-o", out)
    assert result.code == 0, result.err
    assert "12 known from the cache" in result.err
    assert not {"torch", "open_clip"} & (set(sys.modules) - before)
    rows = pd.read_csv(out)
    truth = rows.image.map(lambda image: Path(image).parent.name)
    assert (rows.label == truth).mean() > 0.9, "classes without words"
    metrics = tmp_path / "metrics.json"
    result = run_cli("eval", labelled, *NANO, "--classifier", file, "-o", metrics)
    assert result.code == 0, result.err
    measured = json.loads(metrics.read_text())
    assert measured["acc1"] == pytest.approx((rows.label == truth).mean())
    probe = clipcli.load_classifier(file)
    assert probe.classnames == ("dog", "house", "sun", *LABELS), "words without examples stay"


def test_the_python_function_gives_the_same_classifier(
    run_cli: Cli, labelled: Path, tmp_path: Path, nano: object
) -> None:
    file = tmp_path / "mine.safetensors"
    assert run_cli("probe", labelled, *NANO, "-o", file).code == 0
    images = sorted(labelled.glob("*/*"))
    features = np.stack([one.features for one in clipcli.encode(images, nano)])  # type: ignore
    words = clipcli.build_classifier(nano, LABELS)  # type: ignore[arg-type]
    truths = [path.parent.name for path in images]
    probe, report = clipcli.fit_probe(nano, features, truths, words)  # type: ignore[arg-type]
    loaded = clipcli.load_classifier(file)
    assert (loaded.weights is None) == (probe.weights is None)
    if probe.weights is not None and loaded.weights is not None:
        np.testing.assert_allclose(loaded.weights, probe.weights, atol=1e-4)
    assert report.examples == 12


def test_tables_and_folders_go_together_and_one_image_has_one_label(
    run_cli: Cli, labelled: Path, tmp_path: Path
) -> None:
    table = tmp_path / "corrections.csv"
    sun = EXAMPLES / "sun-1.png"
    table.write_text(f"image,label,was\n{sun},sun,key\n{EXAMPLES / 'sun-2.png'},sun,\n")
    file = tmp_path / "mine.safetensors"
    result = run_cli("probe", labelled, table, *NANO, "-o", file)
    assert result.code == 0, result.err
    assert set(clipcli.load_classifier(file).classnames) == {*LABELS, "sun"}
    table.write_text(f"image,label\n{labelled / 'cat' / 'cat-1.jpg'},dog\n")
    result = run_cli("probe", labelled, table, *NANO)
    assert result.code == 2
    assert "has several labels: dog and cat" in result.err


def test_one_example_a_class_is_told(run_cli: Cli, labelled: Path, tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / "one" / label).mkdir(parents=True)
        shutil.copy2(next((labelled / label).glob("*-1.*")), tmp_path / "one" / label)
    result = run_cli("probe", tmp_path / "one", *NANO)
    assert result.code == 0, result.err
    assert "with one example a class, none can be held out" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "mine.csv"), "cannot write a classifier as mine.csv"),
        (("--shots", "1,2", "-o", "mine.safetensors"), "cannot write a curve as mine.safetensors"),
        (("--shots", "one"), "must be whole numbers"),
        (("--seeds", "3"), "--seeds needs --shots"),
        (("--no-words", "--labels", "cat"), "takes neither labels nor templates"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(
    run_cli: Cli, labelled: Path, options: tuple[str, ...], message: str
) -> None:
    result = run_cli("probe", labelled, *NANO, *options)
    assert result.code == 2
    assert message in result.err


# --- The curve -----------------------------------------------------------------------------------


def test_the_curve_is_a_table_a_csv_and_a_chart(run_cli: Cli, labelled: Path, tmp_path: Path) -> None:
    files = [tmp_path / "curve.csv", tmp_path / "curve.svg"]
    outputs = [word for file in files for word in ("-o", file)]
    result = run_cli("probe", labelled, *NANO, "--shots", "1,2", "--seeds", 3, *outputs)
    assert result.code == 0, result.err
    shown, table = rows_of(result.out), pd.read_csv(files[0])
    assert table.shots.tolist() == [1, 2]
    assert table.images.tolist() == [6, 6]
    for row, (_, figures) in zip(shown, table.iterrows(), strict=True):
        assert row["probe"] == f"{figures.probe:.1%}"
        assert row["zero-shot"] == f"{figures.zero_shot:.1%}"
        assert figures.probe_low <= figures.probe <= figures.probe_high
    marks = ET.parse(files[1]).iter("{http://www.w3.org/2000/svg}circle")
    heights = [340 - 300 * value for column in ("zero_shot", "probe") for value in table[column]]
    assert [float(mark.attrib["cy"]) for mark in marks] == pytest.approx(heights, abs=0.06)


# --- The loop ------------------------------------------------------------------------------------


def test_thirty_corrections_make_the_other_270_images_better(run_cli: Cli, tmp_path: Path) -> None:
    names = sorted({path.stem[:-2] for path in EXAMPLES.glob("*-1.*")})
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in names:  # 25 of each of twelve kinds
        drawings = sorted(EXAMPLES.glob(f"{name}-?.*"))
        for number in range(25):
            with Image.open(drawings[number % len(drawings)]) as image:
                small = image.convert("RGBA").resize((96, 96))
            small.rotate(17 * (number // len(drawings))).save(photos / f"{name}-{number:02}.png")
    predictions, following = tmp_path / "predictions.csv", tmp_path / "next.csv"
    words = ("--labels", ",".join(names))
    assert run_cli("classify", photos, *words, *NANO, "-o", predictions).code == 0
    result = run_cli("review-next", predictions, "-n", 30, *NANO, "-o", following)
    assert result.code == 0, result.err
    asked = pd.read_csv(following)
    assert len(asked) == asked.image.nunique() == 30
    corrections, file = tmp_path / "corrections.csv", tmp_path / "mine.safetensors"
    asked.assign(was=asked.label, label=asked.image.map(true_label))[["image", "label", "was"]].to_csv(
        corrections, index=False
    )
    result = run_cli("probe", corrections, *words, *NANO, "-o", file)
    assert result.code == 0, result.err
    second = tmp_path / "second.csv"
    result = run_cli("classify", photos, "--classifier", file, *NANO, "-o", second)
    assert "300 known from the cache" in result.err
    before, after = (accuracy_without(path, set(asked.image)) for path in (predictions, second))
    assert after > before + 0.02, (before, after)
    assert run_cli("report", second, "-o", tmp_path / "report.html").code == 0


def test_the_next_images_are_chosen_by_features_as_they_were_made(run_cli: Cli, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions.csv"
    exact = (*NANO, "--exact-decode", "--cache", tmp_path / "cache")
    assert run_cli("classify", EXAMPLES, "-l", "cat,fish", *exact, "-o", predictions).code == 0
    result = run_cli("review-next", predictions, "-n", 3, *exact, "-o", tmp_path / "next.csv")
    assert "58 known from the cache" in result.err
    result = run_cli("review-next", predictions, "-n", 3, *NANO, "--cache", tmp_path / "cache")
    assert "known from the cache" not in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("eval", EXAMPLES, "--truth", EXAMPLES / "labels.csv"),
        ("probe", EXAMPLES / "labels.csv"),
        ("search", "a cat", EXAMPLES),
        ("prompts", "-l", "cat,dog", "-o", "never.npz"),
        ("classify", EXAMPLES, "-l", "cat,dog"),
        ("embed", EXAMPLES, "-o", "never.npz"),
    ],
)
def test_values_that_cannot_be_are_told_before_the_model_is_loaded(
    run_cli: Cli, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_cli(*words, "--model", f"local-dir:{tmp_path}/none", "--batch-size", 0)
    assert (result.code, result.err) == (2, "error: --batch-size must be at least 1, not 0\n")


def true_label(image: str) -> str:
    return Path(image).stem[:-3]


def accuracy_without(path: Path, left_out: set[str]) -> float:
    rows = pd.read_csv(path)
    best = rows[(rows["rank"] == 1) & ~rows.image.isin(left_out)]
    assert len(best) == 270
    return float((best.label == best.image.map(true_label)).mean())
