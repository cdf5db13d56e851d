"""The local engine: read and decode ahead in threads, encode in batches, score, keep the order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from clipcli.classifier import Classifier, Ranking
from clipcli.errors import ImageError, UsageError
from clipcli.images import MAX_PIXELS, load_pixels
from clipcli.records import Encoder, Float32Array, ImageFailure, Outcome, Preprocess, Uint8Array

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EngineOptions:
    """How the work is cut up; none of it changes a result.

    Args:
        batch_size: images encoded together; None is what suits the device.
        workers: threads that read and decode; None is one a core.
        max_pixels: larger images are refused before decoding.

    Raises:
        UsageError: a value below 1.
    """

    batch_size: int | None = None
    workers: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for option in ("batch_size", "workers", "max_pixels"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise UsageError(f"--{option.replace('_', '-')} must be at least 1, not {value}")


class EncodedBatch(NamedTuple):
    """Some inputs in order: `images` with their features (N, D), and the failures at their places."""

    outcomes: list[str | ImageFailure]
    features: Float32Array

    @property
    def images(self) -> list[str]:
        """The inputs that were encoded, in order."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, str)]


def classify(
    images: Iterable[str | ImageFailure],
    encoder: Encoder,
    classifier: Classifier,
    ranking: Ranking | None = None,
    options: EngineOptions | None = None,
) -> Iterator[Outcome]:
    """Classify images lazily: one outcome an input, in input order, whatever failed.

    Args:
        images: paths, as `clipcli.sources.Inputs` yields them.
        encoder: the model.
        classifier: class embeddings made by the same model.
        ranking: how many labels an image, which score, when to abstain.
        options: batch size and threads.

    Raises:
        ModelMismatchError: the class embeddings come from another model.
    """
    classifier.check_encoder(encoder)
    return _classify(images, encoder, classifier, ranking or Ranking(), options or EngineOptions())


def _classify(
    images: Iterable[str | ImageFailure],
    encoder: Encoder,
    classifier: Classifier,
    ranking: Ranking,
    options: EngineOptions,
) -> Iterator[Outcome]:
    for batch in encode(images, encoder, options):
        predictions = iter(classifier.predict(batch.images, batch.features, ranking))
        for outcome in batch.outcomes:
            yield outcome if isinstance(outcome, ImageFailure) else next(predictions)


def encode(
    images: Iterable[str | ImageFailure], encoder: Encoder, options: EngineOptions
) -> Iterator[EncodedBatch]:
    """Encode images batch by batch; while one batch is encoded, the next two are decoded."""
    batch_size = options.batch_size or encoder.batch_size
    workers = options.workers or available_cores()

    def decode(image: str | ImageFailure) -> tuple[str | ImageFailure, Uint8Array | None]:
        return _decode(image, encoder.preprocess, options.max_pixels)

    decoded = map_ahead(decode, images, workers, look_ahead=2 * batch_size + workers)
    while batch := list(islice(decoded, batch_size)):
        pixels = [array for _, array in batch if array is not None]
        stacked = np.stack(pixels) if pixels else np.empty((0, *encoder.preprocess.size, 3), dtype=np.uint8)
        yield EncodedBatch([outcome for outcome, _ in batch], encoder.encode_images(stacked))


def _decode(
    image: str | ImageFailure, preprocess: Preprocess, max_pixels: int
) -> tuple[str | ImageFailure, Uint8Array | None]:
    if isinstance(image, ImageFailure):
        return image, None
    try:
        return image, load_pixels(image, preprocess, max_pixels)
    except ImageError as error:
        return ImageFailure(image, error.message), None


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, look_ahead: int
) -> Iterator[Result]:
    """`map` in threads: results in order, at most `look_ahead` items begun and not yet taken."""
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        pending: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(remaining, look_ahead)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
