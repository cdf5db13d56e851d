"""A model's files: which weights are taken, whose preprocessing, and what identifies them."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import open_clip
import pytest
from open_clip.factory import _find_checkpoint_in_dir

from clipcli.errors import ModelError, WeightsUnavailableError
from clipcli.models.locate import _builtin_config, _preprocess, _weights_in, locate
from clipcli.models.registry import ASSETS, parse_model


def test_preprocessing_comes_from_the_models_own_configuration() -> None:
    preprocess = locate(parse_model("nano")).preprocess
    assert (preprocess.size, preprocess.resize_mode, preprocess.fill_color) == ((192, 192), "squash", 0)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 8}}'])
def test_a_configuration_that_cannot_be_used(tmp_path: Path, content: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError, match="is not an open_clip configuration"):
        locate(parse_model(str(tmp_path)))


def test_safetensors_are_taken_before_pickles(tmp_path: Path) -> None:
    shutil.copytree(ASSETS / "nano", tmp_path / "model")
    (tmp_path / "model" / "a.pt").write_bytes(b"never opened")
    (tmp_path / "model" / "open_clip_pytorch_model.bin").write_bytes(b"never opened")
    files = locate(parse_model(str(tmp_path / "model")))
    assert files.weights.name == "open_clip_model.safetensors"
    files.weights.rename(files.weights.with_name("other.safetensors"))
    (tmp_path / "model" / "open_clip_pytorch_model.bin").unlink()
    assert locate(parse_model(str(tmp_path / "model"))).weights.name == "other.safetensors"


def test_the_fingerprint_covers_weights_and_configuration(tmp_path: Path) -> None:
    shutil.copytree(ASSETS / "nano", tmp_path / "model")
    spec = parse_model(str(tmp_path / "model"))
    first = locate(spec).fingerprint
    config = json.loads((tmp_path / "model" / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]
    (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(config))
    second = locate(spec).fingerprint
    with (tmp_path / "model" / "open_clip_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    third = locate(spec).fingerprint
    assert len({first, second, third}) == 3


def test_offline_without_weights() -> None:
    with pytest.raises(WeightsUnavailableError, match="offline mode forbids the network"):
        locate(parse_model("accurate"), offline=True)


def test_the_same_weights_elsewhere_have_the_same_fingerprint(nano: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(nano.files.weights.parent, copy)
    assert locate(parse_model(str(copy))).fingerprint == nano.fingerprint
    config = copy / "open_clip_config.json"
    config.write_text(config.read_text().replace("squash", "longest"))
    assert locate(parse_model(str(copy))).fingerprint != nano.fingerprint


def test_a_weights_file_whose_preprocessing_is_not_known_is_an_error(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    with pytest.raises(ModelError, match="ViT-L-14 is published with 2 kinds of preprocessing"):
        locate(parse_model("ViT-L-14", str(weights)))


def test_a_siglip_weights_file_keeps_siglips_preprocessing(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    config = _builtin_config(parse_model("ViT-B-16-SigLIP2-256", str(weights)))
    preprocess = _preprocess(config["model_cfg"], config["preprocess_cfg"])
    assert (preprocess.resize_mode, preprocess.mean, preprocess.size) == (
        "squash",
        (0.5, 0.5, 0.5),
        (256, 256),
    )


def test_every_tag_gets_the_activation_it_was_trained_with() -> None:
    for model_name, tag in open_clip.list_pretrained():
        of_tag = open_clip.get_pretrained_cfg(model_name, tag).get("quick_gelu", False)
        of_architecture = open_clip.get_model_config(model_name).get("quick_gelu", False)
        wanted = of_tag or of_architecture
        config = _builtin_config(parse_model(f"{model_name}:{tag}"))
        assert config["model_cfg"]["quick_gelu"] == wanted, (model_name, tag)


NAMES = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "a.bin",
    "b.safetensors",
    "c.pth",
    "z.safetensors",
]


def test_of_several_weights_those_are_taken_that_open_clip_takes(tmp_path: Path) -> None:
    for pair in combinations(NAMES, 2):
        folder = tmp_path / " and ".join(pair)
        folder.mkdir()
        for name in pair:
            (folder / name).touch()
        assert str(_weights_in(folder)) == _find_checkpoint_in_dir(folder)
