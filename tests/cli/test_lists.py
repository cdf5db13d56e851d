"""`clipcli models`, `templates` and `classes`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
from conftest import Result
from safetensors import safe_open

from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.registry import ASSETS

WEIGHTS = ASSETS / "nano" / "open_clip_model.safetensors"
Cli = Callable[..., Result]


def table(result: Result) -> list[dict[str, str]]:
    assert result.code == 0, result.err
    return list(csv.DictReader(io.StringIO(result.out)))


def test_models_list(run_cli: Cli) -> None:
    rows = table(run_cli("models", "list"))
    assert [row["model"] for row in rows[:6]] == [
        *("nano", "fast", "balanced", "multilingual", "accurate", "best")
    ]
    assert rows[0]["cached"] == "yes"
    filtered = table(run_cli("models", "list", "siglip2"))
    assert filtered[0]["model"] == "multilingual"
    assert all("SigLIP2" in row["model"] + row["note"] for row in filtered)
    assert "no model matches" in run_cli("models", "list", "nothing-like-it").err


def learned(weights: Path) -> int:
    """How many numbers a weights file holds, running statistics not counted."""
    with safe_open(weights, "pt") as file:
        names = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def test_models_info_tells_the_effective_configuration(run_cli: Cli, nano: OpenClipEncoder) -> None:
    result = run_cli("models", "info", "nano", "--precision", "fp32", "--device", "cpu")
    for fact in (
        "192 x 192, squash, bicubic, fill 0",
        "context length: 24",
        "192 dimensions",
        "activation:     GELU",
        f"softmax, scale {nano.logit_scale:.2f}",
        f"parameters:     {learned(WEIGHTS) / 1e6:.1f} M",
        "cpu, fp32",
        "open_clip_model.safetensors",
    ):
        assert fact in result.out, fact


def test_models_pull_of_what_is_there_says_so(run_cli: Cli) -> None:
    result = run_cli("models", "pull", "nano")
    assert result.code == 0
    assert f"nano is ready, {WEIGHTS.stat().st_size / 1e6:.0f} MB in " in result.err


def test_templates_list_and_show(run_cli: Cli) -> None:
    rows = table(run_cli("templates", "list"))
    counts = {row["name"]: int(row["templates"]) for row in rows}
    assert counts["imagenet7"] == 7
    assert counts["imagenet80"] == 80
    assert counts["photo"] == 1
    kinds = "pets food flowers aircraft cars textures scenes satellite actions digits text products"
    assert {*kinds.split(), "art", "clipart", "icons"} <= set(counts)
    assert all(row["description"] for row in rows)
    shown = run_cli("templates", "show", "imagenet80").out.splitlines()
    expected = [template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert shown == expected


def test_classes_list_and_show(run_cli: Cli) -> None:
    counts = {row["name"]: int(row["classes"]) for row in table(run_cli("classes", "list"))}
    for name, number in {
        "imagenet": 1000,
        "cifar10": 10,
        "cifar100": 100,
        "fashion-mnist": 10,
        "oxford-pets": 37,
    }.items():
        assert counts[name] == number
    assert len(run_cli("classes", "show", "cifar100").out.splitlines()) == 100


@pytest.mark.parametrize("command", ["templates", "classes"])
def test_an_unknown_name(run_cli: Cli, command: str) -> None:
    result = run_cli(command, "show", "nothing")
    assert result.code == 2
    assert f"`clipcli {command} list`" in result.err
