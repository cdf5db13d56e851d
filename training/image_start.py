"""Where the image tower starts: EfficientNet-Lite0, which knows ImageNet's photographs (Apache-2.0).

Pictograms alone would have it forget them. Two things keep what it knows: its features of each coloured
image, seen larger (`reference_features`), which the tower goes on to resemble; and the directions of its
classes (`class_directions`), which the tower's projection must send to the classes' names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from training.captions import photo_classes
from training.render import Masters
from training.splits import HELD_OUT, mentions

REFERENCE = "tf_efficientnet_lite0"  # as it was trained; the tower pads evenly, which is faster
REFERENCE_SIZE = 112  # pixels
_MEAN, _STD = 127 / 255, 128 / 255


def start_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in the unpacked package, in the order of the network's layers."""
    (path,) = folder.rglob("*.pth")
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights


def start_from_photographs(visual: Any, folder: Path, fixed_blocks: int, fixed_filters: bool) -> None:
    """Copy the weights into the tower's trunk, all but the classifier. What is fixed: see `Settings`.

    Raises:
        ValueError: the package's layers are not the trunk's.
    """
    state, weights = visual.trunk.state_dict(), list(start_weights(folder).values())[:-2]
    if [value.shape for value in state.values()] != [value.shape for value in weights]:
        raise ValueError("the weights of the package do not fit the image tower")
    visual.trunk.load_state_dict(dict(zip(state, weights, strict=True)))
    first = [visual.trunk.conv_stem, visual.trunk.bn1, *visual.trunk.blocks[:fixed_blocks]]
    for module in first if fixed_blocks else []:
        module.requires_grad_(False)
    for module in visual.trunk.modules():
        if fixed_filters and isinstance(module, nn.Conv2d) and module.groups > 1:
            module.requires_grad_(False)


def class_directions(folder: Path) -> tuple[torch.Tensor, list[str]]:
    """Which way the features of each photo class lie from the mean of all -> (C, F), and the classes' names.

    They are the rows of the classifier. Classes that name a held-out concept are left out.
    """
    rows = list(start_weights(folder).values())[-2]
    held_out = mentions(HELD_OUT)
    kept = [i for i, name in enumerate(photo_classes()) if not held_out.search(name.lower())]
    return (rows - rows.mean(0))[kept], [photo_classes()[i] for i in kept]


@torch.inference_mode()
def reference_features(masters: Masters, rows: Sequence[int], folder: Path) -> torch.Tensor:
    """What the network that the tower starts from makes of the masters on white -> (N, F)."""
    import timm

    network = timm.create_model(REFERENCE)
    network.load_state_dict(dict(zip(network.state_dict(), start_weights(folder).values(), strict=True)))
    network.reset_classifier(0)
    network = network.eval().to(memory_format=torch.channels_last)
    parts = []
    for start in range(0, len(rows), 64):
        part = torch.from_numpy(masters[rows[start : start + 64]]).permute(0, 3, 1, 2).float() / 255
        seen = part[:, :3] + 1 - part[:, 3:]
        seen = F.interpolate(seen, (REFERENCE_SIZE,) * 2, mode="bicubic", align_corners=False).clamp(0, 1)
        parts.append(network(((seen - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)))
    return torch.cat(parts).clone()


def first_projection(features: torch.Tensor, targets: torch.Tensor, ridge: float = 0.05) -> torch.Tensor:
    """The linear map from features (N, F) to targets (N, D) by ridge regression -> (D, F).

    Args:
        ridge: its strength, in parts of the features' mean square.
    """
    gram = features.T @ features
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    return torch.linalg.solve(gram, features.T @ targets).T
