"""`clipcli eval --compare-…` and `--captions` end to end, with the bundled model on the examples."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import EXAMPLES, Result

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
TRUTH = pd.read_csv(EXAMPLES / "labels.csv").set_index("image").label
LABELLED = ("--truth", EXAMPLES / "labels.csv")

pytestmark = pytest.mark.usefixtures("shared_cache")


def measured(
    run_cli: Cli, tmp_path: Path, *arguments: object, code: int = 0
) -> tuple[dict[str, Any], Result]:
    """The JSON of a run, and what it printed."""
    path = tmp_path / "metrics.json"
    result = run_cli("eval", *arguments, *NANO[2:], "-o", path)
    assert result.code == code, result.err
    return json.loads(path.read_text(encoding="utf-8")), result


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images are encoded together, each time that it happens."""
    from clipcli import pipeline

    sizes: list[int] = []
    encode = pipeline.encode_batch

    def counted(batch: Any, encoder: Any) -> Any:
        sizes.append(sum(isinstance(one, pipeline.Decoded) for one in batch))
        return encode(batch, encoder)

    monkeypatch.setattr(pipeline, "encode_batch", counted)
    return sizes


def some_labels(tmp_path: Path, *labels: str) -> Path:
    """A table of the examples with these labels."""
    path = tmp_path / "some.csv"
    TRUTH[TRUTH.isin(labels)].rename(lambda image: str(EXAMPLES / image)).to_csv(path)
    return path


# --- Comparisons ---------------------------------------------------------------------------------


