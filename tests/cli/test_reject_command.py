"""Images that show none of the labels, weighted templates and priors on the command line, with nano."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from PIL import Image

import clipcli
from clipcli.prompts import nouns
from clipcli.scoring.rejection import Rejector, threshold_for_rate

Cli = Callable[..., Result]
FP32 = ("--device", "cpu", "--precision", "fp32")
NANO = ("--model", "nano", *FP32)
LABELS = ("cat", "fish", "key")
WORDS = ("-l", ",".join(LABELS))
OTHERS = ("rocket", "book", "house", "camera")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(autouse=True)
def few_nouns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in forty of the nouns, so that they are encoded in a second."""
    every = nouns.nouns_beside
    monkeypatch.setattr("clipcli.learning.nouns_beside", lambda names: every(names)[::40])


def _copied(folder: Path, labels: tuple[str, ...]) -> Path:
    for label in labels:
        (folder / label).mkdir()
        for path in EXAMPLES.glob(f"{label}-*"):
            shutil.copy(path, folder / label)
            with Image.open(path) as image:
                image.convert("RGBA").rotate(20).save(folder / label / f"{path.stem}-turned.png")
    return folder


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 images that show a label, in a folder for each."""
    return _copied(tmp_path_factory.mktemp("inside"), LABELS)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images that show none."""
    return _copied(tmp_path_factory.mktemp("outside"), OTHERS)


def table(run_cli: Cli, tmp_path: Path, *arguments: object, layout: str = "wide") -> pd.DataFrame:
    path = tmp_path / "predictions.csv"
    result = run_cli("classify", *arguments, "--layout", layout, "-o", path)
    assert result.code == 0, result.err
    return pd.read_csv(path, keep_default_na=False)


# --- Classify ------------------------------------------------------------------------------------


def test_scores_are_those_of_the_formulas_and_images_below_the_threshold_are_unknown(
    run_cli: Cli, inside: Path, outside: Path, tmp_path: Path
) -> None:
    plain = table(run_cli, tmp_path, inside, outside, *WORDS, *NANO, "-k", 3, "--score", "cosine")
    scale = clipcli.load_model("nano", device="cpu", precision="fp32").logit_scale
    cosines = plain[["score", "score_2", "score_3"]].to_numpy(float)
    powers = {method: np.exp(cosines * factor) for method, factor in (("msp", scale), ("mcm", 1.0))}
    expected = {method: (one.max(axis=1) / one.sum(axis=1)) for method, one in powers.items()}
    expected["energy"] = np.log(powers["msp"].sum(axis=1))
    assert "reject_score" not in plain
    for method, values in expected.items():
        cut = float(np.median(values))
        options = (*WORDS, *NANO, "--reject", method)
        rows = table(run_cli, tmp_path, inside, outside, *options, "--reject-below", cut)
        assert list(rows.columns)[-2:] == ["margin", "reject_score"]
        np.testing.assert_allclose(rows.reject_score.astype(float), values, rtol=1e-4)
        assert (rows.status == "unknown").tolist() == (values < cut).tolist()
        assert rows.label.tolist() == plain.label.tolist()  # ranked labels are kept


