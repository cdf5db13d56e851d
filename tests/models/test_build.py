"""A model built without drawing its weights equals one that open_clip builds; the random numbers go on."""

from __future__ import annotations

import copy
import dataclasses
import logging
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from conftest import MODELS
from safetensors.torch import load_file, save_file
from small_models import config

from clipcli.errors import ModelError, WeightsDamagedError
from clipcli.models.build import _architecture, _ParametersToBeLoaded, build_model, build_tokenizer
from clipcli.models.locate import ModelFiles, locate
from clipcli.models.registry import parse_model

TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
TIMM = {"timm_model_pretrained": False, "timm_proj": "linear", "image_size": 160}
SMALL = {
    "vit": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None},
    "timm vit": {**TIMM, "timm_model_name": "test_vit"},
    "timm vit, relative positions": {**TIMM, "timm_model_name": "test_vit3"},
    "timm convnext": {**TIMM, "timm_model_name": "test_convnext", "timm_pool": "avg"},
    "timm nfnet": {**TIMM, "timm_model_name": "test_nfnet", "timm_pool": "avg"},
    "timm efficientnet": {**TIMM, "timm_model_name": "test_efficientnet", "timm_pool": "avg"},
}
"""Vision towers, with a small text tower each."""


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All that a model computes with: parameters, buffers saved and unsaved, and plain attributes."""
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    for path, module in model.named_modules():
        found |= {f"{path}!{k}": v for k, v in vars(module).items() if isinstance(v, torch.Tensor)}
    return found


def assert_equal(ours: Any, theirs: Any, files: ModelFiles) -> None:
    ours_by_name, theirs_by_name = tensors(ours), tensors(theirs)
    assert ours_by_name.keys() == theirs_by_name.keys()
    for name, value in theirs_by_name.items():
        assert ours_by_name[name].dtype == value.dtype, name
        assert torch.equal(ours_by_name[name], value), name
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, *files.preprocess.size, generator=generator)
    tokens = torch.randint(1, 99, (2, files.model_cfg["text_cfg"]["context_length"]), generator=generator)
    with torch.inference_mode():
        assert torch.equal(ours.encode_image(pixels), theirs.encode_image(pixels))
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))


@pytest.mark.parametrize("kind", MODELS)
def test_a_built_model_equals_open_clips(random_model: Callable[[str], Path], kind: str) -> None:
    name = f"local-dir:{random_model(kind)}"
    files = locate(parse_model(name))
    assert_equal(build_model(files), open_clip.create_model(name).eval(), files)


@pytest.mark.parametrize("vision", SMALL)
def test_buffers_that_no_checkpoint_has_are_computed(vision: str, tmp_path: Path) -> None:
    files = config(tmp_path, SMALL[vision], text_cfg=TEXT)
    torch.manual_seed(1)
    theirs = _architecture(files).eval()
    weights = tmp_path / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()}, weights)
    with _ParametersToBeLoaded():
        ours = _architecture(files).eval()
    open_clip.load_checkpoint(ours, str(weights), strict=True)
    assert_equal(ours, theirs, files)


def saved(files: ModelFiles, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> ModelFiles:
    weights = load_file(files.weights)
    change(weights)
    save_file(weights, folder / "changed.safetensors")
    return ModelFiles(**{**vars(files), "weights": folder / "changed.safetensors"})


@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_that_lacks_a_parameter_is_refused(
    random_model: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    files = locate(parse_model(f"local-dir:{random_model(kind)}"))
    for name in ("logit_scale", [name for name in load_file(files.weights) if name.startswith("visual")][-1]):
        with pytest.raises(WeightsDamagedError, match="does not fit"):
            build_model(saved(files, tmp_path, lambda weights, name=name: weights.pop(name)))  # type: ignore[misc]


def test_every_parameter_comes_from_the_checkpoint(random_model: Callable[[str], Path]) -> None:
    """What is created under the mode may hold anything; none of it may stay."""
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    state = load_file(files.weights)
    for name, parameter in build_model(files).named_parameters():
        assert torch.equal(parameter, state[name]), name


def test_random_numbers_of_the_host_go_on(random_model: Callable[[str], Path]) -> None:
    files = locate(parse_model(f"local-dir:{random_model('siglip')}"))
    before = torch.get_rng_state()
    build_model(files)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_no_parameter_is_still_drawn() -> None:
    with _ParametersToBeLoaded():
        drawn = [
            torch.randn(8),
            torch.rand(8),
            torch.empty(8).normal_(),
            torch.nn.init.uniform_(torch.empty(8)),
        ]
        drawn += [
            torch.nn.init.trunc_normal_(torch.empty(8)),
            torch.nn.init.kaiming_normal_(torch.empty(8, 8)),
        ]
    assert all(values.std() > 0.05 for values in drawn)


def test_other_threads_draw_their_weights() -> None:
    """Only the thread that builds a model leaves parameters out."""
    bounds = []
    with _ParametersToBeLoaded():
        thread = threading.Thread(
            target=lambda: bounds.append(torch.nn.Linear(64, 64).weight.abs().max().item())
        )
        thread.start()
        thread.join()
    assert 0.1 < bounds[0] <= 1 / 8


def test_a_default_device_of_the_host_does_not_matter(random_model: Callable[[str], Path]) -> None:
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    with torch.device("meta"):
        model = build_model(files)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_the_configuration_is_left_as_it_was(random_model: Callable[[str], Path]) -> None:
    files = locate(parse_model(f"local-dir:{random_model('siglip')}"))
    before = copy.deepcopy(files.model_cfg)
    build_model(files)
    assert files.model_cfg == before


def test_the_root_logger_gets_no_handler(
    random_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """open_clip resizes position embeddings and says so by `logging.info`, which would add one."""
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    positions = "visual.positional_embedding"
    larger = saved(files, tmp_path, lambda weights: weights.update({positions: torch.ones(14 * 14 + 1, 128)}))
    monkeypatch.setattr(logging.root, "handlers", [])
    build_model(larger)
    assert logging.root.handlers == []


def test_a_librarys_warning_that_is_an_error_is_no_damage(
    random_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As here, where pytest makes warnings errors."""
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    monkeypatch.setattr(open_clip, "load_checkpoint", lambda *_, **__: warnings.warn("old", FutureWarning, 2))
    with pytest.raises(FutureWarning, match="old"):
        build_model(files)


