"""`clipcli eval --fit` and what `classify` makes of the file, with the bundled model on drawn images."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from PIL import Image, ImageFilter

import clipcli
from clipcli.scoring.fitting import halves

Cli = Callable[..., Result]
FP32 = ("--device", "cpu", "--precision", "fp32")
NANO = ("--model", "nano", *FP32)
LABELS = ("cat", "fish", "key")
VARIANTS = 8

pytestmark = pytest.mark.usefixtures("shared_cache")


class Fitted(NamedTuple):
    """A file, the figures of the run that wrote it, and what this printed."""

    file: Path
    figures: dict[str, Any]
    result: Result


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turned and blurred examples in a folder for each class, some of them past recognition."""
    folder = tmp_path_factory.mktemp("drawings")
    for label in LABELS:
        (folder / label).mkdir()
        for path in sorted(EXAMPLES.glob(f"{label}-*"))[:4]:
            with Image.open(path) as image:
                drawing = image.convert("RGBA").resize((128, 128))
            for number in range(VARIANTS):
                turned = drawing.rotate(45 * number).filter(ImageFilter.GaussianBlur(number / 2))
                turned.save(folder / label / f"{path.stem}-{number}.png")
    return folder


@pytest.fixture
def fitted(run_cli: Cli, drawings: Path, tmp_path: Path) -> Callable[..., Fitted]:
    def fit(*options: object, images: object = drawings) -> Fitted:
        file, figures = tmp_path / "fitted.safetensors", tmp_path / "metrics.json"
        result = run_cli("eval", images, *NANO, "--fit", file, *options, "-o", figures)
        assert result.code == 0, result.err
        return Fitted(file, json.loads(figures.read_text(encoding="utf-8"))["fit"], result)

    return fit


def classified(run_cli: Cli, images: Path, file: Path, tmp_path: Path, *options: object) -> pd.DataFrame:
    path = tmp_path / "predictions.csv"
    result = run_cli("classify", images, "--classifier", file, *FP32, *options, "-o", path)
    assert result.code == 0, result.err
    return pd.read_csv(path, keep_default_na=False)


def test_what_is_told_of_the_other_half_is_what_classify_writes_for_it(
    fitted: Callable[..., Fitted], run_cli: Cli, drawings: Path, tmp_path: Path
) -> None:
    found = fitted("--min-precision", 0.7, "--coverage", 0.8, "--seed", 5)
    rows = classified(run_cli, drawings, found.file, tmp_path, "--layout", "wide")
    truth = rows.image.map(lambda image: Path(image).parent.name)
    target = truth.map(list(LABELS).index).to_numpy()
    _, rest = halves(target, 5)
    other, true = rows.iloc[rest], truth.iloc[rest]
    figures = found.figures
    assert (figures["fitted_on"], figures["images"], figures["seed"]) == (48, 48, 5)
    assert (other.status == "unknown").mean() == pytest.approx(figures["unknown"])
    assert (other.label == true).mean() == pytest.approx(figures["acc1"])
    kept = other.status == "ok"
    assert (other.label == true)[kept].mean() == pytest.approx(figures["acc1_kept"])
    sets = [cell.split("|") if cell else [] for cell in other.set]
    held = [label in labels for label, labels in zip(true, sets, strict=True)]
    assert np.mean(held) == pytest.approx(figures["coverage"])
    assert np.mean([len(labels) for labels in sets]) == pytest.approx(figures["set_size"])
    assert 0 < figures["unknown"] < 1
    assert figures["set_size"] > 1, "some sets have several labels"
    for one in figures["per_class"]:
        given = kept & (other.label == one["label"])
        assert given.sum() == one["kept"]
        assert (true[given] == one["label"]).mean() == pytest.approx(one["precision"])
        assert not one["is_always_unknown"]
        scores = rows.score[(rows.label == one["label"]) & (rows.status == "ok")]
        assert scores.min() >= one["threshold"] - 1e-6
    assert all(labels[0] == label for labels, label in zip(sets, other.label, strict=True) if labels)


