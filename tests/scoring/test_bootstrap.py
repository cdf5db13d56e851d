"""Bootstrap intervals: against draws that are really made, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from clipcli.scoring.bootstrap import bootstrap_interval, bootstrap_interval_of


@pytest.mark.parametrize("values", [[0, 1], [-1, 0, 1]], ids=["right or wrong", "differences"])
def test_it_is_the_interval_of_draws_that_are_made(values: list[int]) -> None:
    generator = np.random.default_rng(7)
    sample = generator.choice(values, size=300)
    means = sample[generator.integers(0, 300, (10_000, 300))].mean(axis=1)
    assert bootstrap_interval(sample) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_equal_seeds_give_equal_intervals_and_the_order_does_not_matter() -> None:
    sample = np.array([1] * 30_000 + [0] * 20_000)
    assert bootstrap_interval(sample, seed=3) == bootstrap_interval(sample[::-1], seed=3)
    assert bootstrap_interval(sample, seed=3) != bootstrap_interval(sample, seed=4)
    assert bootstrap_interval(sample, 0.5)[0] > bootstrap_interval(sample)[0]


def test_more_images_give_a_narrower_interval() -> None:
    widths = [np.ptp(bootstrap_interval(np.array([0, 1] * half))) for half in (10, 100, 1000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2] > 0


def test_where_all_values_are_equal_both_ends_are_that_value() -> None:
    assert bootstrap_interval(np.ones(4, dtype=np.bool_)) == (1, 1)


def test_no_image_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no image"):
        bootstrap_interval(np.array([]))
    with pytest.raises(ValueError, match="no image"):
        bootstrap_interval_of(len, 0)


# --- Figures that are no mean --------------------------------------------------------------------


def test_a_mean_has_the_same_interval_as_any_figure() -> None:
    values = np.random.default_rng(0).integers(0, 2, 400)
    found = bootstrap_interval_of(lambda indices: float(values[indices].mean()), 400)
    assert found == pytest.approx(bootstrap_interval(values), abs=0.01)
    assert found == bootstrap_interval_of(lambda indices: float(values[indices].mean()), 400)


def test_what_drawing_again_adds_to_a_figure_is_taken_off() -> None:
    """How often some image is drawn twice: never in the images themselves, and mostly in what is drawn."""

    def repeated(indices: np.ndarray) -> float:
        return 1 - len(set(indices.tolist())) / len(indices)

    low, high = bootstrap_interval_of(repeated, 100)
    assert low < 0 < high < 0.1
    assert bootstrap_interval_of(repeated, 100, 0.5)[1] < high


def test_sums_of_several_cases_are_drawn_image_by_image() -> None:
    generator = np.random.default_rng(1)
    counts = generator.integers(1, 6, 200)
    hits = generator.binomial(counts, generator.choice([0.1, 0.9], 200))
    drawn = generator.integers(0, 200, (10_000, 200))
    means = hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    found = bootstrap_interval(hits, counts=counts)
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)
    each = np.concatenate([np.arange(n) < hit for n, hit in zip(counts, hits, strict=True)])
    assert np.ptp(found) > 1.3 * np.ptp(bootstrap_interval(each)), "cases of an image are alike"


def test_one_case_an_image_is_the_interval_of_the_mean() -> None:
    sample = np.array([0, 1, 1, 0, 1])
    assert bootstrap_interval(sample, counts=np.ones(5, int)) == bootstrap_interval(sample)
