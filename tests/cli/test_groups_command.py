"""Groups from a class list to the outputs, and on to `sort` and `tag`, with the bundled model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from filing_runs import files_of
from safetensors import safe_open

import clipcli
from clipcli.inputs.predictions import read_predictions

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32", "-t", "icons")
CLASSES = """
thing:
  tool:
    key:
    umbrella: [parasol]
    camera:
  house:
animal:
  cat:
  fish:
sun:
"""
GROUP_OF = {
    **dict.fromkeys(("key", "umbrella", "camera"), "thing|tool"),
    **{"house": "thing", "cat": "animal", "fish": "animal", "sun": None},
}

LEAST = 0.5

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some drawings, one broken file, and the class list beside them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(EXAMPLES.glob("[bcfkhsu]*-[12].*")):
        shutil.copy2(path, folder)
    (folder / "a.png").write_bytes(b"")
    (tmp_path / "classes.yaml").write_text(CLASSES)
    return folder


@pytest.fixture
def classify(run_cli: Cli, photos: Path) -> Cli:
    def run(*words: object, code: int = 3) -> Result:
        result = run_cli("classify", photos, *NANO, "-c", "classes.yaml", *words)
        assert result.code == code, result.err
        return result

    return run


@pytest.fixture
def unsure(nano: Any, photos: Path) -> tuple[object, ...]:
    """The words for a classifier that is unsure of many labels: its logits are divided by 8."""
    classifier = clipcli.build_classifier(nano, "classes.yaml", "icons")
    clipcli.save_classifier(replace(classifier, temperature=8.0), "unsure.safetensors")
    return ("classify", photos, *NANO[2:-2], "--classifier", "unsure.safetensors")


def test_every_label_has_its_group_and_what_the_group_sums_up_to(classify: Cli) -> None:
    classify("-k", 7, "-o", "long.csv", "-o", "wide.xlsx", "-o", "predictions.parquet", "-o", "out.tsv")
    classify("--layout", "matrix", "-o", "matrix.csv")
    long, matrix = pd.read_csv("long.csv"), pd.read_csv("matrix.csv").set_index("image")
    assert list(long.columns)[-3:] == ["margin", "group", "group_score"]
    read = long[long.error.isna()]
    assert {*read.label} == {*GROUP_OF}
    for one in read.itertuples():
        group = GROUP_OF[one.label]
        if group is None:
            assert pd.isna(one.group) and pd.isna(one.group_score)
            continue
        members = [label for label, path in GROUP_OF.items() if path and f"{path}|".startswith(f"{group}|")]
        assert one.group == group
        assert one.group_score == pytest.approx(matrix.loc[one.image, members].sum(), abs=2e-6)
    failed = long[long.error.notna()]
    assert len(failed) == 1 and failed[["group", "group_score"]].isna().all(axis=None)
    best = read[read["rank"] == 1].set_index("image")
    for written in (pd.read_excel("wide.xlsx"), matrix.reset_index()):
        other = written[written.error.isna()].set_index("image")
        assert list(other.columns)[-3:] == ["margin", "group", "group_score"]
        pd.testing.assert_frame_equal(
            other[["label", "group", "group_score"]], best[["label", "group", "group_score"]]
        )
    for other in (pd.read_parquet("predictions.parquet"), pd.read_csv("out.tsv", sep="\t")):
        pd.testing.assert_frame_equal(other, long, check_dtype=False)


def test_the_nested_layout_tells_the_group_of_each_label(classify: Cli) -> None:
    classify("--layout", "nested", "-k", 7, "-o", "nested.jsonl")
    images = [json.loads(line) for line in Path("nested.jsonl").read_text().splitlines()]
    read = [one for one in images if not one["error"]]
    assert list(read[0])[-2:] == ["group", "group_score"]
    for one in read:
        assert {label["label"]: label.get("group") for label in one["predictions"]} == GROUP_OF
        assert one["group"] == one["predictions"][0].get("group")
    for image, again in zip(images, read_predictions("nested.jsonl"), strict=True):
        assert [label.group or None for label in again.labels] == [
            label.get("group") for label in image["predictions"]
        ]


def test_runs_of_every_kind_give_equal_bytes(classify: Cli, run_cli: Cli, photos: Path) -> None:
    words = ("--roll-up", 0.7, "-k", 3)
    classify(*words, "-o", "cached.csv")
    classify(*words, "--no-cache", "-b", 1, "-o", "alone.csv")
    assert run_cli("prompts", "-c", "classes.yaml", *NANO, "-o", "classes.safetensors").code == 0
    run_cli("classify", photos, *NANO[2:-2], "--classifier", "classes.safetensors", *words, "-o", "file.csv")
    first = Path("cached.csv").read_bytes()
    assert b",animal," in first
    assert Path("alone.csv").read_bytes() == Path("file.csv").read_bytes() == first


def test_the_answer_is_a_label_a_group_or_unknown(run_cli: Cli, unsure: tuple[object, ...]) -> None:
    run_cli(*unsure, "-k", 1, "-o", "plain.csv")
    run_cli(*unsure, "-k", 1, "--roll-up", LEAST, "-o", "rolled.csv", "-o", "report.html", "--provenance")
    plain, rolled = (pd.read_csv(name).dropna(subset="label") for name in ("plain.csv", "rolled.csv"))
    sure = plain.score >= LEAST
    assert 0 < sure.sum() < len(sure)
    pd.testing.assert_frame_equal(rolled[sure], plain[sure])
    rolled, plain = rolled[~sure], plain[~sure]
    answers = rolled[rolled.status == "ok"]
    assert {*answers.label} <= {"thing", "tool", "animal"} and len(answers)
    assert (answers.score >= LEAST).all()
    assert (answers.group[answers.label == "tool"] == "thing").all()
    assert answers.group[answers.label != "tool"].isna().all()
    unknown = rolled.status == "unknown"
    assert unknown.any()
    assert (rolled[unknown].label == plain[unknown].label).all(), "ranked labels stay"
    told = json.loads(Path("rolled.csv.meta.json").read_text())
    assert told["scores"]["roll_up"] == LEAST
    assert told["images"]["unknown"] == unknown.sum()
    page = Path("report.html").read_text()
    assert '"columns":["group","group_score"]' in page


def test_sort_and_tag_take_the_levels(run_cli: Cli, unsure: tuple[object, ...]) -> None:
    for layout in ("long", "wide", "matrix"):
        run_cli(*unsure, "-k", 2, "--roll-up", LEAST, "--layout", layout, "-o", f"{layout}.csv")
        assert run_cli("sort", f"{layout}.csv", "--into", layout, "--copy", "--apply").code == 0
    frame = pd.read_csv("long.csv")
    best = frame[(frame["rank"] == 1) & (frame.status == "ok")].fillna({"group": ""})
    places = {
        "/".join([*filter(None, one.group.split("|")), one.label, Path(one.image).name])
        for one in best.itertuples()
    }
    assert {place.rpartition("/")[0] for place in places} >= {"thing/tool", "thing/house", "animal"}
    for layout in ("long", "wide", "matrix"):
        assert {name for name in files_of(Path(layout)) if not name.startswith("_")} == places
    assert run_cli("tag", "long.csv", "-k", 2, "--apply").code == 0
    for image, two in frame[frame.status == "ok"].groupby("image"):
        sidecar = Path(f"{image}.xmp").read_text()
        for one in two.itertuples():
            assert f">{one.label}<" in sidecar
            assert pd.isna(one.group) or f">{one.group}|{one.label}<" in sidecar


def test_rolling_up_without_groups_is_refused_before_the_model_is_loaded(run_cli: Cli, photos: Path) -> None:
    result = run_cli("classify", photos, "-m", "no-such-model", "-l", "cat,dog", "--roll-up", 0.8)
    assert result.code == 2
    assert "--roll-up needs groups of labels, and there are none" in result.err
    result = run_cli("classify", photos, "-c", "classes.yaml", "--roll-up", "80%")
    assert (result.code, "80% is 0.8" in result.err) == (2, True)


def test_the_file_keeps_groups_and_thresholds(run_cli: Cli, photos: Path) -> None:
    Path("c.csv").write_text("label,parent,min_score\ncat,animal,0.999999\nkey,,\nfish,animal,0\n")
    assert run_cli("prompts", "-c", "c.csv", *NANO, "-o", "c.safetensors").code == 0
    kept = clipcli.load_classifier("c.safetensors")
    assert kept.parents == (("animal",), (), ("animal",))
    assert kept.thresholds is not None
    assert kept.thresholds.tolist() == pytest.approx([0.999999, float("nan"), 0], nan_ok=True)
    with safe_open("c.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["clipcli"])["format"] == 2
    run_cli("classify", photos, "--classifier", "c.safetensors", "-k", 1, "-o", "out.csv")
    run_cli("classify", photos, *NANO, "-c", "c.csv", "-k", 1, "--min-score", 0.9, "-o", "both.csv")
    one, both = (pd.read_csv(name).dropna(subset="label") for name in ("out.csv", "both.csv"))
    assert ((one.status == "unknown") == ((one.label == "cat") & (one.score < 0.999999))).all()
    assert (one.status == "unknown").any()
    below = (both.score < 0.9) | ((both.label == "cat") & (both.score < 0.999999))
    assert ((both.status == "unknown") == below).all()


def test_fitting_replaces_the_thresholds_of_the_class_list(run_cli: Cli, photos: Path) -> None:
    for label in ("cat", "key"):
        (photos / label).mkdir()
        for path in EXAMPLES.glob(f"{label}-*"):
            shutil.copy2(path, photos / label)
    Path("c.csv").write_text("label,parent,min_score\ncat,animal,0.9\nkey,,\n")
    result = run_cli("eval", photos, *NANO, "-c", "c.csv", "--fit", "fitted.safetensors")
    assert result.code == 0, result.err
    assert "thresholds are fitted: those in min_score of the class list are not used" in result.err
    fitted = clipcli.load_classifier("fitted.safetensors")
    assert fitted.parents == (("animal",), ())
    assert fitted.thresholds is not None and 0.9 not in fitted.thresholds.tolist()


def test_a_dry_run_shows_the_groups(run_cli: Cli, photos: Path) -> None:
    shown = run_cli("prompts", "-c", "classes.yaml", "-t", "bare", "--dry-run").out.splitlines()
    assert shown[:3] == ["label,prompt,group", "key,key,thing|tool", "umbrella,umbrella,thing|tool"]
    assert shown[-1] == "sun,sun,"
    assert (
        run_cli("prompts", "-l", "cat,dog", "-t", "bare", "--dry-run").out.splitlines()[0] == "label,prompt"
    )


def test_python_has_the_same(nano: Any, photos: Path) -> None:
    classifier = clipcli.build_classifier(nano, "classes.yaml", "icons")
    outcomes = list(clipcli.classify(photos, nano, classifier, top_k=2, roll_up=0.97))
    frame = clipcli.to_frame(outcomes)
    assert list(frame.columns)[-3:] == ["margin", "group", "group_score"]
    first = next(one for one in outcomes if isinstance(one, clipcli.ImagePredictions) and one.groups[0])
    assert first.groups[0] is not None
    row = frame[frame.image == first.image].iloc[0]
    assert row.group == first.groups[0].name
    assert row.group_score == pytest.approx(first.groups[0].score, rel=1e-5)
    plain = clipcli.build_classifier(nano, ["cat", "key"])
    assert "group" not in clipcli.to_frame(clipcli.classify(photos, nano, plain)).columns
    with pytest.raises(clipcli.UsageError, match="`roll_up` needs groups"):
        clipcli.classify(photos, nano, plain, roll_up=0.8)
