"""A probe of classes that lie in groups, from the class list to the answers, with the bundled model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from PIL import Image
from sklearn.metrics import roc_auc_score

import clipcli

Cli = Callable[..., Result]
FP32 = ("--device", "cpu", "--precision", "fp32")
NANO = ("--model", "nano", *FP32)
CLASSES = """
thing:
  tool: {key: {min_score: 0.8}, zorp: }
  house:
animal: {cat: , fish: }
dragon:
"""
GROUP_OF = {
    **{"key": "thing|tool", "zorp": "thing|tool", "tool": "thing", "house": "thing"},
    **{"cat": "animal", "fish": "animal"},
}
LEAST = 0.8
EXAMPLES_OF = {"key": "key", "zorp": "umbrella", "tool": "camera", "cat": "cat", "fish": "fish", "sun": "sun"}
"""Which drawings are examples of which class: `zorp` says nothing, `tool` is a group, `sun` is in no list."""

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three examples of each class, others to measure, and the class list.

    Among the others are drawings of a cat and a fish at once, of which only `animal` is sure.
    """
    folder = tmp_path_factory.mktemp("probe-groups")
    for label, drawing in EXAMPLES_OF.items():
        for path in sorted(EXAMPLES.glob(f"{drawing}-*")):
            part = folder / ("examples" if path.stem[-1] in "123" else "others") / label
            part.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, part)
    cat, fish = (opened(EXAMPLES / name) for name in ("cat-2.png", "fish-4.webp"))
    for share in range(51, 72, 3):
        Image.blend(cat, fish, share / 100).save(folder / "others" / "cat" / f"{share}.png")
    (folder / "classes.yaml").write_text(CLASSES)
    return folder


def opened(path: Path) -> Image.Image:
    """A drawing on white."""
    with Image.open(path) as image:
        drawing = image.convert("RGBA").resize((192, 192))
    return Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")


