"""Which images to label next, on points in a plane."""

from __future__ import annotations

import numpy as np

from clipcli.scoring.review import review_order, typicality


def test_each_group_has_one_image_and_the_unsure_and_dense_come_first() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    features = np.concatenate([centre + 0.1 * generator.normal(size=(10, 2)) for centre in centres])
    margins = np.array([0.9] * 10 + [0.1] * 10 + [0.5] * 10)
    order = review_order(features.astype(np.float32), margins.astype(np.float32), 3)
    assert sorted(order // 10) == [0, 1, 2]
    assert order[-1] // 10 == 0, "the sure group comes last"


def test_neither_the_margin_nor_the_density_decides_alone() -> None:
    features = np.array([[0.0, 0], [0.1, 0], [0, 0.1], [3, 3]], dtype=np.float32)
    odd_is_unsure = np.array([0.5, 0.6, 0.6, 0.0], dtype=np.float32)
    assert review_order(features, odd_is_unsure, 1).tolist() == [0], "an odd image stands for itself only"
    dense_is_sure = np.array([1.0, 1.0, 1.0, 0.0], dtype=np.float32)
    assert review_order(features, dense_is_sure, 1).tolist() == [3]


def test_the_typicality_is_one_over_the_mean_distance_to_the_neighbours() -> None:
    points = np.array([[0.0], [1], [3]])
    np.testing.assert_allclose(typicality(points), [1 / 2, 1 / 1.5, 1 / 2.5], rtol=1e-5)
    assert typicality(points[:1]).tolist() == [0]


def test_copies_of_one_image_are_asked_for_once() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    order = review_order(features, np.zeros(12, dtype=np.float32), 3)
    assert sorted(order // 4) == [0, 1, 2]
