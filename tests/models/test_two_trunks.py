"""The tower of two networks: what it makes of an image, and that open_clip builds it like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import ROOT
from PIL import Image

from clipcli import load_model
from clipcli.models.build import build_random
from clipcli.models.locate import locate_config
from clipcli.models.optimize.fuse_batchnorm import fuse_batch_norms
from clipcli.models.two_trunks import CLASSES, DRAWING_SIZE, SIZE, TwoTrunks, resize_matrix
from clipcli.train.run_folder import save_model
from clipcli.train.trainable import lock_towers

CONFIG = ROOT / "training" / "joined.json"


@pytest.fixture(scope="module")
def model() -> Any:
    """The whole model with random weights."""
    return build_random(locate_config(CONFIG), seed=0).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two images, (2, 3, 192, 192)."""
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def choice(model: Any) -> Iterator[torch.nn.Linear]:
    """What weights the networks, put back afterwards."""
    layer = model.visual.trunk.choice
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    yield layer
    layer.load_state_dict(before)


def test_the_smaller_image_is_what_pillow_makes() -> None:
    lines = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(lines).resize((DRAWING_SIZE,) * 2, Image.Resampling.BICUBIC))
    matrix = resize_matrix(SIZE, DRAWING_SIZE).numpy()
    found = (matrix @ lines @ matrix.T).clip(0, 255)
    assert np.abs(found - expected).max() < 2  # Pillow rounds after each direction


@torch.inference_mode()
@pytest.mark.parametrize("is_photograph", [True, False])
def test_an_image_is_read_by_the_network_of_its_kind(
    model: Any, images: torch.Tensor, choice: torch.nn.Linear, is_photograph: bool
) -> None:
    trunk: TwoTrunks = model.visual.trunk
    choice.weight.zero_()
    choice.bias.fill_(200.0 if is_photograph else -200.0)
    classes, drawn = trunk(images).split([CLASSES, trunk.drawings.num_features], dim=1)
    matrix = resize_matrix(SIZE, DRAWING_SIZE)
    expected_classes = trunk.photographs(images).softmax(dim=1) * is_photograph
    torch.testing.assert_close(classes, expected_classes, atol=1e-6, rtol=1e-4)
    expected = trunk.drawings(matrix @ images @ matrix.T) * (not is_photograph)
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_choice_reads_both_networks(model: Any, images: torch.Tensor, choice: torch.nn.Linear) -> None:
    shares = []
    for part in (slice(0, 1280), slice(1280, 2560)):
        choice.weight.zero_()
        choice.weight[:, part] = 1e-4
        shares.append(model.visual.trunk(images)[:, :CLASSES].sum(1))
    assert not torch.allclose(shares[0], shares[1])


def test_a_folder_is_loaded_as_open_clip_loads_it(model: Any, tmp_path: Path) -> None:
    save_model(tmp_path / "", model.state_dict(), json.loads(CONFIG.read_text()))
    encoder = load_model(f"local-dir:{tmp_path}", device="cpu", precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    plain = open_clip.create_model(f"local-dir:{tmp_path}", precision="fp32").eval()
    with torch.inference_mode():
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        expected = torch.nn.functional.normalize(plain.encode_image(batch), dim=-1)
    np.testing.assert_allclose(encoder.encode_images(pixels), expected, atol=1e-5)
    assert encoder.preprocess.resize_mode == "squash"


@torch.inference_mode()
def test_batch_norms_of_both_networks_are_fused(model: Any, images: torch.Tensor) -> None:
    fused = fuse_batch_norms(model.visual, (SIZE, SIZE))
    assert not any("BatchNorm" in type(module).__name__ for module in fused.modules())
    torch.testing.assert_close(fused(images), model.visual(images), atol=1e-5, rtol=1e-3)


def test_the_last_layers_can_be_trained_alone() -> None:
    model = build_random(locate_config(CONFIG), seed=0)
    lock_towers(model, image=True, text=True, unlocked_layers=1)
    trained = [name for name, weight in model.visual.named_parameters() if weight.requires_grad]
    last = ("blocks.6", "conv_head", "bn2", "classifier")
    networks = [f"trunk.{network}.{part}." for network in ("photographs", "drawings") for part in last]
    expected = ("head.proj.", "trunk.choice.", *networks)
    names = [name for name, _ in model.visual.named_parameters()]
    assert trained == [name for name in names if name.startswith(expected)]
    assert len(trained) < len(names) / 4
