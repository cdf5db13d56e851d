"""Batch norms fused with convolutions: nothing else may change, and nothing that does not follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from clipcli.models.optimize.fuse_batchnorm import fuse_batch_norms

TOWERS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet": lambda: timm.create_model("efficientnet_lite0", num_classes=8),
    "resnet": lambda: timm.create_model("resnet10t", num_classes=8),
    "mobilenet": lambda: timm.create_model("mobilenetv3_small_050", num_classes=8),
    "CLIP's ResNet": lambda: ModifiedResNet((1, 1, 1, 1), 16, 4, image_size=64, width=8),
    "MobileCLIP": lambda: timm.create_model("fastvit_t8", num_classes=8),
}


def lived(tower: nn.Module) -> nn.Module:
    """With running statistics and scales that are not those of a new batch norm."""
    generator = torch.Generator().manual_seed(1)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return tower.eval()


def norms(tower: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in tower.modules())


@pytest.mark.parametrize("name", TOWERS)
def test_features_stay_and_batch_norms_go(name: str) -> None:
    torch.manual_seed(0)
    tower = lived(TOWERS[name]())
    before = norms(tower)
    fused = fuse_batch_norms(tower, (64, 64))
    assert norms(tower) == before
    assert norms(fused) <= before // 2
    images = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        expected, found = tower(images), fused(images)
    assert (expected - found).abs().max() <= 2e-5 * expected.abs().max()


class _Twice(nn.Module):
    """A convolution whose output is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        given = self.convolution(images)
        return torch.cat([self.norm(given), self.other(given)], 1)


class _Beside(_Twice):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        given = self.convolution(images)
        return self.norm(given) + given


class _Shared(_Twice):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(images)) + self.norm(self.convolution(images.flip(3)))


class _Between(_Twice):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(images).relu())


@pytest.mark.parametrize("build", [_Twice, _Beside, _Shared, _Between])
def test_what_does_not_only_feed_a_batch_norm_stays(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    tower = lived(build())
    fused = fuse_batch_norms(tower, (8, 8))
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(tower(images), fused(images))
    assert norms(fused) == 2


def test_a_tower_without_batch_norms_is_the_same_object() -> None:
    tower = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert fuse_batch_norms(tower, (8, 8)) is tower


def test_the_bundled_model_is_fused_and_gives_open_clips_features(nano: Any) -> None:
    assert norms(nano.model.visual) == 0
    model = open_clip.create_model(f"local-dir:{nano.files.weights.parent}").eval()
    assert norms(model.visual) > 0
    images = torch.randn(4, 3, *nano.preprocess.size)
    with torch.inference_mode():
        expected, found = (m.encode_image(images, normalize=True) for m in (model, nano.model))
    assert (expected - found).abs().max() < 1e-6
