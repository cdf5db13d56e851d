"""Search over vectors: the same as sorting all cosines computed in float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from clipcli.errors import UsageError
from clipcli.scoring.search import Best, Cut, Found, combined, exact_cosines, near_duplicates, rounding_error


def unit_rows(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def searched(features: np.ndarray, query: np.ndarray, cut: Cut, block: int) -> Found:
    best = Best(query, cut)
    for start in range(0, len(features), block):
        some = features[start : start + block]
        best.offer(some @ query, np.arange(start, start + len(some)), lambda places, some=some: some[places])
    return best.found


def brute_force(features: np.ndarray, query: np.ndarray, cut: Cut) -> list[int]:
    cosines = (features.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = sorted(range(len(cosines)), key=lambda row: (-cosines[row], row))
    if cut.min_score is not None:
        order = [row for row in order if cosines[row] >= np.float32(cut.min_score)]
    if cut.within is not None:
        order = [row for row in order if cosines[row] >= np.float32(cosines.max() - np.float32(cut.within))]
    return order[: cut.top_k]


CUTS = [
    Cut(1),
    Cut(10),
    Cut(2000),
    Cut(None),
    Cut(None, 0.2),
    Cut(None, None, 0.3),
    Cut(7, 0.1, 0.9),
    Cut(5, 1),
]


@pytest.mark.parametrize("cut", CUTS, ids=repr)
@pytest.mark.parametrize("block", [1, 100, 1500])
def test_the_best_are_those_of_brute_force(cut: Cut, block: int) -> None:
    features = unit_rows(1200)
    features[300:700] = features[7]  # ties, in several blocks
    features[900:1000] = features[100:200]
    for query in (features[7], features[150], -features[3]):
        found = searched(features, query, cut, block)
        assert found.positions.tolist() == brute_force(features, query, cut)
        assert np.array_equal(found.scores, exact_cosines(features[found.positions], query))


def test_what_float32_gets_wrong_is_put_right() -> None:
    """Rows that differ by less than a product in float32 is wrong by, in every order."""
    query, (noise, *_) = unit_rows(2, 512)
    features = np.stack([query + np.float32(step * 1e-6) * noise for step in range(200)])
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    features = features[np.random.default_rng(1).permutation(200)]
    rough = features @ query + np.random.default_rng(2).uniform(-1, 1, 200).astype(np.float32) * 2e-5
    best = Best(query, Cut(10))
    best.offer(rough, np.arange(200), lambda places: features[places])
    assert np.argsort(-rough, kind="stable")[:10].tolist() != best.found.positions.tolist()
    assert best.found.positions.tolist() == brute_force(features, query, Cut(10))


def test_products_in_float32_stay_within_the_bound() -> None:
    features = unit_rows(5000, 768)
    error = np.abs(features @ features[0] - features.astype(np.float64) @ features[0].astype(np.float64))
    assert error.max() < rounding_error(768)


def test_a_query_is_the_weighted_sum_of_its_parts() -> None:
    parts = unit_rows(3)
    made = combined(parts, [2, 1, -0.5])
    expected = 2 * parts[0].astype(np.float64) + parts[1] - 0.5 * parts[2]
    assert made == pytest.approx(expected / np.linalg.norm(expected), abs=1e-7)
    assert np.linalg.norm(made) == pytest.approx(1)


def test_parts_that_cancel_each_other_out_are_refused() -> None:
    (part,) = unit_rows(1)
    with pytest.raises(UsageError, match="cancel"):
        combined(np.stack([part, part]), [1, -1])


@pytest.mark.parametrize("values", [(0,), (None, 1.5), (None, None, -0.1), (None, float("nan"))])
def test_values_out_of_range_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Cut(*values)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [7, 64, 1000])
def test_groups_are_the_connected_components_of_all_pairs(rows: int) -> None:
    features = unit_rows(400, 16)
    noise = np.random.default_rng(3).standard_normal((400, 16)).astype(np.float32)
    for step in range(4):  # chains, of which the ends are farther apart
        features[100 + 50 * step : 150 + 50 * step] = features[50:100] + 0.03 * (step + 1) * noise[50:100]
    features[350:] = features[0]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    exact = features.astype(np.float64)
    for min_score in (0.9, 0.96, 0.99):
        near = (exact @ exact.T).astype(np.float32) >= np.float32(min_score)
        _, components = connected_components(near, directed=False)
        groups = [np.flatnonzero(components == one) for one in range(components.max() + 1)]
        expected = sorted(group.tolist() for group in groups if len(group) > 1)
        found = near_duplicates(lambda start, stop: features[start:stop], 400, min_score, rows)
        assert [group.tolist() for group in found] == expected
        assert expected


def test_pairs_in_doubt_are_decided_in_float64() -> None:
    """The threshold is the exact cosine of a pair, and then the next number above it."""
    rough_was_lower = rough_was_higher = 0
    for seed in range(40):
        features = unit_rows(20, 512, seed)
        features[1] = features[0] + 0.01 * features[1]
        features[1] /= np.linalg.norm(features[1])
        (cosine,) = exact_cosines(features[1:2], features[0])
        rough = (features @ features.T)[0, 1]
        rough_was_lower += rough < cosine
        rough_was_higher += rough > cosine
        above = np.nextafter(cosine, np.float32(2))
        for threshold, groups in ((cosine, [[0, 1]]), (above, [])):
            found = near_duplicates(lambda a, b, f=features: f[a:b], 20, float(threshold), 16)  # type: ignore[misc]
            assert [group.tolist() for group in found] == groups
    assert rough_was_lower and rough_was_higher


def test_nothing_is_near_in_an_empty_gallery() -> None:
    assert near_duplicates(lambda start, stop: np.empty((0, 0), np.float32), 0, 0.9) == []
