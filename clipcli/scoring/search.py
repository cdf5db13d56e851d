"""Searching features: queries from several parts, the best of many images, groups of near-equal images.

Numpy only, and exact: products are computed in float32, which the memory of the machine bounds, and whatever
their rounding leaves in doubt is computed again in float64. Scores are those of `Classifier.cosines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.errors import UsageError
from clipcli.records import Float32Array

Indices = npt.NDArray[np.int64]
FeaturesAt = Callable[[Indices], Float32Array]
"""The features (M, D) at some places."""

_NOTHING_LEFT = 1e-3  # norm of a query whose parts cancel each other out
_PAIRS_AT_ONCE = 8192  # that are computed again in float64
_UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class Cut:
    """Which images are found for a query; those that satisfy all of these.

    Args:
        top_k: as many as this, best first; None is all.
        min_score: those with at least this score.
        within: those whose score is at most this far below the best one.

    Raises:
        UsageError: a value out of its range.
    """

    top_k: int | None = 10
    min_score: float | None = None
    within: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"`top_k` must be at least 1, not {self.top_k}")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise UsageError(f"`min_score` must be a number from -1 to 1, not {self.min_score:g}")
        if self.within is not None and not 0 <= self.within <= 2:
            raise UsageError(f"`within` must be a number from 0 to 2, not {self.within:g}")

    def floor(self, scores: Float32Array) -> float:
        """The score that an image needs at least, once these, best first, have been found."""
        floors = [-np.inf if self.min_score is None else float(np.float32(self.min_score))]
        if self.within is not None and len(scores):
            floors.append(float(np.float32(scores[0] - np.float32(self.within))))
        if self.top_k is not None and len(scores) >= self.top_k:
            floors.append(float(scores[self.top_k - 1]))
        return max(floors)


class Found(NamedTuple):
    """What was found for a query, best first: scores (M,), and the positions (M,) of the images."""

    scores: Float32Array
    positions: Indices


def combined(features: Float32Array, weights: Sequence[float]) -> Float32Array:
    """The query (D,) that is made of parts: the sum of their unit features (M, D), weighted, of unit norm.

    A part of negative weight is subtracted: what is found is less like it.

    Raises:
        UsageError: the parts cancel each other out.
    """
    total = np.asarray(weights, dtype=np.float64) @ features.astype(np.float64)  # (M,) @ (M, D)
    norm = np.linalg.norm(total)
    if not norm > _NOTHING_LEFT * sum(map(abs, weights)):
        raise UsageError("nothing is left of a query: its parts cancel each other out")
    return np.asarray(total / norm, dtype=np.float32)


def exact_cosines(features: Float32Array, query: Float32Array) -> Float32Array:
    """(N, D) unit-norm features, (D,) -> (N,) cosines, computed in float64."""
    return (features.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)


def rounding_error(width: int) -> float:
    """How far a float32 product of two unit vectors (D,) may be from the exact one, at most.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: D·u/(1 - D·u) in whatever
    order the sum is taken; doubled for norms that are not quite 1 and the result's own rounding.
    """
    return 2 * width * _UNIT_ROUNDOFF


class Best:
    """The best images for one query, among those offered so far; of equal scores the earlier position.

    Args:
        query: (D,), unit norm.
        cut: which are found.
    """

    def __init__(self, query: Float32Array, cut: Cut) -> None:
        self._query = query
        self._cut = cut
        self._error = rounding_error(len(query))
        self.found = Found(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))

    def offer(self, rough: Float32Array, positions: Indices, features_at: FeaturesAt) -> None:
        """Take more images.

        Args:
            rough: (N,) cosines computed in float32.
            positions: (N,) of the images.
            features_at: the features of some of the N.
        """
        places = np.flatnonzero(rough >= self._cut.floor(self.found.scores) - self._error)
        top_k = self._cut.top_k
        if top_k is not None and len(places) > top_k:  # these alone say what is needed at least
            last = np.partition(rough[places], -top_k)[-top_k]
            places = places[rough[places] >= last - 2 * self._error]
        if len(places):
            self._add(exact_cosines(features_at(places), self._query), positions[places])

    def _add(self, scores: Float32Array, positions: Indices) -> None:
        scores = np.concatenate([self.found.scores, scores])
        positions = np.concatenate([self.found.positions, positions])
        order = np.lexsort((positions, -scores))[: self._cut.top_k]
        kept = order[scores[order] >= self._cut.floor(scores[order[:1]])]
        self.found = Found(scores[kept], positions[kept])


# --- Near-equal images ---------------------------------------------------------------------------


class _Roots:
    """Disjoint sets of N positions; the root of a set is its first position."""

    def __init__(self, count: int) -> None:
        self.parents = np.arange(count, dtype=np.int64)

    def of(self, positions: Indices) -> Indices:
        """The roots (M,) of positions (M,)."""
        roots = self.parents[positions]
        while not np.array_equal(roots, above := self.parents[roots]):
            roots = above
        self.parents[positions] = roots
        return roots

    def unite(self, left: Indices, right: Indices) -> None:
        """Put the positions of each pair (M,), (M,) into one set."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.stack([self.of(left), self.of(right)])
        pairs = pairs[:, pairs[0] != pairs[1]]
        if not pairs.size:
            return
        roots, numbered = np.unique(pairs, return_inverse=True)
        numbered = numbered.reshape(pairs.shape)
        graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), tuple(numbered)), (len(roots), len(roots)))
        _, components = connected_components(graph, directed=False)
        first = np.full(components.max() + 1, len(self.parents), dtype=np.int64)
        np.minimum.at(first, components, roots)
        self.parents[roots] = first[components]


