"""How weights change: learning rate, weight decay, and their average over the steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch

_BETAS, _EPS = (0.9, 0.98), 1e-6  # as in the CLIP paper for ViT, table 19


def lr_at(step: int, steps: int, warmup: int, highest: float) -> float:
    """Linear warm-up, then half a cosine to zero: `open_clip_train.scheduler.cosine_lr`; steps from 0."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def adamw(model: torch.nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """The optimiser of what is trained; its learning rate is set before each step."""
    return torch.optim.AdamW(parameter_groups(model, weight_decay), betas=_BETAS, eps=_EPS)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters with weight decay and without.

    Without are biases, gains, class tokens and the temperature: all that is one row of numbers, be it
    written as (C,), as (C, 1, 1) or as (1, 1, C).
    """
    decayed: list[torch.nn.Parameter] = []
    without: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            matrix = sum(axis > 1 for axis in weight.shape) >= 2 and not name.endswith("bias")
            (decayed if matrix else without).append(weight)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]


def clip_gradients(optimizer: torch.optim.Optimizer, longest: float) -> float:
    """Shorten the gradient to `longest`, 0 being no limit; returns how long it was."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return float(torch.nn.utils.clip_grad_norm_(weights, longest or math.inf))


class Average:
    """Exponential moving average of what training changes: weights, and running statistics of batch norm.

    Args:
        model: is averaged as it is now, and after each `update`.
        decay: how much of the average is kept at each step; 0 keeps no average at all.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
        state = {name: value for name, value in model.state_dict().items() if name not in frozen}
        self.decay = decay
        self.live = {name: value for name, value in state.items() if value.is_floating_point()}
        self.mean = {name: value.clone() for name, value in self.live.items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step 1, 2, …; the first count more, as in TensorFlow."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.mean.items():
            mean.lerp_(self.live[name], 1 - decay)

    @torch.no_grad()
    def take(self, mean: dict[str, torch.Tensor]) -> None:
        """Go on with the average of a checkpoint."""
        for name, value in self.mean.items():
            value.copy_(mean[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is the average within this context."""
        trained = {name: self.live[name].clone() for name in self.mean}
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.live[name].copy_(value)
