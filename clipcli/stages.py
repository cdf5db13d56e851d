"""The stages from an item to an outcome, as plain functions that every engine calls.

    Item -> decode_item -> Decoded -> encode_batch -> EncodedBatch -> score_batch -> Outcome

An image that fails on the way is an `ImageFailure` from then on, in its place among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from clipcli.errors import ImageError
from clipcli.images.decode import DEFAULT, DecodeOptions, decode
from clipcli.inputs.item import read_file
from clipcli.records import (
    Encoder,
    Float32Array,
    ImageFailure,
    Item,
    Jpeg,
    Outcome,
    Preprocess,
    Uint8Array,
    Version,
)
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.ranking import Ranking

if TYPE_CHECKING:
    from PIL import Image


class Unread(NamedTuple):
    """An item of which nothing is known but, perhaps, its version, and its content if it was read ahead."""

    item: Item
    version: Version | None = None
    content: bytes | Image.Image | None = None


class Known(NamedTuple):
    """An item whose features (D,) were computed before; with `digest` if it was read to find them."""

    item: Item
    vector: Float32Array
    version: Version | None = None
    digest: bytes = b""


class Undecoded(NamedTuple):
    """An item for a decoder that takes many at a time."""

    item: Item
    jpeg: Jpeg
    version: Version | None = None
    digest: bytes = b""


class Decoded(NamedTuple):
    """An item with its pixels (H, W, 3), ready to be encoded."""

    item: Item
    pixels: Uint8Array
    version: Version | None = None
    digest: bytes = b""


Pending: TypeAlias = Unread | Known | Undecoded | Decoded | ImageFailure
"""What an item can be on its way to the encoder."""


class EncodedBatch(NamedTuple):
    """Some inputs in order: items with their features (N, D), and the failures in their places.

    `known` tells of each item whether its features were in the cache.
    """

    outcomes: list[Item | ImageFailure]
    features: Float32Array
    known: list[bool]

    @property
    def items(self) -> list[Item]:
        """The N items that were encoded, in order."""
        return [outcome for outcome in self.outcomes if not isinstance(outcome, ImageFailure)]


def decode_item(
    item: Item, preprocess: Preprocess, options: DecodeOptions = DEFAULT
) -> Decoded | ImageFailure:
    """Read and decode one image.

    Args:
        item: the image.
        preprocess: the model's recipe.
        options: limits, and how exact.

    Returns:
        Pixels (H, W, 3) uint8 of `preprocess.size`, or why there are none.
    """
    try:
        return Decoded(item, decode(item.read(), preprocess, options))
    except ImageError as error:
        return failure_of(item, error)


def encode_batch(batch: Sequence[Decoded | Known | ImageFailure], encoder: Encoder) -> EncodedBatch:
    """Encode the images of a batch whose features (N, D) are not known yet, in one call."""
    pixels = [one.pixels for one in batch if isinstance(one, Decoded)]
    new = iter(encoder.encode_images(np.stack(pixels)) if pixels else ())
    images = [one for one in batch if not isinstance(one, ImageFailure)]
    vectors = [one.vector if isinstance(one, Known) else next(new) for one in images]
    features = np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)
    outcomes = [one if isinstance(one, ImageFailure) else one.item for one in batch]
    return EncodedBatch(outcomes, features, [isinstance(one, Known) for one in images])


def score_batch(batch: EncodedBatch, classifier: Classifier, ranking: Ranking) -> list[Outcome]:
    """Rank the classes of each image of a batch; failures keep their places."""
    items = batch.items
    names = [item.name for item in items]
    ranked = iter(classifier.predict(names, batch.features, ranking) if items else ())
    known = iter(batch.known)
    return [
        outcome if isinstance(outcome, ImageFailure) else next(ranked).of_item(outcome, next(known))
        for outcome in batch.outcomes
    ]


def failure_of(item: Item, error: ImageError) -> ImageFailure:
    """What becomes of an item that cannot be read."""
    return ImageFailure(item.name, error.message, item.columns, item.truth)


def load_pixels(path: str, preprocess: Preprocess, options: DecodeOptions = DEFAULT) -> Uint8Array:
    """Read one image file as the model wants it; arguments and result as in `decode`.

    Raises:
        ImageError: the file is missing, unreadable, truncated, too large or not an image.
    """
    return decode(read_file(path), preprocess, options)
