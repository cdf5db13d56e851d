"""Losses and positives: open_clip's where nothing repeats, and by hand where something does."""

from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss

from clipcli.train.losses import contrastive_loss, keys_of, positives, sigmoid_loss
from clipcli.train.pairs import Caption


def unit(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, columns, generator=generator), dim=-1)


def test_where_nothing_repeats_the_losses_are_those_of_open_clip() -> None:
    images, texts, each = unit(7, 5, 1), unit(7, 5, 2), torch.eye(7, dtype=torch.bool)
    scale, bias = torch.tensor(30.0), torch.tensor(-9.0)
    torch.testing.assert_close(contrastive_loss(images, texts, scale, each), ClipLoss()(images, texts, scale))
    torch.testing.assert_close(
        sigmoid_loss(images, texts, scale, bias, each), SigLipLoss()(images, texts, scale, bias)
    )


def test_two_equal_captions_are_positives_of_both_pictures() -> None:
    """By hand: unit vectors, so that all logits are 0 or 1, or 0 or 2 with the bias."""
    images = torch.eye(3)
    texts = images[[0, 0, 2]]
    positive = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    e = math.e
    of_images = (math.log(2 * e + 1) - 1) + math.log(3) + (math.log(e + 2) - 1)
    of_texts = 2 * (math.log(e + 2) - 0.5) + (math.log(e + 2) - 1)
    one = torch.tensor(1.0)
    loss = contrastive_loss(images, texts, one, positive)
    assert float(loss) == pytest.approx((of_images + of_texts) / 6)
    yes, no = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))  # a logit of 2, of 1, right
    wrong = math.log(1 + math.exp(1))  # a logit of 1 where none is wanted
    loss = sigmoid_loss(images, texts, one, one, positive)
    assert float(loss) == pytest.approx((3 * yes + 2 * no + 4 * wrong) / 3)


def test_captions_and_concepts_in_common_make_positives() -> None:
    texts = [Caption("a cat"), Caption("a tabby", "cat"), Caption("a tom", "cat"), Caption("a cat", "animal")]
    keys = [keys_of(text) for text in texts]
    found = positives([set(keys[0]), set(keys[1]), set(keys[2]) | set(keys[0]), set(keys[3])], keys)
    assert found.astype(int).tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]]
