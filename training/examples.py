"""What the image tower is trained on: images, their captions, and how often each is drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from training.captions import ENSEMBLE
from training.text_tower import averaged


@dataclass
class Examples:
    """What is trained on.

    Args:
        masters: (N, 4, M, M) premultiplied uint8.
        targets: for each image, the share of every caption.
        weights: (N,) how often each is drawn.
        mono, flip: (N,) see `views`.
        photos: (P, 4, M, M) opaque photographs, drawn evenly.
        photo_targets: as `targets`.
        reference: (N, F) what the tower's start makes of each master; a row of zeros where it is not asked.
        directions: (A, F) features of classes that no image shows, from image_start.py.
        direction_names: what they are called.
    """

    masters: torch.Tensor
    targets: Sequence[Mapping[str, float]]
    weights: np.ndarray[Any, np.dtype[np.float64]]
    mono: torch.Tensor
    flip: torch.Tensor
    photos: torch.Tensor
    photo_targets: Sequence[Mapping[str, float]]
    reference: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    directions: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    direction_names: Sequence[str] = ()


class Bank:
    """All captions, what each image's are, and what they mean to the text tower."""

    def __init__(self, examples: Examples, model: Any, tokenizer: Any, neighbours: int = 24) -> None:
        names = [{name: 1.0} for name in examples.direction_names]
        shares = [*examples.targets, *examples.photo_targets, *names]
        self.captions = list(dict.fromkeys(word for share in shares for word in share))
        index = {word: i for i, word in enumerate(self.captions)}
        self.targets = [([index[word] for word in share], list(share.values())) for share in shares]
        self.first = torch.tensor([rows[0] for rows, _ in self.targets])
        self.features = averaged(model, tokenizer, self.captions, ENSEMBLE)  # (C, D) unit norm
        neighbours = min(neighbours, len(self.captions))
        close = [(part @ self.features.T).topk(neighbours, 1) for part in self.features.split(1024)]
        self.near = torch.cat([found.indices for found in close])  # (C, K)
        self.nearness = F.softmax(torch.cat([found.values for found in close]) / 0.08, 1)

    def target(self, rows: Sequence[int], soft: float) -> torch.Tensor:
        """(B, C): the captions of each image, and the neighbours of its first."""
        target = torch.zeros(len(rows), len(self.captions))
        for i, row in enumerate(rows):
            columns, shares = self.targets[row]
            target[i, columns] = (1 - soft) * torch.tensor(shares)
        first = self.first[list(rows)]
        return target.scatter_add_(1, self.near[first], soft * self.nearness[first])


def styles_factor(styles: int) -> float:
    """How much more often a concept is drawn that several styles show: they tell what a thing is in all."""
    return 1.0 if styles < 4 else 2.5


def sampling_weights(
    concepts: Sequence[str], sources: Sequence[str], factors: Sequence[float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One over the root of each concept's count, times `styles_factor` and `factors`; they add up to 1."""
    count = Counter(concepts)
    styles: dict[str, set[str]] = {}
    for concept, source in zip(concepts, sources, strict=True):
        styles.setdefault(concept, set()).add(source)
    weights = np.array([
        factor / math.sqrt(count[concept]) * styles_factor(len(styles[concept]))
        for concept, factor in zip(concepts, factors, strict=True)
    ])  # fmt: skip
    return weights / weights.sum()