def near_duplicates(
    features_of: Callable[[int, int], Float32Array], count: int, min_score: float, rows: int = 2048
) -> list[Indices]:
    """Groups of images that are connected by cosines of at least `min_score`.

    Every image is compared with every other, in blocks; memory is bounded by a block of `rows` × `rows`.

    Args:
        features_of: the features (stop - start, D) from one position to another.
        count: N, how many positions there are.
        min_score: from -1 to 1.
        rows: of a block.

    Returns:
        The positions in each group of two or more, ascending; groups in the order of their first.

    Raises:
        UsageError: `min_score` is out of its range.
    """
    if not -1 <= min_score <= 1:
        raise UsageError(f"`near_duplicates` must be a number from -1 to 1, not {min_score:g}")
    sets = _Roots(count)
    starts = range(0, count, rows)
    for top in starts:
        upper = features_of(top, min(top + rows, count))
        for left in starts[top // rows :]:
            lower = upper if left == top else features_of(left, min(left + rows, count))
            for first, second in _near_pairs(upper, lower, np.float32(min_score), sets, (top, left)):
                sets.unite(first, second)
    return _groups(sets.of(np.arange(count, dtype=np.int64)))


def _near_pairs(
    upper: Float32Array, lower: Float32Array, min_score: np.float32, sets: _Roots, starts: tuple[int, int]
) -> Iterator[tuple[Indices, Indices]]:
    """Positions of pairs that are near enough: first those that certainly are, then those in doubt."""
    rough = upper @ lower.T  # (rows, D) @ (D, rows)
    error = rounding_error(upper.shape[1])
    rows, columns = np.nonzero(rough >= min_score - error)
    certain = rough[rows, columns] >= min_score + error
    yield rows[certain] + starts[0], columns[certain] + starts[1]
    rows, columns = rows[~certain], columns[~certain]
    for begin in range(0, len(rows), _PAIRS_AT_ONCE):
        some = slice(begin, begin + _PAIRS_AT_ONCE)
        first, second = rows[some] + starts[0], columns[some] + starts[1]
        apart = sets.of(first) != sets.of(second)  # the others need no proof
        left, right = (
            side[places[some][apart]].astype(np.float64) for side, places in ((upper, rows), (lower, columns))
        )
        near = np.einsum("nd,nd->n", left, right).astype(np.float32) >= min_score
        yield first[apart][near], second[apart][near]


def _groups(roots: Indices) -> list[Indices]:
    """Positions by their roots (N,), where a root has several."""
    order = np.argsort(roots, kind="stable")
    cuts = np.flatnonzero(np.diff(roots[order])) + 1
    return [group for group in np.split(order, cuts) if len(group) > 1]