def test_the_figures_are_printed_with_the_halves_and_the_seed(fitted: Callable[..., Fitted]) -> None:
    found = fitted("--coverage", 0.8, "--seed", 3)
    figures, out = found.figures, found.result.out
    assert "Fitted to 48 images, measured on the other 48 (seed 3)" in out
    lines = {row[0]: row[1:] for row in csv.reader(out.partition("Fitted to")[2].splitlines()) if row}
    assert lines["temperature"] == [f"{figures['temperature']:.3f}", ""]
    for line, name in (
        ("calibration error before", "ece_before"),
        ("calibration error after", "ece_after"),
        ("top-1", "acc1"),
        ("unknown", "unknown"),
        ("top-1 of the others", "acc1_kept"),
        ("sets with the true label (0.8 asked for)", "coverage"),
    ):
        low, high = figures[f"{name}_low"], figures[f"{name}_high"]
        assert lines[line] == [f"{figures[name]:.1%}", f"{low:.1%} to {high:.1%}"]
        assert low <= figures[name] <= high
    assert lines["labels in a set"][0] == f"{figures['set_size']:.2f}"
    one = next(one for one in figures["per_class"] if one["threshold"] is not None)
    assert lines[one["label"]][:4] == [
        *(f"{one['threshold']:.3f}", str(one["measured_on"]), str(one["kept"])),
        f"{one['precision']:.1%}",
    ]
    assert "fitted.safetensors" in found.result.err
    fitted_to = clipcli.load_classifier(found.file).provenance["fitted"]
    assert fitted_to["half"] == "one of two halves, half of each class, drawn with seed 3"
    assert (fitted_to["images"], fitted_to["images_measured"], fitted_to["coverage"]) == (48, 48, 0.8)


def test_equal_seeds_write_equal_files(fitted: Callable[..., Fitted]) -> None:
    first, again = (fitted("--seed", 1).file.read_bytes() for _ in range(2))
    assert first == again
    assert fitted("--seed", 2).file.read_bytes() != first


def test_thresholds_of_the_command_line_make_more_images_unknown(
    fitted: Callable[..., Fitted], run_cli: Cli, drawings: Path, tmp_path: Path
) -> None:
    file = fitted("--min-precision", 0.7, "--seed", 5).file
    options = ("--layout", "wide", "--class-embeddings", file)
    own, none, strict = (
        classified(run_cli, drawings, file, tmp_path, *options, "--min-score", least)
        for least in (0, 0.1, 0.9)
    )
    assert (own.status == none.status).all()
    assert 0 < (own.status == "unknown").sum() < (strict.status == "unknown").sum()
    assert (strict.status == "unknown").equals((own.status == "unknown") | (own.score < 0.9))
    assert (strict.label == own.label).all(), "the ranked labels are kept"
    assert (strict.set == own.set).all()


def test_a_fitted_file_classifies_again_to_the_same_bytes_without_torch(
    fitted: Callable[..., Fitted], drawings: Path, tmp_path: Path
) -> None:
    file = fitted("--coverage", 0.8).file
    code = (
        "import sys\nfrom clipcli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'open_clip', 'scipy', 'sklearn'} & set(sys.modules)\n"
    )
    outputs = []
    for name in ("first.csv", "again.csv"):
        words = ["classify", drawings, "--classifier", file, "--device", "cpu", "--precision", "fp32"]
        command = [sys.executable, "-c", code, *map(str, words), "-o", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        assert "96 known from the cache, 0 new" in done.stderr
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]
    assert outputs[0].splitlines()[0] == b"image,rank,label,score,cosine,error,status,margin,set"


