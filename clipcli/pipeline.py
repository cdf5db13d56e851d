"""The local engine: read and decode ahead in threads, encode in batches, score, keep the order.

What was encoded is kept in the cache batch by batch, so that a run that was killed goes on, when it is
run again, where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from clipcli.cache import FeatureCache, FileKey, digest_of, file_key
from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import DEFAULT, DecodeOptions, decode, ordinary_jpeg
from clipcli.inputs.item import read_file
from clipcli.prefetch import available_cores, in_chunks, prefetch_map
from clipcli.records import (
    BatchDecoder,
    Encoder,
    Float32Array,
    ImageFailure,
    Jpeg,
    Outcome,
    Preprocess,
    Uint8Array,
)
from clipcli.scoring.classifier import Classifier, Ranking

_LOOKERS = 4  # threads that look inputs up in the cache, at most


@dataclass(frozen=True)
class EngineOptions:
    """How the work is cut up and how images are read.

    Args:
        batch_size: images encoded together; None is what suits the device.
        workers: threads that read and decode; None is one a core.
        decoding: how image files are read.

    Raises:
        UsageError: a value below 1.
    """

    batch_size: int | None = None
    workers: int | None = None
    decoding: DecodeOptions = DEFAULT

    def __post_init__(self) -> None:
        for option in ("batch_size", "workers"):
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


class _Fetched(NamedTuple):
    """One input on its way: a failure, a vector from the cache, a file for the GPU, or pixels to encode.

    With none of these it is still to be read.
    """

    outcome: str | ImageFailure
    vector: Float32Array | None = None
    jpeg: Jpeg | None = None
    pixels: Uint8Array | None = None
    digest: bytes = b""
    file: FileKey | None = None


class _Store(NamedTuple):
    """The cache, as one encoder with one way of decoding sees it."""

    cache: FeatureCache
    encoder: str

    def by_file(self, files: Sequence[FileKey]) -> list[Float32Array | None]:
        return self.cache.features_of_files(self.encoder, files)

    def by_content(self, digest: bytes) -> Float32Array | None:
        return self.cache.features(self.encoder, digest)


def classify(  # noqa: PLR0913, PLR0917
    images: Iterable[str | ImageFailure],
    encoder: Encoder,
    classifier: Classifier,
    ranking: Ranking | None = None,
    options: EngineOptions | None = None,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
    decoder: BatchDecoder | None = None,
) -> Iterator[Outcome]:
    """Classify images lazily: one outcome an input, in input order, whatever failed.

    Args:
        images: paths, as `clipcli.inputs.walk.Inputs` yields them.
        encoder: the model.
        classifier: class embeddings made by the same model.
        ranking: how many labels an image, which score, when to abstain.
        options: batch size and threads.
        cache: where features made before are found, and new ones kept, batch by batch.
        stop: asked before each batch; True ends the run early.
        decoder: for `DecodeOptions.on_gpu`.

    Raises:
        ModelMismatchError: the class embeddings come from another model.
    """
    classifier.check_encoder(encoder)
    batches = encode(images, encoder, options or EngineOptions(), cache, stop, decoder)
    return _predict(batches, classifier, ranking or Ranking())


def _predict(batches: Iterable[EncodedBatch], classifier: Classifier, ranking: Ranking) -> Iterator[Outcome]:
    for batch in batches:
        predictions = iter(classifier.predict(batch.images, batch.features, ranking) if batch.images else ())
        for outcome in batch.outcomes:
            yield outcome if isinstance(outcome, ImageFailure) else next(predictions)


def encode(
    images: Iterable[str | ImageFailure],
    encoder: Encoder,
    options: EngineOptions,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
    decoder: BatchDecoder | None = None,
) -> Iterator[EncodedBatch]:
    """Encode images batch by batch, in order; meanwhile the next ones are read and decoded.

    With a GPU or several, batches are encoded in threads of their own, while those before them are scored and
    written. On a CPU that brings nothing: scoring and writing take the same cores.

    Raises:
        ValueError: decoding on a GPU is asked for, and no decoder is given.
    """
    if options.decoding.on_gpu and decoder is None:
        raise ValueError("decoding on a GPU needs a decoder")
    batch_size, in_flight = options.batch_size or encoder.batch_size, encoder.in_flight
    workers = options.workers or available_cores()
    store = None if cache is None else _Store(cache, encoder.cache_key + options.decoding.cache_suffix)

    def look_up(images: list[str | ImageFailure]) -> list[_Fetched]:
        return _looked_up(images, store)

    def fetch(one: _Fetched) -> _Fetched:
        return _fetch(one, encoder.preprocess, options, store)

    def encoded(batch: list[_Fetched]) -> EncodedBatch:
        batch = batch if decoder is None else _decoded(batch, decoder, encoder.preprocess, options.decoding)
        vectors = _encode_batch(batch, encoder, store)
        features = np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)
        return EncodedBatch([one.outcome for one in batch], features)

    def batches() -> Iterator[list[_Fetched]]:
        while not stop() and (batch := list(islice(fetched, batch_size))):
            yield batch

    prefetch = (1 + in_flight) * batch_size + workers
    lookers = min(workers, _LOOKERS)
    chunk = max(1, batch_size // (2 * lookers))  # inputs that are looked up together
    looked_up = chain.from_iterable(
        prefetch_map(look_up, in_chunks(images, chunk), lookers, prefetch=lookers)
    )
    prefetch -= (lookers + 1) * chunk - 1  # of which so many are looked up and not yet begun
    fetched = prefetch_map(fetch, looked_up, workers, prefetch, known=_found)
    if in_flight == 1:
        yield from map(encoded, batches())
    else:
        yield from prefetch_map(encoded, batches(), workers=in_flight, prefetch=in_flight)


def _looked_up(images: Sequence[str | ImageFailure], store: _Store | None) -> list[_Fetched]:
    """The images with what the cache has of these versions of them."""
    if store is None:
        return [_Fetched(image) for image in images]
    files = [None if isinstance(image, ImageFailure) else file_key(image) for image in images]
    vectors = iter(store.by_file([file for file in files if file]))
    return [
        _Fetched(image, next(vectors) if file else None, file=file)
        for image, file in zip(images, files, strict=True)
    ]


def _found(one: _Fetched) -> _Fetched | None:
    """The input, if nothing is left to read."""
    return None if one.vector is None and isinstance(one.outcome, str) else one


def _fetch(one: _Fetched, preprocess: Preprocess, options: EngineOptions, store: _Store | None) -> _Fetched:
    """Read an image and look it up in the cache by its content, or else decode it."""
    image = str(one.outcome)
    try:
        data = read_file(image)
        digest = digest_of(data) if store else b""
        vector = store.by_content(digest) if store else None
        if vector is not None:
            return one._replace(vector=vector, digest=digest)
        jpeg = ordinary_jpeg(data, options.decoding) if options.decoding.on_gpu else None
        if jpeg is not None:
            return one._replace(jpeg=jpeg, digest=digest)
        pixels = decode(data, preprocess, options.decoding)
        return one._replace(pixels=pixels, digest=digest)
    except ImageError as error:
        return _Fetched(ImageFailure(image, error.message))


def _decoded(
    batch: list[_Fetched], decoder: BatchDecoder, preprocess: Preprocess, decoding: DecodeOptions
) -> list[_Fetched]:
    """The batch with the pixels of all its images: JPEGs for the GPU decoded there, or here if it cannot."""
    jpegs = [one.jpeg for one in batch if one.jpeg is not None]
    if not jpegs:
        return batch
    decoded = iter(decoder.decode_jpegs(jpegs))
    return [
        one if one.jpeg is None else _with_pixels(one, one.jpeg, next(decoded), preprocess, decoding)
        for one in batch
    ]


def _with_pixels(
    one: _Fetched, jpeg: Jpeg, pixels: Uint8Array | None, preprocess: Preprocess, decoding: DecodeOptions
) -> _Fetched:
    try:
        if pixels is None:
            pixels = decode(jpeg.data, preprocess, decoding)
    except ImageError as error:
        return _Fetched(ImageFailure(str(one.outcome), error.message))
    return one._replace(jpeg=None, pixels=pixels)


def _encode_batch(batch: Sequence[_Fetched], encoder: Encoder, store: _Store | None) -> list[Float32Array]:
    """The vectors (D,) of a batch's images, in order; new ones are kept in the cache."""
    pixels = [one.pixels for one in batch if one.pixels is not None]
    made = encoder.encode_images(np.stack(pixels)) if pixels else np.empty((0, 0), dtype=np.float32)
    if store is not None:
        digests = [one.digest for one in batch if one.pixels is not None]
        files = [(one.file, one.digest) for one in batch if one.file and one.digest]
        store.cache.add(store.encoder, digests, made, files)
    new = iter(made)
    return [next(new) if one.vector is None else one.vector for one in batch if isinstance(one.outcome, str)]
