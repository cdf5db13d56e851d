"""Images that are searched: their names in memory, their features on disk and mapped into memory.

Features that the cache had before are those of its matrix. New ones are written to a file without a name, and
to the cache, whose matrix has them the next time.
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import IO, NamedTuple

import numpy as np

from clipcli import pipeline
from clipcli.cache import FeatureCache
from clipcli.cache.matrix import empty_matrix
from clipcli.errors import ClipcliError, UsageError
from clipcli.inputs.memory import items_of
from clipcli.pipeline import EngineOptions
from clipcli.prefetch import in_chunks
from clipcli.records import (
    Columns,
    Duplicate,
    Encoder,
    Float32Array,
    Hit,
    ImageFailure,
    ImageFeatures,
    Item,
)
from clipcli.scoring.blas import few_threads
from clipcli.scoring.queries import NEUTRAL, Query, Term, features_of_texts
from clipcli.scoring.search import Best, Cut, Found, Indices, combined, exact_cosines, near_duplicates

_ITEMS_AT_ONCE = 16384  # that are looked up before the new ones among them are encoded
_LOOKED_UP = 512  # in one query to SQLite
_BLOCK_ROWS = 16384
_BLOCK_SCORES = 2**24  # 64 MB of float32, with many queries
_DENSE = 4  # a block of which one row in so many is searched is multiplied as a whole, not copied


class EncodedQueries(NamedTuple):
    """Names and features (Q, D) of Q queries, and the features (D,) of a text that fits any image."""

    names: list[str]
    features: Float32Array
    neutral: Float32Array


class _Image(NamedTuple):
    """What is kept of an image."""

    name: str
    columns: Columns


class Gallery:
    """Images that can be searched again and again; features of new ones are encoded as it is filled.

    Args:
        encoder: the model.
        options: batch size, threads and decoding.
        cache: where features are found, and new ones kept.

    Attributes:
        failures: images that cannot be read.
    """

    def __init__(
        self, encoder: Encoder, options: EngineOptions | None = None, cache: FeatureCache | None = None
    ) -> None:
        self.failures: list[ImageFailure] = []
        self._encoder = encoder
        self._options = options or EngineOptions()
        self._cache = cache
        key = encoder.cache_key + self._options.decoding.cache_suffix
        self._matrix = cache.matrix(key) if cache else empty_matrix()
        self._images: list[_Image] = []
        self._rows = array("q")  # in the matrix; in the new features from -1 downward
        self._new = _NewFeatures(cache)

    def __len__(self) -> int:
        return len(self._images)

    def fill(
        self, items: Iterable[Item | ImageFailure], stop: Callable[[], bool] = lambda: False
    ) -> Iterator[ImageFeatures | ImageFailure]:
        """Add images: one outcome per item, in their order, once it is added.

        Args:
            items: as `clipcli.inputs.inputs.Inputs` yields them.
            stop: asked before each batch; True ends the run early.
        """
        for chunk in in_chunks(items, _ITEMS_AT_ONCE):
            if stop():
                return
            rows = self._known_rows(chunk)
            unknown = [item for item, row in zip(chunk, rows, strict=True) if row < 0]
            batches = pipeline.encode(unknown, self._encoder, self._options, self._cache, stop)
            encoded = pipeline.features(batches)
            for item, row in zip(chunk, rows, strict=True):
                outcome = self._known(item, row) if row >= 0 else next(encoded, None)
                if outcome is None:  # it was to stop
                    return
                self._add(outcome, row)
                yield outcome

    def _known_rows(self, items: Sequence[Item | ImageFailure]) -> list[int]:
        """Rows of the matrix; -1 for what is not in it."""
        rows = [-1] * len(items)
        if self._cache is None or not len(self._matrix.keys):
            return rows
        versions = [None if isinstance(item, ImageFailure) else item.version() for item in items]
        places = [place for place, version in enumerate(versions) if version is not None]
        for some in in_chunks(places, _LOOKED_UP):
            asked = [version for place in some if (version := versions[place]) is not None]
            found = self._matrix.find(self._cache.digests_of_versions(asked)).tolist()
            for place, row in zip(some, found, strict=True):
                rows[place] = row
        return rows

    def _known(self, item: Item | ImageFailure, row: int) -> ImageFeatures:
        assert not isinstance(item, ImageFailure)
        return ImageFeatures(item.name, self._matrix.vectors[row], item.columns, item.truth, known=True)

    def _add(self, outcome: ImageFeatures | ImageFailure, row: int) -> None:
        if isinstance(outcome, ImageFailure):
            self.failures.append(outcome)
            return
        self._images.append(_Image(outcome.image, outcome.columns))
        self._rows.append(row if row >= 0 else -1 - self._new.append(outcome.features))
        self.__dict__.pop("_stores", None)

    # --- Search -----------------------------------------------------------------------------

    def search(self, queries: Float32Array, cut: Cut) -> list[Found]:
        """What is found for each query (Q, D): positions of images, best first."""
        bests = [Best(query, cut) for query in queries]
        with few_threads(queries.size * _BLOCK_ROWS):  # few queries are bound by memory, not by arithmetic
            for features, chosen, positions in self._blocks(len(queries)):
                rough = queries @ features.T  # (Q, D) @ (D, rows)
                for best, scores in zip(bests, rough, strict=True):
                    best.offer(scores[chosen], positions, lambda some, f=features, c=chosen: f[c[some]])  # type: ignore[misc]
        self._check(np.concatenate([best.found.positions for best in bests] or [np.empty(0, np.int64)]))
        return [best.found for best in bests]

    def hits(self, queries: EncodedQueries, cut: Cut) -> list[Hit]:
        """What is found for each query, best first.

        Raises:
            ClipcliError: the cache's matrix is damaged.
        """
        hits = []
        for name, (scores, positions) in zip(queries.names, self.search(queries.features, cut), strict=True):
            relative = scores - exact_cosines(self.features(positions), queries.neutral)
            for rank, (score, above, position) in enumerate(
                zip(scores.tolist(), relative.tolist(), positions.tolist(), strict=True), 1
            ):
                image = self._images[position]
                hits.append(Hit(name, rank, image.name, score, above, image.columns))
        return hits

    def near_duplicates(self, min_score: float) -> Iterator[list[Duplicate]]:
        """Groups of images that are connected by cosines of at least `min_score`; every pair is compared.

        Raises:
            UsageError: `min_score` is out of its range.
        """

        def features_of(start: int, stop: int) -> Float32Array:
            return self.features(np.arange(start, stop))

        for number, group in enumerate(near_duplicates(features_of, len(self), min_score), 1):
            self._check(group)
            vectors = self.features(group)
            scores = exact_cosines(vectors, vectors[0]).tolist()
            images = [self._images[position] for position in group.tolist()]
            yield [
                Duplicate(number, image.name, score, image.columns)
                for image, score in zip(images, scores, strict=True)
            ]

    def features(self, positions: Indices) -> Float32Array:
        """The features (M, D) of images, by their positions."""
        rows = np.array(self._rows, dtype=np.int64)[positions]
        if (rows >= 0).all():
            return self._matrix.vectors[rows]
        if (rows < 0).all():
            return self._new.vectors[-1 - rows]
        is_new = rows < 0
        features = np.empty((len(rows), self._new.vectors.shape[1]), dtype=np.float32)
        features[is_new] = self._new.vectors[-1 - rows[is_new]]
        features[~is_new] = self._matrix.vectors[rows[~is_new]]
        return features

    def _blocks(self, queries: int) -> Iterator[tuple[Float32Array, Indices, Indices]]:
        """Features (rows, D), which of the rows are searched (M,), and the positions of those (M,)."""
        size = max(1, min(_BLOCK_ROWS, _BLOCK_SCORES // max(queries, 1)))
        for vectors, rows, positions in self._stores:
            starts = range(0, len(vectors), size)
            ends = np.searchsorted(rows, [*starts, len(vectors)]).tolist()
            for start, (begin, end) in zip(starts, pairwise(ends), strict=True):
                if begin == end:
                    continue
                chosen, block = rows[begin:end] - start, vectors[start : start + size]
                if (end - begin) * _DENSE < len(block):
                    chosen, block = np.arange(end - begin), block[chosen]
                yield block, chosen, positions[begin:end]

    @cached_property
    def _stores(self) -> list[tuple[Float32Array, Indices, Indices]]:
        """Vectors, the rows of them that are searched, ascending, and the position of each."""
        rows = np.array(self._rows, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        known = order[np.searchsorted(rows[order], 0) :]
        new = np.flatnonzero(rows < 0)
        stores = [(self._matrix.vectors, rows[known], known), (self._new.vectors, -1 - rows[new], new)]
        return [store for store in stores if len(store[1])]

    def _check(self, positions: Indices) -> None:
        """See that what was found is what the cache once stored.

        Raises:
            ClipcliError: it is not.
        """
        rows = np.unique(np.array(self._rows, dtype=np.int64)[positions])
        if any(map(self._matrix.is_damaged, rows[rows >= 0].tolist())):
            assert self._cache is not None
            self._cache.forget_matrices()
            raise ClipcliError(
                f"the matrix of features beside {self._cache.path} was damaged, and has been removed",
                "Run it again: it is made from the cache.",
            )


def encode_queries(
    queries: Sequence[Query],
    encoder: Encoder,
    templates: Sequence[str] = (),
    options: EngineOptions | None = None,
    cache: FeatureCache | None = None,
) -> EncodedQueries:
    """Encode what is searched for.

    Args:
        queries: texts and images, weighted.
        encoder: the model.
        templates: sentences with a placeholder that every text is put into; without them it is used as it is.
        options: batch size, threads and decoding of images.
        cache: where features made before are found, and new ones kept.

    Raises:
        UsageError: an image of a query cannot be read, or its terms cancel each other out.
    """
    terms = {id(term): term for query in queries for term in query.terms}
    of_text = features_of_texts(
        [term.text for term in terms.values() if term.text is not None], encoder, templates, cache
    )
    of_image = _features_of_images([t for t in terms.values() if t.text is None], encoder, options, cache)

    def features(term: Term) -> Float32Array:
        return of_image[id(term)] if term.text is None else of_text[term.text]

    vectors = [
        combined(np.stack([*map(features, query.terms)]), [term.weight for term in query.terms])
        for query in queries
    ]
    neutral = features_of_texts([NEUTRAL], encoder, (), cache)[NEUTRAL]
    return EncodedQueries([query.name for query in queries], np.array(vectors, dtype=np.float32), neutral)


def _features_of_images(
    terms: Sequence[Term], encoder: Encoder, options: EngineOptions | None, cache: FeatureCache | None
) -> dict[int, Float32Array]:
    found = {}
    items = items_of([term.image for term in terms if term.image is not None])
    batches = pipeline.encode(items, encoder, options or EngineOptions(), cache)
    for term, outcome in zip(terms, pipeline.features(batches), strict=True):
        if isinstance(outcome, ImageFailure):
            raise UsageError(f"{outcome.image} cannot be searched for: {outcome.reason}")
        found[id(term)] = outcome.features
    return found


class _NewFeatures:
    """Features that are written to a file without a name, and then mapped."""

    def __init__(self, cache: FeatureCache | None) -> None:
        self._cache = cache
        self._file: IO[bytes] | None = None
        self._count = self._width = 0

    def append(self, vector: Float32Array) -> int:
        """Keep a vector (D,); returns its row."""
        if self._file is None:
            self._file = _nameless_file(self._cache)
            weakref.finalize(self, self._file.close)
        self._file.write(vector.astype("<f4").tobytes())
        self._width = len(vector)
        self._count += 1
        self.__dict__.pop("vectors", None)
        return self._count - 1

    @cached_property
    def vectors(self) -> Float32Array:
        """(N, D), mapped."""
        if self._file is None:
            return np.empty((0, 0), dtype=np.float32)
        self._file.flush()
        shape = (self._count, self._width)
        return np.asarray(np.memmap(self._file, dtype="<f4", mode="r", shape=shape))


def _nameless_file(cache: FeatureCache | None) -> IO[bytes]:
    """Beside the cache, where there is one: the folder for temporary files may lie in memory."""
    if cache is not None and cache.keeps_new:
        with contextlib.suppress(OSError):
            return tempfile.TemporaryFile(dir=cache.path.parent)
    return tempfile.TemporaryFile()
