"""The local engine: read and decode ahead in threads, encode in batches, score, keep the order.

What was encoded is kept in the cache batch by batch, so that a run that was killed goes on where it stopped
when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from clipcli.cache import FeatureCache, content_digest
from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import DEFAULT, DecodeOptions, decode, ordinary_jpeg
from clipcli.per_video import max_of_videos, mean_of_videos
from clipcli.prefetch import available_cores, in_chunks, prefetch_map
from clipcli.read_ahead import read_ahead
from clipcli.records import (
    BatchDecoder,
    Encoder,
    Float32Array,
    ImageFailure,
    ImageFeatures,
    Item,
    Outcome,
    Uint8Array,
    Version,
    is_remote,
)
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.ranking import Ranking
from clipcli.stages import (
    Decoded,
    EncodedBatch,
    Known,
    Pending,
    Undecoded,
    Unread,
    encode_batch,
    failure_of,
    score_batch,
)

_LOOKUP_THREADS = 4  # that look items up in the cache, at most
_LONGEST_BATCH = 32  # batches of items that wait for few new ones among them


@dataclass(frozen=True)
class EngineOptions:
    """How the work is cut up and how images are read.

    Args:
        batch_size: images encoded together; None is what suits the device.
        workers: threads that read and decode; None is one per core.
        decoding: how image files are read.
        decoder: decodes ordinary JPEGs, a batch at a time, if `decoding.on_gpu`.

    Raises:
        UsageError: a value below 1.
    """

    batch_size: int | None = None
    workers: int | None = None
    decoding: DecodeOptions = DEFAULT
    decoder: BatchDecoder | None = None

    def __post_init__(self) -> None:
        for option in ("batch_size", "workers"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise UsageError(f"`{option}` must be at least 1, not {value}")


def classify(
    items: Iterable[Item | ImageFailure],
    encoder: Encoder,
    classifier: Classifier,
    ranking: Ranking | None = None,
    options: EngineOptions | None = None,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Classify images lazily: one outcome per item, in their order, whatever failed.

    Args:
        items: as `clipcli.inputs.inputs.Inputs` yields them.
        encoder: the model.
        classifier: class embeddings made by the same model.
        ranking: how many labels per image, which score, when to abstain.
        options: batch size, threads and decoding.
        cache: where features computed before are found, and new ones kept, batch by batch.
        stop: asked before each batch; True ends the run early.

    Raises:
        ModelMismatchError: the class embeddings come from another model.
        UsageError: the classifier is calibrated for another score, has no groups to roll up to, or has groups
            or sets, of which there are no largest scores.
    """
    ranking = ranking or Ranking()
    classifier.check_encoder(encoder)
    classifier.check_ranking(ranking)
    batches = encode(items, encoder, options or EngineOptions(), cache, stop)
    if ranking.per_video == "max":
        return max_of_videos(batches, classifier, ranking)
    return _scored(mean_of_videos(batches) if ranking.per_video else batches, classifier, ranking)


def _scored(batches: Iterable[EncodedBatch], classifier: Classifier, ranking: Ranking) -> Iterator[Outcome]:
    for batch in batches:
        yield from score_batch(batch, classifier, ranking)


