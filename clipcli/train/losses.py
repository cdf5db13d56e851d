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
"""What captions may have in common: ("caption", its text) or ("concept", its concept)."""


def contrastive_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, scale: torch.Tensor, positive: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy of softmaxes (CLIP paper, section 2.3), with several positives a row.

    A row's target is spread evenly over its positives, as in UniCL (Yang et al. 2022, section 3.2). With one
    positive a row, this is `open_clip.loss.ClipLoss`.

    Args:
        image_features: (N, D) of unit norm.
        text_features: (N, D) of unit norm.
        scale: the temperature, exponentiated.
        positive: (N, N) bool, which texts are right for which image.
    """
    logits = scale * image_features @ text_features.T  # (N, D) @ (D, N)
    of_images = soft_cross_entropy(logits, positive / positive.sum(dim=1, keepdim=True))
    of_texts = soft_cross_entropy(logits.T, positive.T / positive.T.sum(dim=1, keepdim=True))
    return (of_images + of_texts) / 2


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of (N, C) logits with (N, C) targets that are shares of each row, averaged over rows.

    `torch.nn.functional.cross_entropy` sums in another order, so that runs begun earlier would not continue
    with the same numbers.
    """
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


def sigmoid_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    positive: torch.Tensor,
) -> torch.Tensor:
    """The loss of each pair by itself (SigLIP paper, algorithm 1), with several positives a row.

    With one positive a row, this is `open_clip.loss.SigLipLoss`; with several, each of them counts as much as
    any other pair.

    Args:
        image_features: (N, D) of unit norm.
        text_features: (N, D) of unit norm.
        scale: the temperature, exponentiated.
        bias: added to every logit.
        positive: (N, N) bool, which texts are right for which image.
    """
    logits = scale * image_features @ text_features.T + bias  # (N, D) @ (D, N)
    return -logsigmoid(torch.where(positive, logits, -logits)).sum() / len(logits)


# --- Positives -----------------------------------------------------------------------------------


def keys_of(caption: Caption) -> tuple[Key, ...]:
    """The keys of a caption: captions with a key in common are right for each other's images."""
    text: Key = ("caption", caption.text)
    return (text, ("concept", caption.concept)) if caption.concept else (text,)


def keys_of_image(pair: Pair) -> set[Key]:
    """The keys of all captions of an image."""
    return {key for caption in pair.captions for key in keys_of(caption)}


def positives(image_keys: Sequence[set[Key]], text_keys: Sequence[Sequence[Key]]) -> npt.NDArray[np.bool_]:
    """(N, M): whether an image and a text have a key in common."""
    columns: dict[Key, list[int]] = {}
    for column, keys in enumerate(text_keys):
        for key in keys:
            columns.setdefault(key, []).append(column)
    found = np.zeros((len(image_keys), len(text_keys)), dtype=np.bool_)
    for row, own_keys in zip(found, image_keys, strict=True):
        for key in own_keys:
            row[columns.get(key, [])] = True
    return found
