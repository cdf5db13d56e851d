"""How good a model in training is, on images that it is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from clipcli.errors import ModelError
from clipcli.prefetch import prefetch_map
from clipcli.records import Float32Array
from clipcli.train.data import pixels_of
from clipcli.train.losses import Key, keys_of, keys_of_image, positives
from clipcli.train.pairs import Caption, Pair
from clipcli.train.trainable import Trainable, set_training


class Metrics(NamedTuple):
    """Of the validation images, each from 0 to 1.

    `acc1`: zero-shot top-1. The classes are the concepts of the validation set; a caption without a
    concept is a class of its own.
    `image_to_text`: a caption of the image is among the 1 (`_r1`) or 5 (`_r5`) nearest of all captions.
    `text_to_image`: the same the other way round.
    """

    acc1: float
    image_to_text_r1: float
    image_to_text_r5: float
    text_to_image_r1: float
    text_to_image_r5: float

    @property
    def merit(self) -> float:
        """What the best epoch has most of: naming images and finding their captions, equally."""
        return self.acc1 + self.image_to_text_r1


def validate(towers: Trainable, pairs: Sequence[Pair], batch_size: int, workers: int) -> Metrics:
    """Measure a model on images as `classify` sees them.

    Raises:
        ModelError: its features are no numbers.
        ImageError: an image is gone.
    """
    captions = list(dict.fromkeys(caption for pair in pairs for caption in pair.captions))
    texts = [caption.text for caption in captions]
    towers.model.eval()
    with torch.no_grad():
        image_features = np.concatenate(list(_image_features(towers, pairs, batch_size, workers)))
        text_features = np.concatenate(
            [
                towers.text_features(texts[start : start + batch_size]).cpu().numpy()
                for start in range(0, len(texts), batch_size)
            ]
        )
    set_training(towers.model)
    if not (np.isfinite(image_features).all() and np.isfinite(text_features).all()):
        raise ModelError(
            "the model's features are no numbers", "Train into another folder with a lower --lr."
        )
    return validation_metrics(pairs, captions, image_features, text_features)


def _image_features(
    towers: Trainable, pairs: Sequence[Pair], batch_size: int, workers: int
) -> Iterator[Float32Array]:
    """(N, D) of each batch, while the next is decoded."""
    decoded = prefetch_map(
        lambda pair: pixels_of(pair, towers.preprocess), pairs, workers, 2 * batch_size + workers
    )
    with closing(cast(Any, decoded)):
        while batch := list(islice(decoded, batch_size)):
            yield cast(Float32Array, towers.image_features(np.stack(batch)).cpu().numpy())


def validation_metrics(
    pairs: Sequence[Pair], captions: Sequence[Caption], images: Float32Array, texts: Float32Array
) -> Metrics:
    """Of images with features (N, D), and their distinct captions with features (M, D).

    A class embedding is the mean of the class's captions, normalised again.
    """
    own = [keys_of_image(pair) for pair in pairs]
    text_keys = [keys_of(caption) for caption in captions]
    members: dict[Key, list[int]] = {}
    for index, keys in enumerate(text_keys):
        members.setdefault(keys[-1], []).append(index)
    means = np.stack([texts[rows].mean(axis=0) for rows in members.values()])  # (C, D)
    classes = means / np.linalg.norm(means, axis=1, keepdims=True)
    of_texts = positives(own, text_keys)
    return Metrics(
        recall_at(1, images, classes, positives(own, [(key,) for key in members])),
        recall_at(1, images, texts, of_texts),
        recall_at(5, images, texts, of_texts),
        recall_at(1, texts, images, of_texts.T),
        recall_at(5, texts, images, of_texts.T),
    )


def recall_at(k: int, queries: Float32Array, gallery: Float32Array, positive: npt.NDArray[np.bool_]) -> float:
    """The part of the queries (Q, D) with a positive (Q, G) among the k nearest of a gallery (G, D)."""
    found = 0
    for start in range(0, len(queries), 1024):
        similarity = queries[start : start + 1024] @ gallery.T  # (1024, D) @ (D, G)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        found += int(np.take_along_axis(positive[start : start + 1024], nearest, axis=1).any(axis=1).sum())
    return found / len(queries)