@pytest.fixture
def probe(run_cli: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """A file mine.safetensors in the working directory."""
    monkeypatch.chdir(tmp_path)
    words = ("--classes", made / "classes.yaml", "--method", "prototype")
    result = run_cli("probe", made / "examples", *words, *NANO, "-o", "mine.safetensors")
    assert result.code == 0, result.err
    return result


def labelled(run_cli: Cli, made: Path, *words: object) -> pd.DataFrame:
    """All images as the probe labels them, one row each, with their true labels."""
    given = ("--classifier", "mine.safetensors", *FP32, *words)
    result = run_cli("classify", made / "others", *given, "-o", "out.csv")
    assert result.code == 0, result.err
    frame = pd.read_csv("out.csv")
    return frame.assign(truth=frame.image.map(lambda image: Path(image).parent.name))


def test_the_file_has_the_groups_and_thresholds_of_the_list_and_the_classes_of_the_examples(
    probe: Result,
) -> None:
    kept = clipcli.load_classifier("mine.safetensors")
    assert kept.weights is not None
    assert kept.classnames == ("key", "zorp", "house", "cat", "fish", "dragon", "sun", "tool")
    assert kept.parents is not None
    groups = {
        label: "|".join(path) or None for label, path in zip(kept.classnames, kept.parents, strict=True)
    }
    assert groups == {"dragon": None, "sun": None, **GROUP_OF}
    assert kept.thresholds is not None
    assert kept.thresholds.tolist() == pytest.approx([0.8] + [float("nan")] * 7, nan_ok=True)
    assert "labels without words: sun, tool" in probe.err
    assert "labels without examples: house, dragon" in probe.err


def test_labels_have_the_sums_of_their_groups_and_answers_are_rolled_up(
    run_cli: Cli, made: Path, probe: Result
) -> None:
    matrix = labelled(run_cli, made, "--layout", "matrix").set_index("image")
    long = labelled(run_cli, made, "-k", 8)
    members = {
        "thing|tool": ["key", "zorp", "tool"],
        "thing": ["key", "zorp", "tool", "house"],
        "animal": ["cat", "fish"],
    }
    grouped = long.dropna(subset="group")
    assert {*grouped.label} == {*GROUP_OF}
    for one in grouped.itertuples():
        assert one.group == GROUP_OF[one.label]
        assert one.group_score == pytest.approx(matrix.loc[one.image, members[one.group]].sum(), abs=3e-6)
    best = long[long["rank"] == 1].set_index("image")
    unknown = (best.label == "key") & (best.score < 0.8)
    assert ((best.status == "unknown") == unknown).all() and unknown.any()
    rolled = labelled(run_cli, made, "-k", 1, "--roll-up", LEAST).set_index("image")
    sure = (best.score >= LEAST) & ~unknown
    assert (rolled.label[sure] == best.label[sure]).all()
    unsure = rolled[~sure & (rolled.status == "ok")]
    assert {*unsure.label} == {"tool", "animal"}
    for one in unsure.itertuples():
        path = one.label if pd.isna(one.group) else f"{one.group}|{one.label}"
        assert one.score == pytest.approx(matrix.loc[one.Index, members[path]].sum(), abs=3e-6)
        assert one.score >= LEAST


def test_eval_tells_how_often_the_groups_and_answers_of_classify_are_right(
    run_cli: Cli, made: Path, probe: Result
) -> None:
    best = labelled(run_cli, made, "-k", 1)
    options = ("--classifier", "mine.safetensors", "--roll-up", LEAST, "-o", "m.json", "-o", "m.csv")
    result = run_cli("eval", made / "others", *FP32, *options)
    assert result.code == 0, result.err
    found = json.loads(Path("m.json").read_text())
    homes = {label: [*GROUP_OF.get(label, "").split("|"), label] for label in [*best.label, *best.truth]}
    homes = {label: [part for part in home if part] for label, home in homes.items()}
    for level in (1, 2):
        right = [homes[a][:level] == homes[b][:level] for a, b in zip(best.label, best.truth, strict=True)]
        assert found["groups"][f"acc1_level_{level}"] == pytest.approx(np.mean(right))
    assert found["acc1"] == pytest.approx((best.label == best.truth).mean())
    rolled = labelled(run_cli, made, "-k", 1, "--roll-up", LEAST)
    answered = rolled[rolled.status == "ok"]
    holds = [label in homes[truth] for label, truth in zip(answered.label, answered.truth, strict=True)]
    told = found["groups"]["rolled_up"]
    assert told["least"] == LEAST
    assert told["answered"] == pytest.approx(len(answered) / len(rolled))
    assert told["right"] == pytest.approx(np.mean(holds))
    is_label = (best.score >= LEAST) & (best.status == "ok")  # also where the label is called `tool`
    levels = answered.label.map({"thing": "level_1", "animal": "level_1", "tool": "level_2"})
    levels = levels.mask(is_label[answered.index], "labels")
    for level in ("labels", "level_2", "level_1"):
        assert told[level] == pytest.approx((levels == level).sum() / len(rolled))
    assert 0 < told["labels"] < told["answered"] and told["level_2"] and told["level_1"]
    csv = pd.read_csv("m.csv").set_index("metric").value
    assert csv["groups_rolled_up_answered"] == pytest.approx(told["answered"])
    assert csv["groups_acc1_level_2_high"] == pytest.approx(found["groups"]["acc1_level_2_high"])
    assert f"Rolled up to {LEAST:g}" in result.out
    assert f"any of these,{told['answered']:.1%},{told['right']:.1%}" in result.out
    assert f'"top-1 of groups, level 1",{found["groups"]["acc1_level_1"]:.1%}' in result.out


def test_outliers_of_a_probe_have_the_scores_that_classify_gives_them(
    run_cli: Cli, made: Path, probe: Result, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in EXAMPLES.glob("[bhr]*-*"):
        shutil.copy2(path, outside)
    methods = ("msp", "mcm", "energy")
    found = {}
    for method in methods:
        options = ("--classifier", "mine.safetensors", "--outliers", outside, "--reject", method)
        result = run_cli("eval", made / "others", *FP32, *options, "-o", "m.json", "-o", "report.html")
        assert result.code == 0, result.err
        found[method] = json.loads(Path("m.json").read_text())["outliers"][method]["auroc"]
    for method in methods:
        inside = labelled(run_cli, made, "-k", 1, "--reject", method).reject_score
        words = ("--classifier", "mine.safetensors", *FP32, "-k", 1, "--reject", method, "-o", "others.csv")
        assert run_cli("classify", outside, *words).code == 0
        others = pd.read_csv("others.csv").reject_score
        truth = [1] * len(inside) + [0] * len(others)
        assert found[method] == pytest.approx(roc_auc_score(truth, [*inside, *others]), abs=2e-3)
    assert found["mcm"] != found["msp"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--roll-up", "0.8", "--fit", "f.safetensors"), "--roll-up and --fit cannot be used together"),
        (("--roll-up", "0.8", "--reject", "mcm", "--fit", "f.safetensors"), "cannot be used together"),
        (("--roll-up", "80%"), "80% is 0.8"),
        (("--roll-up", "1.5"), "--roll-up must be a number from 0 to 1, not 1.5"),
        (("--roll-up", "0", "--compare-templates", "photo,icons"), "and --roll-up cannot be used together"),
    ],
)
def test_eval_refuses_to_roll_up_what_it_cannot(
    run_cli: Cli, made: Path, words: tuple[str, ...], message: str
) -> None:
    result = run_cli("eval", made / "others", "-m", "no-such-model", "-c", made / "classes.yaml", *words)
    assert result.code == 2
    assert message in result.err


def test_eval_rolls_up_groups_of_labels_alone(run_cli: Cli, made: Path) -> None:
    result = run_cli("eval", made / "others", "-m", "no-such-model", "--roll-up", 0.8)
    assert "--roll-up needs groups of labels, and there are none" in result.err
    result = run_cli("eval", "--captions", "c.csv", "--roll-up", 0)
    assert "--captions and --roll-up cannot be used together" in result.err


def test_images_with_several_labels_are_not_rolled_up(run_cli: Cli, made: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    image = next((made / "others" / "cat").iterdir())
    table.write_text(f"image,label\n{image},cat|fish\n")
    words = ("--truth", table, "-c", made / "classes.yaml", *NANO, "--roll-up", 0.8)
    result = run_cli("eval", *words)
    assert result.code == 2
    assert "--roll-up is for images with one true label each" in result.err


def test_a_prior_goes_with_thresholds_of_a_class_list(
    run_cli: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.csv").write_text("label,min_score\ncat,0.9\nkey,\nfish,0.6\n")
    words = ("-c", "c.csv", *NANO, "--prior", "8,1,1", "-k", 1)
    assert run_cli("classify", made / "others", *words, "-o", "p.csv").code == 0
    rows = pd.read_csv("p.csv")
    least = rows.label.map({"cat": 0.9, "fish": 0.6}).fillna(0)
    assert ((rows.status == "unknown") == (rows.score < least)).all()
    assert 0 < (rows.status == "unknown").sum() < len(rows)
    assert run_cli("prompts", *words[:-2], "-o", "c.safetensors").code == 0
    run_cli("classify", made / "others", "--classifier", "c.safetensors", *FP32, "-k", 1, "-o", "file.csv")
    assert Path("file.csv").read_bytes() == Path("p.csv").read_bytes()