def test_templates_have_the_figures_of_runs_of_their_own_and_images_are_encoded_once(
    run_cli: Cli, tmp_path: Path, encoded: list[int]
) -> None:
    (tmp_path / "mine.txt").write_text("a {} in the fog\nno {} here\n")
    names = f"photo,imagenet7,{tmp_path / 'mine.txt'}"
    given = (EXAMPLES, *LABELLED, "-c", EXAMPLES / "classes.txt", "--model", "nano")
    given += ("--cache", tmp_path / "cache")
    compared = ("--compare-templates", names, "-o", tmp_path / "m.csv")
    content, result = measured(run_cli, tmp_path, *given, *compared)
    assert sum(encoded) == 58
    assert content["comparison"] == "templates"
    assert (content["model"], content["images"], content["failed"]) == ("nano", 58, 0)
    assert [one["name"] for one in content["compared"]] == names.split(",")
    for one in content["compared"][1:]:
        alone, _ = measured(run_cli, tmp_path, *given, "-t", one["name"])
        for figure in ("acc1", "acc1_low", "acc5", "macro_f1", "ece_equal_mass", "per_class"):
            assert one[figure] == alone[figure], figure
    first, _, mine = content["compared"]
    assert "acc1_difference" not in first
    assert mine["acc1_difference"] == pytest.approx(mine["acc1"] - first["acc1"])
    assert mine["acc1_difference_low"] <= mine["acc1_difference"] <= mine["acc1_difference_high"]
    pairs = [(one["first"], one["second"]) for one in content["pairs"]]
    assert pairs == list(combinations(names.split(","), 2))
    assert sum(encoded) == 58, "the runs of their own have their features from the cache"
    assert f"photo,58,{first['acc1']:.1%},{first['acc1_low']:.1%} to " in result.out
    assert "Differences of the others" in result.out
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = {(row["metric"], row["label"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["acc1", mine["name"]]) == pytest.approx(mine["acc1"])
    assert float(rows["mcnemar_p", mine["name"]]) == pytest.approx(mine["mcnemar_p"])


def test_equal_templates_are_a_tie(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "same.txt").write_text("a photo of a {}.\n")
    (tmp_path / "also.txt").write_text("a photo of a {}.\n")
    names = f"{tmp_path / 'same.txt'},{tmp_path / 'also.txt'}"
    truth = some_labels(tmp_path, "cat", "sun")
    content, result = measured(
        run_cli, tmp_path, "--truth", truth, "--model", "nano", "--compare-templates", names
    )
    (pair,) = content["pairs"]
    assert pair["tie"] is True
    assert (pair["acc1_difference"], pair["mcnemar_p"], pair["only_first_right"]) == (0, 1, 0)
    assert "+0.0,+0.0 to +0.0,tie,1\n" in result.out
    assert "Differences of the others" not in result.out


def test_each_model_encodes_the_images_once(
    run_cli: Cli, tmp_path: Path, random_model: Callable[[str], Path], encoded: list[int]
) -> None:
    truth = some_labels(tmp_path, "cat", "sun", "key", "heart", "house", "book")
    other = f"local-dir:{random_model('clip')}"
    compared = ("--compare-models", f"nano,{other}", "--no-cache")
    content, result = measured(run_cli, tmp_path, "--truth", truth, *compared)
    assert [one["model"] for one in content["models"]] == ["nano", other]
    assert sum(encoded) == 2 * content["images"] == 2 * 29
    good, random = content["compared"]
    assert good["acc1"] > 0.7
    assert (random["tie"], random["acc1_difference_high"] < 0) == (False, True)
    assert ",worse," in result.out
    assert "measured nano" in result.err
    alone, _ = measured(run_cli, tmp_path, "--truth", truth, "--model", "nano", "--no-cache")
    assert good["per_class"] == alone["per_class"]


def test_class_lists_are_compared_on_images_that_both_have_a_label_for(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Cat\nsun\nkey\n")
    (tmp_path / "b.txt").write_text("cat: kitten\nsun: sunshine\nheart\nanchor\n")
    truth = some_labels(tmp_path, "cat", "sun", "key", "heart")
    names = f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}"
    content, result = measured(
        run_cli, tmp_path, "--truth", truth, "--model", "nano", "--compare-classes", names
    )
    assert (content["images"], content["left_out"]) == (9, 10)
    assert [one["classes"] for one in content["compared"]] == [3, 4]
    assert f"none of the labels of {tmp_path / 'a.txt'}: heart (5)" in result.err
    assert f"none of the labels of {tmp_path / 'b.txt'}: key (5)" in result.err
    assert "10 have no true label in all class lists" in result.err


def test_images_that_cannot_be_read_are_told(run_cli: Cli, tmp_path: Path) -> None:
    for label in ("cat", "sun"):
        (tmp_path / "set" / label).mkdir(parents=True)
        shutil.copy(EXAMPLES / f"{label}-2.png", tmp_path / "set" / label)
    (tmp_path / "set" / "cat" / "broken.png").write_bytes(b"no image")
    given = (tmp_path / "set", "--model", "nano", "--compare-templates", "photo,icons")
    content, result = measured(run_cli, tmp_path, *given, code=3)
    assert (content["images"], content["failed"]) == (2, 1)
    assert "broken.png" in result.err
    assert run_cli("eval", *given, "--allow-failures", "--quiet").code == 0


def test_the_model_of_the_environment_is_no_contradiction(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPCLI_MODEL", "nano")
    compared = ("--compare-models", "nano,nano")
    result = run_cli("eval", "--truth", some_labels(tmp_path, "cat", "sun"), *compared)
    assert "--compare-models names nano twice" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compare-templates", "photo,icons", "--compare-models", "a,b"), "cannot be used together"),
        (("--compare-templates", "photo"), "--compare-templates needs at least two names"),
        (("--compare-templates", "photo,photo"), "--compare-templates names photo twice"),
        (("--compare-templates", "photo,none"), "no template set or file named 'none'"),
        (("--compare-templates", "photo,icons", "-t", "photo"), "--compare-templates and --templates"),
        (("--compare-models", "nano,fast", "--model", "best"), "--compare-models and --model"),
        (("--compare-models", "nano,nanno"), "nanno"),
        (("--compare-classes", "a.txt,b.txt", "-l", "cat,dog"), "--compare-classes and --labels"),
        (("--compare-classes", "photo-or-not,none.txt"), "no class list or file named 'none.txt'"),
        (("--compare-templates", "photo,icons", "--captions", "c.csv"), "--compare-templates and --captions"),
        (("--compare-templates", "photo,icons", "-o", "m.txt"), "cannot tell the output format"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(
    run_cli: Cli, arguments: tuple[object, ...], message: str
) -> None:
    result = run_cli("eval", EXAMPLES, *LABELLED, *arguments, *NANO[2:])
    assert result.code == 2, result.err
    assert message in result.err


def test_images_with_several_labels_are_not_compared(run_cli: Cli, tmp_path: Path) -> None:
    lines = [f"{EXAMPLES}/cat-2.png,cat|sun", f"{EXAMPLES}/sun-2.png,sun"]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *lines]))
    result = run_cli("eval", "--truth", tmp_path / "labels.csv", "--compare-templates", "photo,icons", *NANO)
    assert result.code == 2
    assert "images with several true labels cannot be compared" in result.err


# --- Captions ------------------------------------------------------------------------------------


def captions_of(tmp_path: Path, template: str) -> Path:
    """A table with a caption for one example of each class."""
    path = tmp_path / "captions.csv"
    first = TRUTH.reset_index().groupby("label", sort=False).first()
    rows = [f"{EXAMPLES / image},{template.format(label)}" for label, image in first.image.items()]
    path.write_text("\n".join(["image,caption", *rows]) + "\n")
    return path


def test_captions_and_images_find_each_other(run_cli: Cli, tmp_path: Path, encoded: list[int]) -> None:
    """With one caption an image, images find captions as they are labelled with them."""
    table = captions_of(tmp_path, "a photo of a {}.")
    content, result = measured(run_cli, tmp_path, "--captions", table, "--model", "nano", "--no-cache")
    assert sum(encoded) == content["images"] == content["captions"] == 12
    rows = pd.read_csv(table)
    rows.to_csv(tmp_path / "labels.csv", index=False, header=["image", "label"])
    given = ("--truth", tmp_path / "labels.csv", "-t", "{}", "--model", "nano")
    labelled, _ = measured(run_cli, tmp_path, *given)
    assert content["text_retrieval_recall@1"] == labelled["acc1"] >= 0.5
    assert content["text_retrieval_recall@5"] == labelled["acc5"]
    assert content["text_retrieval_recall@1_low"] == labelled["acc1_low"]
    assert content["image_retrieval_recall@1"] >= 0.5
    assert content["image_retrieval_recall@10"] <= 1
    assert f'"text to image, recall@1",{content["image_retrieval_recall@1"]:.1%},' in result.out


def test_captions_stand_as_they_are_unless_templates_are_named(run_cli: Cli, tmp_path: Path) -> None:
    given = ("--model", "nano", "--captions")
    whole, _ = measured(run_cli, tmp_path, *given, captions_of(tmp_path, "the sun and a {} in a house"))
    short = captions_of(tmp_path, "{}")
    filled, _ = measured(run_cli, tmp_path, *given, short, "-t", "the sun and a {} in a house")
    alone, _ = measured(run_cli, tmp_path, *given, short)
    assert whole == filled
    assert alone != filled


def test_images_without_a_caption_are_left_out_and_unreadable_ones_are_told(
    run_cli: Cli, tmp_path: Path
) -> None:
    for name in ("cat-2.png", "sun-2.png", "key-2.png"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "c.csv").write_text("image,caption\ncat-2.png,a cat\nsun-2.png,the sun\nbroken.png,a key\n")
    given = (tmp_path, "--captions", tmp_path / "c.csv", "--model", "nano")
    content, result = measured(run_cli, tmp_path, *given, code=3)
    assert (content["images"], content["captions"]) == (2, 2)
    assert (content["failed"], content["left_out"]) == (1, 1)
    assert "left out, without a caption: 1 images" in result.err
    assert "image_retrieval_recall@5" not in content, "of two images, every caption finds its own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--captions", EXAMPLES / "labels.csv"), "no column of captions"),
        (("--captions", "none.csv"), "none.csv: No such file or directory"),
        (("--captions", "c.csv", "--labels", "cat,dog"), "--captions and --labels cannot be used together"),
        (("--captions", "c.csv", *LABELLED), "--captions and --truth cannot be used together"),
        ((EXAMPLES, "--captions", "c.csv"), "no image has a caption"),
    ],
)
def test_captions_that_cannot_serve_are_refused(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.csv").write_text("image,caption\nother.png,a cat\n")
    result = run_cli("eval", *arguments, *NANO)
    assert result.code == 2, result.err
    assert message in result.err
