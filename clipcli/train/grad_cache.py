"""The gradient of one step of several batches, in the memory of one batch (gradient caching)."""

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


def backward(
    trainable: Trainable, views: Sequence[View], batch_size: int, set_seed: Callable[[], None]
) -> float:
    """Add the gradient of a step's loss to the weights'; returns the loss.

    A contrastive loss compares all pairs of a step: the mean of the losses of its batches would be another
    loss, with fewer negatives. With several batches, features are therefore computed twice: first all of
    them without a graph, for the loss and its gradient with respect to each feature; then batch by batch
    with a graph, which carries these gradients on to the weights (GradCache, Gao et al. 2021). The result
    is the gradient of one large batch, except that batch norm uses the statistics of each batch.

    Args:
        trainable: the model.
        views: the pairs of the step.
        batch_size: pairs in memory at a time.
        set_seed: seeds the random generators, so that dropout is the same both times.
    """
    positive = _positives(views).to(trainable.device)  # (N, N)
    rest = iter(views)
    batches = [list(islice(rest, size)) for size in sizes(len(views), batch_size)]
    set_seed()
    if len(batches) > 1:
        return _backward_in_batches(trainable, batches, positive, set_seed)
    loss = trainable.loss(*_features(trainable, batches[0]), positive)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _backward_in_batches(
    trainable: Trainable, batches: list[list[View]], positive: torch.Tensor, set_seed: Callable[[], None]
) -> float:
    with torch.no_grad(), _unchanged(trainable.model.buffers()):  # so that batch norm counts each batch once
        parts = [_features(trainable, batch) for batch in batches]
    images, texts = (torch.cat(features).requires_grad_() for features in zip(*parts, strict=True))  # (N, D)
    loss = trainable.loss(images, texts, positive)
    loss.backward()  # type: ignore[no-untyped-call]
    lengths = [len(batch) for batch in batches]
    gradients = (cast(Any, features.grad).split(lengths) for features in (images, texts))
    set_seed()
    for batch, *gradient in zip(batches, *gradients, strict=True):
        pairs = zip(_features(trainable, batch), gradient, strict=True)
        surrogate = sum((features * of_features).sum() for features, of_features in pairs)
        cast(torch.Tensor, surrogate).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _positives(views: Sequence[View]) -> torch.Tensor:
    """(N, N): which captions of a step are right for which of its images."""
    image_keys = [keys_of_image(view.pair) for view in views]
    return torch.from_numpy(positives(image_keys, [keys_of(view.caption) for view in views]))


def _features(trainable: Trainable, views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) of images and of captions."""
    pixels = np.stack([view.pixels for view in views])
    return trainable.image_features(pixels), trainable.text_features([view.caption.text for view in views])


@contextlib.contextmanager
def _unchanged(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Give the tensors their present values back at the end."""
    before = [(tensor, tensor.clone()) for tensor in tensors]
    yield
    for tensor, value in before:
        tensor.copy_(value)
