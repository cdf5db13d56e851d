"""How weights change: the learning rate, weight decay, and the average of the weights over the steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from typing import Any

import torch

_BETAS, _EPS = (0.9, 0.98), 1e-6  # as in the CLIP paper for ViT, table 19


def lr_at(step: int, steps: int, warmup: int, highest: float) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to zero.

    It is `open_clip_train.scheduler.cosine_lr`.
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * cosine_decay(step - warmup, steps - warmup)


def cosine_decay(done: float, total: float = 1.0) -> float:
    """Half a cosine, from 1 where nothing is done to 0 where all is (Loshchilov and Hutter 2017, eq. 5)."""
    return 0.5 * (1 + math.cos(math.pi * done / total))


def adamw(
    groups: list[dict[str, Any]], betas: tuple[float, float] = _BETAS, eps: float = _EPS, fused: bool = False
) -> torch.optim.AdamW:
    """AdamW for the groups of `parameter_groups`; the learning rate is set before each step."""
    return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=fused or None)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use this learning rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def parameter_groups(
    model: torch.nn.Module, weight_decay: float, no_decay: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Trained parameters with weight decay and without.

    Biases, gains, class tokens and the temperature have none: every parameter that is a single row of
    numbers, whether its shape is (C,), (C, 1, 1) or (1, 1, C). timm's `param_groups_weight_decay` counts
    axes only, and so would decay the gains of FastViT and timm's class tokens.

    Args:
        model: only parameters that require a gradient are used.
        weight_decay: of weight matrices.
        no_decay: names of matrices that have none, as timm's `no_weight_decay_list`.
    """
    decayed: list[torch.nn.Parameter] = []
    without: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            matrix = sum(axis > 1 for axis in weight.shape) >= 2 and not name.endswith("bias")
            (decayed if matrix and name not in no_decay else without).append(weight)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Scale gradients down to a norm of at most `max_norm`, 0 being no limit; returns their norm before."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return float(torch.nn.utils.clip_grad_norm_(weights, max_norm or math.inf))


class Average:
    """Exponential moving average of what training changes: weights, and running statistics of batch norm.

    `torch.optim.swa_utils.AveragedModel` and timm's `ModelEmaV3` are not used, because they forget the
    initial weights at the first update, copy the weights of frozen towers too, and cannot read the
    averages in checkpoints of earlier versions.

    Args:
        model: is averaged as it is now, and after each `update`.
        decay: the share of the average that is kept in each step; 0 keeps no average at all.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
        state = {name: value for name, value in model.state_dict().items() if name not in frozen}
        self.decay = decay
        self.live = {name: value for name, value in state.items() if value.is_floating_point()}
        self.mean = {name: value.clone() for name, value in self.live.items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after step 1, 2, …

        The decay rises with the steps, as in TensorFlow's `ExponentialMovingAverage` with `num_updates`.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.mean.items():
            mean.lerp_(self.live[name], 1 - decay)

    @torch.no_grad()
    def restore(self, mean: dict[str, torch.Tensor]) -> None:
        """Continue with the average of a checkpoint."""
        for name, value in self.mean.items():
            value.copy_(mean[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights within this context."""
        trained = {name: self.live[name].clone() for name in self.mean}
        self._copy_to_model(self.mean)
        try:
            yield
        finally:
            self._copy_to_model(trained)

    @torch.no_grad()
    def _copy_to_model(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.live[name].copy_(value)
