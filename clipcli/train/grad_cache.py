"""The gradient of one step, in the memory of one batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
import torch

from clipcli.train.data import View, sizes
from clipcli.train.losses import keys_of, keys_of_image, positives
from clipcli.train.trainable import Trainable


def backward(towers: Trainable, views: Sequence[View], batch_size: int, seed: Callable[[], None]) -> float:
    """Add the gradient of a step's loss to the weights'; returns the loss.

    A contrastive loss compares all pairs of a step: the mean of the losses of its batches would be another
    loss, with fewer negatives. With several batches, features are therefore made twice: all of them for the
    loss and its gradient by each feature, then batch by batch with what is needed to go on to the weights
    (GradCache, Gao et al. 2021). The gradient is that of one large batch, but for batch norm, whose
    statistics are those of each batch.

    Args:
        towers: the model.
        views: the pairs of the step.
        batch_size: pairs in memory at a time.
        seed: sets the random numbers, so that dropout is the same both times.
    """
    own = [keys_of_image(view.pair) for view in views]
    found = positives(own, [keys_of(view.caption) for view in views])
    positive = torch.from_numpy(found).to(towers.device)  # (N, N)
    left = iter(views)
    batches = [list(islice(left, size)) for size in sizes(len(views), batch_size)]
    seed()
    if len(batches) == 1:
        loss = towers.loss(*_features(towers, batches[0]), positive)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())
    with torch.no_grad(), _kept(towers.model.buffers()):  # so that batch norm counts each batch once
        parts = [_features(towers, batch) for batch in batches]
    images, texts = (torch.cat(features).requires_grad_() for features in zip(*parts, strict=True))  # (N, D)
    loss = towers.loss(images, texts, positive)
    loss.backward()  # type: ignore[no-untyped-call]
    lengths = [len(batch) for batch in batches]
    gradients = (cast(Any, features.grad).split(lengths) for features in (images, texts))
    seed()
    for batch, *gradient in zip(batches, *gradients, strict=True):
        made = zip(_features(towers, batch), gradient, strict=True)
        surrogate = sum((features * of_features).sum() for features, of_features in made)
        cast(torch.Tensor, surrogate).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _features(towers: Trainable, views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) of images and of captions."""
    pixels = np.stack([view.pixels for view in views])
    return towers.image_features(pixels), towers.text_features([view.caption.text for view in views])


@contextlib.contextmanager
def _kept(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """The tensors are afterwards what they were before."""
    before = [(tensor, tensor.clone()) for tensor in tensors]
    yield
    for tensor, value in before:
        tensor.copy_(value)
