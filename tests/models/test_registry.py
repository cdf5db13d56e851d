"""Names of models, and the list of them; nothing here loads weights."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import open_clip
import pytest

from clipcli.errors import UnknownModelError, UsageError
from clipcli.models import registry
from clipcli.models.registry import (
    ASSETS,
    PRESETS,
    ModelSpec,
    architectures,
    forbids_commercial_use,
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


# --- Names of other kinds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("ViT-B-32", "ViT-B-32:datacomp_xl_s13b_b90k"),
        ("ViT-B-32-256", "ViT-B-32-256:datacomp_s34b_b86k"),
        ("ViT-B-16-SigLIP2-256", "ViT-B-16-SigLIP2-256:webli"),
    ],
)
def test_the_tag_of_a_preset_is_suggested(name: str, suggested: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_model(name)
    assert told.value.hint == f"For example {suggested}."


def test_no_tag_for_non_commercial_use_is_suggested_where_there_is_another() -> None:
    for name, tags in architectures().items():
        licences = {tag: licence_of(ModelSpec("", "pretrained", name, tag)) for tag in tags}
        if not all(map(forbids_commercial_use, licences.values())):
            with pytest.raises(UsageError) as told:
                parse_model(name)
            suggested = str(told.value.hint).removeprefix(f"For example {name}:").removesuffix(".")
            assert not forbids_commercial_use(licences[suggested]), name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("openai/clip-vit-base-patch32", "open_clip has it as ViT-B-32:openai. "),
        ("google/siglip2-base-patch16-256", "open_clip has it as ViT-B-16-SigLIP2-256:webli. "),
        ("laion/CLIP", "A repository on the hub that open_clip can load is named hf-hub:laion/CLIP. "),
    ],
)
def test_repositories_are_told_how_they_are_called_here(name: str, hint: str) -> None:
    with pytest.raises(UnknownModelError, match=f"unknown model '{name}'") as told:
        parse_model(name)
    assert str(told.value.hint).startswith(hint)


def test_every_other_name_is_one_of_open_clip() -> None:
    for name in registry._TRANSFORMERS_NAMES.values():
        architecture, _, tag = name.partition(":")
        assert tag in architectures()[architecture], name


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", "@feature/new", "@" + "0" * 40])
def test_revisions_of_a_repository_can_be_pinned(revision: str) -> None:
    spec = parse_model(f"hf-hub:org/repo{revision}")
    assert (spec.source, spec.model_name) == ("hf-hub", f"org/repo{revision}")


@pytest.mark.parametrize("name", ["hf-hub:org", "hf-hub:org/repo@", "hf-hub:a/b/c", "hf-hub:org/repo@a b"])
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a hub repository"):
        parse_model(name)


def test_a_folder_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError, match=r"^\. is no model: it lacks open_clip_config.json and "):
        parse_model(".")
    (tmp_path / "open_clip_model.safetensors").touch()
    for name in (".", f"local-dir:{tmp_path}"):
        with pytest.raises(UnknownModelError, match=r"is no model: it lacks open_clip_config.json$"):
            parse_model(name)
    with pytest.raises(UnknownModelError, match="is a file; as a model") as told:
        parse_model("open_clip_model.safetensors")
    assert "`pretrained`" in str(told.value.hint)
    with pytest.raises(UnknownModelError, match="no such folder: "):
        parse_model("local-dir:nowhere")


def test_a_folder_called_like_an_architecture_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ViT-B-32").mkdir()
    (tmp_path / "w.pt").touch()
    assert parse_model("ViT-B-32", "w.pt").source == "file"


def test_folders_below_home_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(ASSETS / "nano", tmp_path / "mine")
    for name in ("~/mine", "local-dir:~/mine"):
        assert parse_model(name).model_name == str(tmp_path / "mine")