def encode(
    items: Iterable[Item | ImageFailure],
    encoder: Encoder,
    options: EngineOptions,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[EncodedBatch]:
    """Encode images batch by batch, in order; meanwhile the next ones are read and decoded.

    With one or several GPUs, batches are encoded in threads of their own, while those before them are scored
    and written. On a CPU that brings nothing: scoring and writing take the same cores.

    Raises:
        ValueError: decoding on a GPU is asked for, and no decoder is given.
    """
    batch_size, in_flight = options.batch_size or encoder.batch_size, encoder.in_flight
    workers = options.workers or available_cores()
    stages = _Stages(encoder, options, cache)

    def batches() -> Iterator[list[Pending]]:
        while not stop() and (batch := list(_next_batch(fetched, batch_size))):
            yield batch

    lookups = min(workers, _LOOKUP_THREADS)
    chunk = max(1, batch_size // lookups)  # items that are looked up together
    looked_up = chain.from_iterable(
        prefetch_map(stages.look_up, in_chunks(items, chunk), lookups, prefetch=lookups)
    )
    prefetch = (1 + in_flight) * batch_size + workers
    prefetch -= ((lookups + 1) * chunk + 1) // 2  # twice as many are looked up and not yet begun
    at_hand = read_ahead(stages.read, looked_up, _is_slow, _bytes_of, batch_size)
    fetched = prefetch_map(stages.fetch, at_hand, workers, prefetch, known=_nothing_to_read)
    if in_flight == 1:
        yield from map(stages.encode, batches())
    else:
        yield from prefetch_map(stages.encode, batches(), workers=in_flight, prefetch=in_flight)


def _next_batch(fetched: Iterator[Pending], batch_size: int) -> Iterator[Pending]:
    """Items until `batch_size` of them must be encoded, or so many are known and none must be."""
    new = 0
    for count, one in enumerate(islice(fetched, _LONGEST_BATCH * batch_size), 1):
        yield one
        new += isinstance(one, Decoded | Undecoded)
        if new == batch_size or (count == batch_size and not new):
            return


def features(batches: Iterable[EncodedBatch]) -> Iterator[ImageFeatures | ImageFailure]:
    """Batches one image at a time, in order."""
    for batch in batches:
        vectors, known = iter(batch.features), iter(batch.known)
        for one in batch.outcomes:
            if isinstance(one, ImageFailure):
                yield one
            else:
                yield ImageFeatures(one.name, next(vectors), one.columns, one.truth, next(known))


def _is_slow(one: Pending) -> bool:
    """Whether reading it takes longer than decoding it."""
    return isinstance(one, Unread) and is_remote(one.item)


def _bytes_of(one: Pending) -> int:
    return len(one.content) if isinstance(one, Unread) and isinstance(one.content, bytes) else 0


def _nothing_to_read(one: Pending) -> Pending | None:
    return None if isinstance(one, Unread) else one


class _Stages:
    """The stages of one run: those of `clipcli.stages`, with a cache and a decoder of whole batches."""

    def __init__(self, encoder: Encoder, options: EngineOptions, cache: FeatureCache | None) -> None:
        if options.decoding.on_gpu and options.decoder is None:
            raise ValueError("decoding on a GPU needs a decoder")
        self.encoder, self.preprocess = encoder, encoder.preprocess
        self.decoding, self.decoder = options.decoding, options.decoder
        self.cache, self.key = cache, encoder.cache_key + options.decoding.cache_suffix
        if cache is not None:
            cache.name_encoder(self.key, encoder.name)

    def look_up(self, items: Sequence[Item | ImageFailure]) -> list[Pending]:
        """The items, with what the cache has of their present versions."""
        if self.cache is None:
            return [one if isinstance(one, ImageFailure) else Unread(one) for one in items]
        versions = _versions(items)
        vectors = self.cache.features_of_versions(self.key, [version for version in versions if version])
        found = dict(zip([version for version in versions if version], vectors, strict=True))
        return [_with_vector(one, version, found) for one, version in zip(items, versions, strict=True)]

    def read(self, one: Pending) -> Pending:
        """An item with its content."""
        if not isinstance(one, Unread):
            return one
        try:
            return one._replace(content=one.item.read())
        except ImageError as error:
            return failure_of(one.item, error)

    def fetch(self, one: Pending) -> Pending:
        """Read an item and look it up in the cache by its content, or else decode it."""
        if not isinstance(one, Unread):
            return one
        try:
            return self._read(one)
        except ImageError as error:
            return failure_of(one.item, error)

    def _read(self, one: Unread) -> Known | Undecoded | Decoded:
        content = one.item.read() if one.content is None else one.content
        digest = content_digest(content) if self.cache else b""
        vector = self.cache.features(self.key, digest) if self.cache else None
        if vector is not None:
            return Known(one.item, vector, one.version, digest)
        if self.decoder and isinstance(content, bytes):
            jpeg = ordinary_jpeg(content, self.preprocess, self.decoding)
            if jpeg is not None:
                return Undecoded(one.item, jpeg, one.version, digest)
        return Decoded(one.item, decode(content, self.preprocess, self.decoding), one.version, digest)

    def encode(self, batch: Sequence[Pending]) -> EncodedBatch:
        """Features of a batch; new ones are kept in the cache."""
        ready = self._decoded(batch)
        encoded = encode_batch(ready, self.encoder)
        if self.cache is not None:
            self._keep(self.cache, ready, encoded.features)
        return encoded

    def _decoded(self, batch: Sequence[Pending]) -> list[Known | Decoded | ImageFailure]:
        """The batch with the pixels of all its images: JPEGs decoded together, or here if that fails."""
        jpegs = [one.jpeg for one in batch if isinstance(one, Undecoded)]
        decoded = iter(self.decoder.decode_jpegs(jpegs) if self.decoder and jpegs else ())
        return [
            self._with_pixels(one, next(decoded)) if isinstance(one, Undecoded) else one
            for one in batch
            if not isinstance(one, Unread)
        ]

    def _with_pixels(self, one: Undecoded, pixels: Uint8Array | None) -> Decoded | ImageFailure:
        try:
            if pixels is None:
                pixels = decode(one.jpeg.data, self.preprocess, self.decoding)
        except ImageError as error:
            return failure_of(one.item, error)
        return Decoded(one.item, pixels, one.version, one.digest)

    def _keep(
        self, cache: FeatureCache, batch: Sequence[Known | Decoded | ImageFailure], features: Float32Array
    ) -> None:
        """Store new vectors by their digests, and the digests of versions that were read."""
        images = [one for one in batch if not isinstance(one, ImageFailure)]
        new = [row for row, one in enumerate(images) if isinstance(one, Decoded)]
        versions = [(one.version, one.digest) for one in images if one.version and one.digest]
        cache.add(self.key, [images[row].digest for row in new], features[new], versions)


def _versions(items: Sequence[Item | ImageFailure]) -> list[Version | None]:
    """Each item's version; servers are asked for those of all remote items at once."""
    if not any(map(is_remote, items)):
        return [*map(_version, items)]
    return [*prefetch_map(_version, items, len(items), len(items))]


def _version(one: Item | ImageFailure) -> Version | None:
    return None if isinstance(one, ImageFailure) else one.version()


def _with_vector(
    one: Item | ImageFailure, version: Version | None, found: dict[Version, Float32Array | None]
) -> Pending:
    if isinstance(one, ImageFailure):
        return one
    vector = found.get(version) if version else None
    return Unread(one, version) if vector is None else Known(one, vector, version)
