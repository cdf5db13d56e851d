"""Names of models, and the list of them; nothing here loads weights."""

from __future__ import annotations

import csv

import open_clip
import pytest

from clipcli.errors import UnknownModelError, UsageError
from clipcli.models.registry import (
    ASSETS,
    PRESETS,
    licence_of,
    list_models,
    parse_model,
)


@pytest.mark.parametrize(
    ("name", "pretrained", "source", "model_name", "tag"),
    [
        ("balanced", None, "pretrained", "ViT-B-32-256", "datacomp_s34b_b86k"),
        ("ViT-B-32", "openai", "pretrained", "ViT-B-32", "openai"),
        ("ViT-B-32:openai", None, "pretrained", "ViT-B-32", "openai"),
        ("hf-hub:laion/some.model", None, "hf-hub", "laion/some.model", ""),
        ("nano", None, "local-dir", str(ASSETS / "nano"), ""),
        (f"local-dir:{ASSETS / 'nano'}", None, "local-dir", str(ASSETS / "nano"), ""),
        (str(ASSETS / "nano"), None, "local-dir", str(ASSETS / "nano"), ""),
    ],
)
def test_names_are_understood(
    name: str, pretrained: str | None, source: str, model_name: str, tag: str
) -> None:
    spec = parse_model(name, pretrained)
    assert (spec.source, spec.model_name, spec.pretrained) == (source, model_name, tag)


def test_the_name_of_a_spec_names_the_same_model_again() -> None:
    for name in (*PRESETS, "ViT-B-32:openai", "hf-hub:a/b", str(ASSETS / "nano")):
        spec = parse_model(name)
        assert parse_model(spec.name) == spec


def test_every_preset_exists_in_open_clip() -> None:
    for preset in PRESETS.values():
        if preset.pretrained:
            assert (preset.model_name, preset.pretrained) in open_clip.list_pretrained()


def test_weights_for_a_model_that_brings_its_own() -> None:
    for name in ("nano", "hf-hub:a/b", f"local-dir:{ASSETS / 'nano'}"):
        with pytest.raises(UsageError, match="brings its own weights"):
            parse_model(name, "openai")


def test_near_names_are_suggested() -> None:
    with pytest.raises(UnknownModelError) as raised:
        parse_model("ViT-B32")
    assert "ViT-B-32" in raised.value.hint


def test_the_list_has_presets_first_and_every_pair_of_open_clip() -> None:
    rows = list_models()
    assert [row.name for row in rows[: len(PRESETS)]] == list(PRESETS)
    listed = {row.name for row in rows}
    for model_name, tag in open_clip.list_pretrained():
        if not model_name.endswith("-quickgelu"):
            assert f"{model_name}:{tag}" in listed
    assert rows[0].cached
    assert not rows[1].cached


def test_published_figures() -> None:
    """Spot checks against open_clip's own results table and the papers."""
    top1 = {row.name: row.imagenet_top1 for row in list_models()}
    assert top1["ViT-B-32:openai"] == 63.3
    assert top1["balanced"] == 72.8
    assert top1["accurate"] == 79.1
    assert top1["best"] == 83.5


def test_non_commercial_licences_say_so() -> None:
    for name in ("MobileCLIP2-S0:dfndr2b", "ViT-B-16:dfn2b", "ViT-B-32:metaclip_400m"):
        licence = licence_of(parse_model(name))
        assert "NC" in licence or "non-commercial" in licence, name
    assert licence_of(parse_model("balanced")) == "MIT"


def test_the_table_of_models_is_well_formed() -> None:
    with (ASSETS / "models.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["params_m"]) > 1
        assert not row["imagenet_top1"] or 0 < float(row["imagenet_top1"]) < 90
        assert bool(row["imagenet_top1"]) == bool(row["source"]), "a figure names its source"
