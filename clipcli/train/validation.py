"""How good a model in training is, measured on images that it is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from clipcli.errors import ModelError
from clipcli.prefetch import prefetch_map
from clipcli.records import Float32Array
from clipcli.scoring.metrics import recall_at_k
from clipcli.train.data import pixels_of
from clipcli.train.losses import Key, keys_of, keys_of_image, positives
from clipcli.train.pairs import Caption, Pair
from clipcli.train.trainable import Trainable, set_training


class Metrics(NamedTuple):
    """Metrics on the validation images, each from 0 to 1.

    `acc1`: zero-shot top-1 accuracy. The classes are the concepts of the validation set; a caption without
    a concept is a class of its own.
    `image_to_text_r1`, `image_to_text_r5`: recall at 1 and at 5, the share of images with one of their
    captions among the nearest captions.
    `text_to_image_r1`, `text_to_image_r5`: the share of captions with one of their images among the nearest
    images.
    """

    acc1: float
    image_to_text_r1: float
    image_to_text_r5: float
    text_to_image_r1: float
    text_to_image_r5: float

    @property
    def merit(self) -> float:
        """By which the best epoch is chosen: naming images and finding their captions count equally."""
        return self.acc1 + self.image_to_text_r1


def validate(trainable: Trainable, pairs: Sequence[Pair], batch_size: int, workers: int) -> Metrics:
    """Measure a model on images as `classify` sees them.

    Raises:
        ModelError: its features are not finite.
        ImageError: an image can no longer be read.
    """
    captions = list(dict.fromkeys(caption for pair in pairs for caption in pair.captions))
    texts = [caption.text for caption in captions]
    trainable.model.eval()
    with torch.no_grad(), trainable.exactly():
        image_features = np.concatenate(list(_image_features(trainable, pairs, batch_size, workers)))
        text_features = np.concatenate(
            [
                trainable.text_features(texts[start : start + batch_size]).cpu().numpy()
                for start in range(0, len(texts), batch_size)
            ]
        )
    set_training(trainable.model)
    if not (np.isfinite(image_features).all() and np.isfinite(text_features).all()):
        raise ModelError(
            "the model's features are not finite", "Train into another folder with a lower --lr."
        )
    return validation_metrics(pairs, captions, image_features, text_features)


def _image_features(
    trainable: Trainable, pairs: Sequence[Pair], batch_size: int, workers: int
) -> Iterator[Float32Array]:
    """(N, D) of each batch, while the next one is decoded."""
    decoded = prefetch_map(
        lambda pair: pixels_of(pair, trainable.preprocess), pairs, workers, 2 * batch_size + workers
    )
    with closing(cast(Any, decoded)):
        while batch := list(islice(decoded, batch_size)):
            yield cast(Float32Array, trainable.image_features(np.stack(batch)).cpu().numpy())


def validation_metrics(
    pairs: Sequence[Pair], captions: Sequence[Caption], images: Float32Array, texts: Float32Array
) -> Metrics:
    """The metrics of images with features (N, D), and of their distinct captions with features (M, D).

    A class embedding is the mean of the class's captions, normalised again.
    """
    image_keys = [keys_of_image(pair) for pair in pairs]
    text_keys = [keys_of(caption) for caption in captions]
    rows_of_class: dict[Key, list[int]] = {}
    for row, keys in enumerate(text_keys):
        rows_of_class.setdefault(keys[-1], []).append(row)
    means = np.stack([texts[rows].mean(axis=0) for rows in rows_of_class.values()])  # (C, D)
    classes = means / np.linalg.norm(means, axis=1, keepdims=True)
    of_classes = positives(image_keys, [(key,) for key in rows_of_class])  # (N, C)
    of_texts = positives(image_keys, text_keys)  # (N, M)
    return Metrics(
        recall_at_k(images, classes, of_classes, 1),
        recall_at_k(images, texts, of_texts, 1),
        recall_at_k(images, texts, of_texts, 5),
        recall_at_k(texts, images, of_texts.T, 1),
        recall_at_k(texts, images, of_texts.T, 5),
    )