def test_without_a_threshold_images_are_scored_and_none_is_rejected(
    run_cli: Cli, inside: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p.csv"
    result = run_cli("classify", inside, *WORDS, *NANO, "--reject", "mcm", "-o", path)
    assert "no image is rejected" in result.err
    assert "--reject-below" in result.err
    assert set(pd.read_csv(path).status) == {"ok"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reject-below", "0.3"), "--reject-below needs --reject"),
        (("--reject", "mcm", "--reject-below", "nan"), "--reject-below must be a number"),
        (("--prior", "1,2"), "--prior has 2 numbers for 3 labels"),
        (("--prior", "1,2,x"), "--prior must be numbers"),
        (("--prior", "1,1,1", "--score", "sigmoid"), "--prior is for softmax scores"),
        (("--reject", "best"), "best"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: tuple[str, ...], message: str, run_cli: Cli, inside: Path
) -> None:
    result = run_cli("classify", inside, *WORDS, *NANO, *options)
    assert result.code == 2
    assert message in result.err


def test_a_prior_moves_scores_by_bayes_rule(run_cli: Cli, inside: Path, tmp_path: Path) -> None:
    before = table(run_cli, tmp_path, inside, *WORDS, *NANO, layout="matrix")
    after = table(run_cli, tmp_path, inside, *WORDS, *NANO, "--prior", "70,20,10", layout="matrix")
    weighted = before[list(LABELS)].to_numpy(float) * [0.7, 0.2, 0.1]
    expected = weighted / weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after[list(LABELS)].to_numpy(float), expected, atol=2e-6)


# --- A classifier file ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mcm", "negatives"])
def test_a_file_has_the_threshold_of_a_folder_and_equal_input_gives_equal_bytes(
    method: str, run_cli: Cli, inside: Path, outside: Path, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    options = ("--reject", method, "--reject-on", inside, "--reject-rate", 0.2)
    weights = ("--weight-on", inside, "--prior", "1,2,3")
    for file, more in zip(files, ((), ("--no-cache", "--batch-size", 5)), strict=True):
        result = run_cli("prompts", *WORDS, *NANO, *options, *weights, *more, "-o", file)
        assert result.code == 0, result.err
    assert files[0].read_bytes() == files[1].read_bytes()
    classifier = clipcli.load_classifier(files[0])
    assert classifier.rejector is not None
    assert classifier.rejector.method == method
    assert (classifier.rejector.negatives is not None) == (method == "negatives")
    rows = table(run_cli, tmp_path, inside, outside, "--classifier", files[0], *FP32)
    scores = rows.reject_score.to_numpy(float)
    is_inside = rows.image.str.startswith(str(inside)).to_numpy()
    threshold = threshold_for_rate(scores[is_inside].astype(np.float32), 0.2)
    assert classifier.rejector.threshold == pytest.approx(threshold, rel=1e-5)
    unknown = (rows.status == "unknown").to_numpy()
    assert unknown[is_inside].sum() == 4  # floor(29 · 0.2) - 1
    assert unknown[~is_inside].mean() > 0.3
    again = [tmp_path / name for name in ("1.csv", "2.csv")]
    for path, more in zip(again, ((), ("--no-cache", "--batch-size", 3)), strict=True):
        run_cli("classify", inside, "--classifier", files[0], *FP32, *more, "-o", path)
    assert again[0].read_bytes() == again[1].read_bytes()


def test_a_file_takes_no_second_rejector_but_another_threshold(
    run_cli: Cli, inside: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.safetensors"
    result = run_cli("prompts", *WORDS, *NANO, "--reject", "mcm", "-o", file)
    assert "no threshold for its reject scores" in result.err
    refused = run_cli("classify", inside, "--classifier", file, "--reject", "msp")
    assert (refused.code, "rejects by mcm already" in refused.err) == (2, True)
    rows = table(run_cli, tmp_path, inside, "--classifier", file, *FP32, "--reject-below", 2)
    assert set(rows.status) == {"unknown"}
    run_cli("prompts", *WORDS, *NANO, "-o", file)
    refused = run_cli("classify", inside, "--classifier", file, "--reject", "negatives")
    assert (refused.code, "needs the labels" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reject-on", "."), "--reject-on needs --reject"),
        (("--reject", "mcm", "--reject-rate", "0.1"), "--reject-rate needs --reject-on"),
        (("--reject", "mcm", "--reject-on", ".", "--reject-rate", "5"), "5 percent is 0.05"),
        (("--weight-on", ".", "-t", "a {}."), "a single template"),
        (("--weight-on", "nowhere"), "nowhere"),
    ],
)
def test_what_a_folder_cannot_teach_is_refused(
    options: tuple[str, ...], message: str, run_cli: Cli, tmp_path: Path
) -> None:
    result = run_cli("prompts", *WORDS, *NANO, *options, "-o", tmp_path / "c.safetensors")
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "c.safetensors").exists()


@pytest.mark.parametrize("method", ["carprt", "zpe"])
def test_weights_tell_how_many_labels_they_change_and_eval_measures_them(
    method: str, run_cli: Cli, inside: Path, outside: Path, tmp_path: Path
) -> None:
    file, figures = tmp_path / "w.safetensors", tmp_path / "m.json"
    templates = (
        "{}",
        "a {} in a house with books.",
        "the key of a {}.",
        "a fish and a {}.",
        "a rocket or a {}.",
    )
    words = (*WORDS, *NANO, *(word for template in templates for word in ("-t", template)))
    result = run_cli("prompts", *words, "--weight-on", outside, "--weight-by", method, "-o", file)
    told = clipcli.load_classifier(file).provenance["weighted"]
    before = table(run_cli, tmp_path, outside, *words).label
    after = table(run_cli, tmp_path, outside, "--classifier", file, *FP32).label
    assert (told["images"], told["agreeing"]) == (40, int((before == after).sum()))
    assert told["agreeing"] < 40
    assert f"{told['agreeing'] / told['images']:.1%} keep the label" in result.err
    measured = run_cli("eval", inside, "--classifier", file, *FP32, "-o", figures)
    assert measured.code == 0, measured.err
    rows = table(run_cli, tmp_path, inside, "--classifier", file, *FP32)
    right = rows.label == rows.image.map(lambda image: Path(image).parent.name)
    assert json.loads(figures.read_text())["acc1"] == pytest.approx(right.mean())


# --- Eval ----------------------------------------------------------------------------------------


def test_eval_tells_auroc_and_fpr95_of_each_method(
    run_cli: Cli, inside: Path, outside: Path, tmp_path: Path
) -> None:
    figures = tmp_path / "m.json"
    result = run_cli("eval", inside, *NANO, "--outliers", outside, "-o", figures, "-o", tmp_path / "m.csv")
    assert result.code == 0, result.err
    found = json.loads(figures.read_text())["outliers"]
    assert (found.pop("images"), found.pop("outliers")) == (28, 40)
    assert set(found) == {"msp", "mcm", "energy", "negatives"}
    csv = pd.read_csv(tmp_path / "m.csv").set_index("metric").value
    for method, one in found.items():
        rows = table(run_cli, tmp_path, inside, outside, *WORDS, *NANO, "--reject", method)
        scores = rows.reject_score.to_numpy(float)
        is_inside = rows.image.str.startswith(str(inside)).to_numpy()
        above, tied = (  # of pairs; what is written has 6 digits, so that the order in a tie is not known
            compare(scores[is_inside][:, None], scores[~is_inside]).mean()
            for compare in (np.greater, np.equal)
        )
        assert above - 1e-9 <= one["auroc"] <= above + tied + 1e-9
        cut = np.sort(scores[is_inside])[1]  # 27 of 28 reach it, and 26 are not 95 %
        above, tied = ((compare(scores[~is_inside], cut)).mean() for compare in (np.greater, np.equal))
        assert above - 1e-9 <= one["fpr95"] <= above + tied + 1e-9
        assert csv[f"outliers_{method}_auroc"] == pytest.approx(one["auroc"])
        assert csv[f"outliers_{method}_fpr95_high"] == pytest.approx(one["fpr95_high"])
        assert 0 <= one["auroc_low"] <= one["auroc"] <= one["auroc_high"] <= 1
        assert one["fpr95_low"] <= one["fpr95"] <= one["fpr95_high"]
        ends = f"{one['auroc_low']:.3f} to {one['auroc_high']:.3f}"
        passed = f"{one['fpr95']:.1%},{one['fpr95_low']:.1%} to {one['fpr95_high']:.1%}"
        assert f"{method},{one['auroc']:.3f},{ends},{passed}" in result.out


def test_fit_stores_the_best_rejector_and_tells_what_classify_does(
    run_cli: Cli, inside: Path, outside: Path, tmp_path: Path
) -> None:
    file, figures = tmp_path / "f.safetensors", tmp_path / "m.json"
    options = ("--outliers", outside, "--reject", "energy", "--fit", file, "-o", figures)
    result = run_cli("eval", inside, *NANO, *options)
    assert result.code == 0, result.err
    told = json.loads(figures.read_text())["fit"]["reject"]
    rejector = clipcli.load_classifier(file).rejector
    assert rejector == Rejector("energy", told["threshold"])
    assert "Rejected by energy, on the other half" in result.out
    assert told["outliers_rejected"] > told["rejected"]
    rows = table(run_cli, tmp_path, outside, "--classifier", file, *FP32)
    rejected = rows.reject_score.astype(float) < told["threshold"]
    assert (rows.status == "unknown")[rejected].all()


def test_fit_without_outliers_takes_the_rate(run_cli: Cli, inside: Path, tmp_path: Path) -> None:
    file = tmp_path / "f.safetensors"
    options = ("--reject", "mcm", "--reject-rate", 0.2, "--fit", file)
    result = run_cli("eval", inside, *NANO, *options)
    assert result.code == 0, result.err
    rejector = clipcli.load_classifier(file).rejector
    assert rejector is not None
    assert rejector.threshold is not None
    few = run_cli("eval", inside, *NANO, "--reject", "mcm", "--fit", file)
    assert few.code == 1
    assert "Use at least 19 images" in few.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reject", "mcm"), "--reject needs --outliers or --fit"),
        (("--reject-rate", "0.1"), "--reject-rate needs --reject"),
        (("--outliers", ".", "--reject-rate", "0.1"), "--reject-rate needs --fit"),
        (("--outliers", "nowhere"), "nowhere"),
        (("--outliers", ".", "--compare-templates", "photo,icons"), "cannot be used together"),
        (("--classifier", "c.safetensors", "-l", "a,b"), "brings its own classes"),
    ],
)
def test_eval_refuses_options_that_lack_others(
    options: tuple[str, ...], message: str, run_cli: Cli, inside: Path
) -> None:
    result = run_cli("eval", inside, *NANO, *options)
    assert result.code == 2
    assert message in result.err


# --- Torch ---------------------------------------------------------------------------------------


def test_what_is_cached_is_rejected_without_torch(
    run_cli: Cli, inside: Path, tmp_path: Path, shared_cache: Path
) -> None:
    file = tmp_path / "c.safetensors"
    run_cli("prompts", *WORDS, *NANO, "--reject", "negatives", "--reject-on", inside, "-o", file)
    program = (
        "import sys\nfrom clipcli.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    arguments = ["classify", str(inside), "--classifier", str(file), "--device", "cpu", "--precision", "fp32"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "-o", str(tmp_path / "p.csv")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CLIPCLI_CACHE": str(shared_cache)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "False"
