"""All images that the cache knows, wherever they lie, searched without looking at them first.

To look at a million files takes a while: here only those are looked at that would be found. One that is gone,
or was changed since it was encoded, is passed over.
"""

from __future__ import annotations

import os
from array import array

import numpy as np

from clipcli.cache import FeatureCache
from clipcli.gallery import EncodedQueries, Gallery
from clipcli.inputs.opening import item_named
from clipcli.pipeline import EngineOptions
from clipcli.prefetch import in_chunks
from clipcli.records import Encoder, Float32Array, Hit, ImageFailure, Version
from clipcli.scoring.search import Cut, exact_cosines

_LOOKED_UP = 512  # in one query to SQLite
_FIRST_ASKED = 64  # images for a query that says not how many


class KnownImages(Gallery):
    """A gallery of all files whose features are in the cache.

    Args:
        encoder: the model.
        options: how images are decoded, which decides their features.
        cache: the cache.
    """

    def __init__(self, encoder: Encoder, options: EngineOptions | None, cache: FeatureCache) -> None:
        super().__init__(encoder, options, cache)
        self._files = cache
        self._rows = array("q", np.arange(len(self._matrix.keys), dtype=np.int64).tobytes())

    def __len__(self) -> int:
        return len(self._rows)

    def hits(self, queries: EncodedQueries, cut: Cut) -> list[Hit]:
        """What is found for each query, best first, among files that are there and unchanged.

        Raises:
            ClipcliError: the cache's matrix is damaged.
        """
        hits = []
        for name, query in zip(queries.names, queries.features, strict=True):
            for rank, (score, row, path) in enumerate(self._present(query, cut), 1):
                relative = score - exact_cosines(self._matrix.vectors[row : row + 1], queries.neutral)[0]
                hits.append(Hit(name, rank, path, float(score), float(relative)))
        return hits

    def _present(self, query: Float32Array, cut: Cut) -> list[tuple[np.float32, int, str]]:
        """Scores, rows and paths; more are asked for until enough of them are there."""
        asked = 2 * cut.top_k if cut.top_k else _FIRST_ASKED
        while True:
            (found,) = self.search(query[np.newaxis], Cut(asked, cut.min_score))
            paths = self._paths(found.positions.tolist())
            present = [
                (score, row, path)
                for score, row in zip(found.scores, found.positions.tolist(), strict=True)
                for path in paths[row]
            ]
            floor = cut.floor(np.array([score for score, *_ in present], dtype=np.float32))
            enough = cut.top_k is not None and len(present) >= cut.top_k
            if enough or len(found.scores) < asked or found.scores[-1] < floor:
                return [one for one in present if one[0] >= floor][: cut.top_k]
            asked *= 4

    def _paths(self, rows: list[int]) -> dict[int, list[str]]:
        """The files that have the content of each row, and still do."""
        paths: dict[int, list[str]] = {}
        for some in in_chunks(rows, _LOOKED_UP):
            digests = self._matrix.digests(np.array(some, dtype=np.int64))
            versions = self._files.versions_of_digests(digests)
            for row, digest in zip(some, digests, strict=True):
                names = [(os.fsdecode(version.name), version) for version in versions[digest]]
                paths[row] = [name for name, version in names if _present_version(name) == version]
        return paths


def _present_version(name: str) -> Version | None:
    """The present version of the image of this name."""
    item = item_named(name)
    return None if isinstance(item, ImageFailure) else item.version()
