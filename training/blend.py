"""From the image tower that knows what it was shown to one that also knows what resembles it.

A fine-tuned tower is at its best with what it was trained on. Weights on the line between its own and those
that it started from do better elsewhere (WiSE-FT: Wortsman et al. 2022, arXiv:2109.01903), and so does a
projection that is partly the ridge regression from features to names. Both cost some of what was learned;
a few minutes of training at a low rate bring most of that back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from training.image_start import centred_projection
from training.image_tower import ImageTraining, Settings
from training.text_tower import Budget

_RIDGE = 1.0
_VIEWS_OF_NORMS = 3840  # from which statistics of batch norms are taken


class Shares(NamedTuple):
    """What is kept of the trained weights of the trunk and of the projection, 0 to 1."""

    trunk: float
    projection: float


FIRST, LAST = Shares(0.65, 0.5), Shares(1.0, 0.9)  # before and after the last minutes


def last_minutes(settings: Settings, seconds: float) -> Settings:
    """How the blend is trained: at a low rate, and with more weight on the classes that no picture shows."""
    return replace(settings, budget=Budget(seconds), rate=3e-4, directions=(1.0, 96))


@torch.no_grad()
def blended(
    training: ImageTraining, before: Mapping[str, torch.Tensor], shares: Shares, views: int = 16_000
) -> dict[str, torch.Tensor]:
    """The averaged weights that learn, blended -> a state for `ImageTraining.go_on_from`.

    Args:
        training: at its end; its image tower is left with the blended weights.
        before: the weights of the trunk that it started from.
        shares: what is kept of the trained ones.
        views: from so many the regression is made.
    """
    state = {name: value.clone() for name, value in training.average.items()}
    for name, start in before.items():
        if start.is_floating_point():
            trained = state[f"visual.trunk.{name}"]
            trained.copy_(torch.lerp(start, trained, shares.trunk))
    training.restore(state)
    visual, size = training.visual, training.settings.batch_size
    batches = [training.batch(training.step + i) for i in range(-(-views // size))]
    if shares.trunk < 1:
        measure_norms(visual.trunk, (pictures for pictures, _, _ in batches[: -(-_VIEWS_OF_NORMS // size)]))
    visual.eval()
    features = torch.cat([visual.trunk(pictures) for pictures, _, _ in batches])  # (N, F)
    targets = torch.cat([F.normalize(target @ training.bank.features, dim=1) for _, _, target in batches])
    visual.train()
    regression = centred_projection(
        features, targets, training.examples.directions, training.direction_targets(), _RIDGE
    )
    trained = visual.head.proj.weight
    size_of = [(features @ weight.T).norm(dim=1).mean() for weight in (trained, regression)]
    trained.copy_(torch.lerp(regression * size_of[0] / size_of[1], trained, shares.projection))
    return {name: value.detach().clone() for name, value in training.state().items()}


def measure_norms(trunk: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set the statistics of all batch norms to the mean over these batches."""
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    trunk.train()
    for pictures in batches:
        trunk(pictures)
    for norm, usual in zip(norms, momentum, strict=True):
        norm.momentum = usual
