"""`clipcli prompts`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result

from clipcli.scoring.classifier_file import load_classifier

Cli = Callable[..., Result]


def test_dry_run_prints_every_prompt_and_loads_no_model(run_cli: Cli) -> None:
    result = run_cli(
        "prompts", "-l", "cat,dog", "-t", "a {}.", "-t", "photo", "--concept", "a pet", "--dry-run"
    )
    assert result.code == 0
    assert result.out.splitlines() == [
        "label,prompt",
        'cat,"a cat, a pet."',
        'cat,"a photo of a cat, a pet."',
        'dog,"a dog, a pet."',
        'dog,"a photo of a dog, a pet."',
    ]


def test_class_embeddings_in_every_format(run_cli: Cli, tmp_path: Path) -> None:
    for suffix in ("safetensors", "npz", "csv", "parquet"):
        result = run_cli("prompts", "-l", "cat,dog", "-m", "nano", "-o", tmp_path / f"two.{suffix}")
        assert result.code == 0, result.err
        assert "2 classes from 14 prompts by nano" in result.err
    expected = load_classifier(tmp_path / "two.safetensors").class_embeddings
    with np.load(tmp_path / "two.npz") as arrays:
        np.testing.assert_array_equal(arrays["class_embeddings"], expected)
    for frame in (pd.read_csv(tmp_path / "two.csv"), pd.read_parquet(tmp_path / "two.parquet")):
        assert frame.label.tolist() == ["cat", "dog"]
        np.testing.assert_allclose(frame.drop(columns="label").to_numpy(), expected, atol=1e-7)


def test_the_file_tells_where_it_comes_from(run_cli: Cli, tmp_path: Path) -> None:
    run_cli("prompts", "-l", "cat", "-t", "photo", "-m", "nano", "-o", tmp_path / "one.safetensors")
    classifier = load_classifier(tmp_path / "one.safetensors")
    assert classifier.prompts == (("a photo of a cat.",),)
    assert classifier.provenance["model"] == "nano"
    assert len(classifier.provenance["weights_sha256"]) == 64
    assert classifier.provenance["preprocess"]["resize_mode"] == "squash"


def test_a_prompt_too_long_is_named(run_cli: Cli, tmp_path: Path) -> None:
    label = " ".join(["very"] * 30) + " long"
    result = run_cli("prompts", "-l", label, "-t", "a {}", "-m", "nano", "-o", tmp_path / "x.safetensors")
    assert result.code == 0
    assert "warning: prompt longer than 24 tokens" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no labels given"),
        (["-l", "cat"], "no output file named"),
        (["-l", "cat", "-o", "x.doc"], "cannot write class embeddings as x.doc"),
        (["-l", "cat", "-o", "nowhere/x.npz"], "no such folder: nowhere"),
        (["-l", "cat", "-t", "imagnet7", "--dry-run"], "Did you mean imagenet7?"),
        (["-c", "cifar-10", "--dry-run"], "Did you mean cifar10?"),
    ],
)
def test_wrong_usage(run_cli: Cli, arguments: list[str], message: str) -> None:
    result = run_cli("prompts", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) <= 2


def test_an_empty_label_is_left_out_with_a_warning(run_cli: Cli) -> None:
    result = run_cli("prompts", "-l", "cat,,dog", "-t", "{}", "--dry-run")
    assert result.out == "label,prompt\ncat,cat\ndog,dog\n"
    assert "warning: label 2 is empty" in result.err