# --- What went wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "not enough memory to load"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory to load"),
        (ModuleNotFoundError("No module named 'spm'", name="spm"), "needs spm, which cannot be imported"),
        (FileNotFoundError(2, "No usable temporary directory found"), "no folder for temporary files"),
        (OSError(28, "No space left", "/tmp/x"), "was not loaded: /tmp/x: No space left"),
        (PermissionError(13, "Permission denied", "/w"), "was not loaded: /w: Permission denied"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("step", ["load_checkpoint", "CLIP"])
def test_only_damage_is_called_damage(
    step: str,
    error: Exception,
    told: str,
    random_model: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(open_clip, step, fail)
    with pytest.raises(ModelError, match=told) as caught:
        build_model(files)
    assert not isinstance(caught.value, WeightsDamagedError)


@pytest.mark.filterwarnings("ignore:.torch.load. received a zip file")
def test_a_torchscript_file_is_told(random_model: Callable[[str], Path], tmp_path: Path) -> None:
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "scripted.pt")
    with pytest.raises(ModelError, match=r"scripted\.pt is a TorchScript file") as caught:
        build_model(dataclasses.replace(files, weights=tmp_path / "scripted.pt"))
    assert not isinstance(caught.value, WeightsDamagedError)


def test_a_configuration_that_open_clip_cannot_build_is_no_damage(
    random_model: Callable[[str], Path],
) -> None:
    files = locate(parse_model(f"local-dir:{random_model('clip')}"))
    wrong = dataclasses.replace(files, model_cfg=files.model_cfg | {"unheard_of": 1})
    with pytest.raises(ModelError, match=r"cannot be built: .*unheard_of") as caught:
        build_model(wrong)
    assert not isinstance(caught.value, WeightsDamagedError)


def test_no_temporary_folder_is_needed(
    random_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for naming a configuration, either."""

    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for kind in ("clip", "siglip"):
        files = locate(parse_model(f"local-dir:{random_model(kind)}"))
        build_model(files)
        build_tokenizer(files)
