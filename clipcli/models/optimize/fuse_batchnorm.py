"""Batch norms fused with the convolutions before them: the same features in fewer passes over them."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_ROUNDING = 1e-4  # of outputs, in parts of the largest, that fusing may change


@torch.no_grad()
def fuse_batch_norms(tower: nn.Module, size: tuple[int, int]) -> nn.Module:
    """The tower with each batch norm fused into the convolution whose output it takes.

    In evaluation a batch norm is a scale and a shift of each channel, which the convolution can do itself
    (Jacob et al. 2018, section 3.2). Which norm follows which convolution is seen by running an image, not
    told by names. Features change by rounding alone; where they would change by more, the tower is returned
    as it was.

    Args:
        tower: an image tower in fp32, in evaluation mode; it is not changed.
        size: (H, W) of the images that it takes.
    """
    if not any(map(_fusable, tower.modules())):
        return tower
    image = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    fused = copy.deepcopy(tower)
    before, pairs = _run(fused, image)
    paths = {module: path for path, module in fused.named_modules()}
    for convolution, norm in pairs:
        _replace(fused, paths[convolution], fuse_conv_bn_eval(convolution, norm))
        activation = getattr(norm, "act", None)  # which timm's norms hold
        _replace(fused, paths[norm], activation or nn.Identity())
    change = (before - fused(image)).abs().max()
    return fused if change <= _ROUNDING * before.abs().max() else tower


def _run(
    tower: nn.Module, image: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """The tower's output, and each convolution with the batch norm that alone takes what it gives, once."""
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # by the tensor's id; held, so that no other has it
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    runs: Counter[nn.Module] = Counter()

    def note_output(module: Any, _: Any, given: torch.Tensor) -> None:
        runs[module] += 1
        made[id(given)] = (module, given)

    def note_input(module: Any, taken: tuple[torch.Tensor, ...]) -> None:
        runs[module] += 1
        if id(taken[0]) in made:
            convolution = made[id(taken[0])][0]
            runs[convolution] += any(other is convolution for other, _ in pairs)
            pairs.append((convolution, module))

    hooks = [m.register_forward_hook(note_output) for m in tower.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(note_input) for m in tower.modules() if _fusable(m)]
    output = tower(image)
    for hook in hooks:
        hook.remove()
    return output, [
        (convolution, norm) for convolution, norm in pairs if runs[convolution] == runs[norm] == 1
    ]


def _fusable(module: nn.Module) -> bool:
    """Whether it is torch's own batch norm, or timm's with nothing but an activation after it."""
    if type(module) is nn.BatchNorm2d:
        return module.running_mean is not None
    return type(module).__name__ == "BatchNormAct2d" and isinstance(module.drop, nn.Identity)


def _replace(tower: nn.Module, path: str, new: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(tower.get_submodule(parent), name, new)
