"""Contrastive losses of one step, and which captions are right for which images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import log_softmax, logsigmoid

from clipcli.train.pairs import Caption, Pair

Key: TypeAlias = tuple[str, str]
"""What a caption has in common with others: ("caption", its text) or ("concept", its concept)."""


def contrastive_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, scale: torch.Tensor, positive: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy of softmaxes (CLIP paper, section 2.3), with several positives a row.

    A row's target is spread evenly over its positives, as in UniCL (Yang et al. 2022, section 3.2); with
    one each, this is `open_clip.loss.ClipLoss`. Features are (N, D) of unit norm, `positive` (N, N) bool.
    """
    logits = scale * image_features @ text_features.T  # (N, D) @ (D, N)
    return (_cross_entropy(logits, positive) + _cross_entropy(logits.T, positive.T)) / 2


def _cross_entropy(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    targets = positive / positive.sum(dim=1, keepdim=True)
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


def sigmoid_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    positive: torch.Tensor,
) -> torch.Tensor:
    """Each pair by itself (SigLIP paper, algorithm 1); where nothing repeats, `open_clip.loss.SigLipLoss`.

    With several positives a row, each of them counts as much as any other pair.
    """
    logits = scale * image_features @ text_features.T + bias  # (N, D) @ (D, N)
    return -logsigmoid(torch.where(positive, logits, -logits)).sum() / len(logits)


# --- Positives -----------------------------------------------------------------------------------


def keys_of(caption: Caption) -> tuple[Key, ...]:
    """What makes other captions positives: the same text or, where there is one, the same concept."""
    text: Key = ("caption", caption.text)
    return (text, ("concept", caption.concept)) if caption.concept else (text,)


def keys_of_image(pair: Pair) -> set[Key]:
    """The keys of all captions of an image."""
    return {key for caption in pair.captions for key in keys_of(caption)}


def positives(image_keys: Sequence[set[Key]], text_keys: Sequence[Sequence[Key]]) -> npt.NDArray[np.bool_]:
    """(N, M): whether image and text have a key in common."""
    columns: dict[Key, list[int]] = {}
    for column, keys in enumerate(text_keys):
        for key in keys:
            columns.setdefault(key, []).append(column)
    found = np.zeros((len(image_keys), len(text_keys)), dtype=np.bool_)
    for row, own in zip(found, image_keys, strict=True):
        for key in own:
            row[columns.get(key, [])] = True
    return found