def test_the_examples_are_too_few_for_thresholds_and_that_is_told(
    fitted: Callable[..., Fitted], run_cli: Cli, tmp_path: Path
) -> None:
    options = ("--truth", EXAMPLES / "labels.csv", "--classes", EXAMPLES / "classes.txt", "--coverage", 0.97)
    found = fitted(*options, images=EXAMPLES)
    assert "labels without a threshold, because fewer than 10 images got them: cat (" in found.result.err
    assert (
        "every set holds all labels: 29 images cannot show a coverage of 0.97, which takes 33"
        in found.result.err
    )
    rows = classified(run_cli, EXAMPLES, found.file, tmp_path, "-k", 1)
    assert set(rows.status) == {"ok"}
    assert {len(cell.split("|")) for cell in rows.set} == {12}
    classifier = clipcli.load_classifier(found.file)
    assert classifier.temperature == found.figures["temperature"] != 1
    rows = rows.set_index("image")
    plain = pd.read_csv(tmp_path / "predictions.csv").set_index("image")
    assert (plain.label == rows.label).all()


def test_labels_that_never_reach_a_precision_and_images_that_tell_no_temperature(
    run_cli: Cli, drawings: Path, tmp_path: Path
) -> None:
    """Each folder is called like the next one, so that nothing is right."""
    for label, other in zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True):
        (tmp_path / "wrong" / other).mkdir(parents=True)
        for path in sorted((drawings / label).glob("*-[0-3].png")):
            (tmp_path / "wrong" / other / path.name).symlink_to(path)
    file = tmp_path / "fitted.safetensors"
    result = run_cli("eval", tmp_path / "wrong", *NANO, "--fit", file, "--min-precision", 0.6)
    assert result.code == 0, result.err
    assert "do not tell how sure scores should be: high scores are no sign of true labels" in result.err
    assert "labels of which no score is high enough, so that their images are unknown: " in result.err
    assert "all unknown" in result.out
    rows = classified(run_cli, drawings, file, tmp_path, "-k", 1)
    assert (rows.status == "unknown").sum() > 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--coverage", "0.9"), "--coverage needs --fit"),
        (("--min-precision", "0.9", "--seed", "1"), "--min-precision needs --fit"),
        (("--fit", "x.npz"), "cannot write a classifier as x.npz"),
        (("--fit", "none/x.safetensors"), "no such folder"),
        (
            ("--fit", "x.safetensors", "--min-precision", "95%"),
            "--min-precision must be a number from 0 to 1",
        ),
        (
            ("--fit", "x.safetensors", "--min-precision", "1"),
            "--min-precision must be a number between 0 and 1",
        ),
        (("--fit", "x.safetensors", "--coverage", "0"), "--coverage must be a number between 0 and 1"),
        (("--fit", "x.safetensors", "--seed", "-1"), "--seed must be at least 0"),
        (("--fit", "x.safetensors", "--labels", "cat"), "nothing can be fitted to one label"),
        (
            ("--fit", "x.safetensors", "--label", "cat", "--label", "a|b"),
            "no label may hold |, as 'a|b' does",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_the_work(
    run_cli: Cli,
    arguments: tuple[str, ...],
    message: str,
    drawings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_cli("eval", drawings, *NANO, *arguments)
    assert result.code == 2
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_several_true_labels_an_image_are_refused(run_cli: Cli, drawings: Path, tmp_path: Path) -> None:
    paths = sorted(drawings.glob("*/*-0.png"))
    lines = [f"{path},{path.parent.name}|fish" for path in paths]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *lines]))
    arguments = ("--truth", tmp_path / "labels.csv", "--labels", "cat,fish,key")
    result = run_cli("eval", *arguments, *NANO, "--fit", tmp_path / "x.safetensors")
    assert result.code == 2
    assert "a classifier is fitted to images with one true label each, and some have several" in result.err


def test_another_score_than_the_calibrated_one_is_refused(
    fitted: Callable[..., Fitted], run_cli: Cli, drawings: Path
) -> None:
    result = run_cli("classify", drawings, "--classifier", fitted().file, "--score", "sigmoid")
    assert result.code == 2
    assert "the classifier is calibrated for softmax, and so --score cannot be sigmoid" in result.err
