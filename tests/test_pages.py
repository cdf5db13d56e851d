"""What a program draws to teach further classes: pages, screens, charts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.pages import KINDS, drawn
from training.pages.camera import photographed, scanned
from training.pages.papers import modules

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def images() -> dict[str, list[Pixels]]:
    return {kind: list(drawn(kind, 3, seed=3)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(kind: str, images: dict[str, list[Pixels]]) -> None:
    for image in images[kind]:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 60 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 2500
        assert image.mean(-1).std() > 5  # it is not blank
    assert len({image.shape for image in images[kind]}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_images_and_another_one_others(
    kind: str, images: dict[str, list[Pixels]]
) -> None:
    again, other = next(drawn(kind, 1, seed=3)), next(drawn(kind, 1, seed=4))
    assert np.array_equal(again, images[kind][0])
    assert again.shape != other.shape or not np.array_equal(again, other)


def test_kinds_do_not_share_their_chances(images: dict[str, list[Pixels]]) -> None:
    assert len({images[kind][0].shape for kind in KINDS}) > len(KINDS) // 2


def test_receipts_are_tall_and_screens_are_of_computers_and_telephones() -> None:
    sizes = [image.shape for image in drawn("screenshot", 10, seed=0)]
    assert {height > width for height, width, _ in sizes} == {True, False}
    tall = [image.shape[0] > image.shape[1] for image in drawn("receipt", 12, seed=0)]
    assert sum(tall) >= 8


def test_photographs_lie_behind_paper_and_on_screens() -> None:
    red = np.zeros((60, 80, 3), np.uint8)
    red[..., 0] = 250

    def reddest(kind: str) -> float:
        """The largest share of an image's pixels that are as red as the photograph, in any light."""
        found = [image.astype(int) for image in drawn(kind, 8, seed=1, photos=[red])]
        return max(float((image[..., 0] > 3 * image[..., 1:].max(-1) + 30).mean()) for image in found)

    assert reddest("screenshot") > 0.05
    assert reddest("receipt") > 0.05


def test_a_camera_sees_the_ground_and_a_scanner_only_the_page() -> None:
    page = Image.new("RGB", (300, 400), (255, 255, 255))
    seen = [np.asarray(photographed(page, np.random.default_rng(seed), [])) for seed in range(6)]
    assert {image.shape[:2] for image in seen} >= {(640, 480)}
    darkest = [np.percentile(image.mean(-1), 1) for image in seen]
    brightest = [np.percentile(image.mean(-1), 99) for image in seen]
    assert np.median(darkest) < 130 < np.median(brightest)
    copied = np.asarray(scanned(page, np.random.default_rng(0)))
    assert copied.shape == (400, 300, 3)
    assert copied[50:-50, 50:-50].std() < 20


def test_a_code_has_the_squares_by_which_it_is_found() -> None:
    """Seven modules dark, five light, three dark: as the standard has them, in three corners."""
    found = modules(np.random.default_rng(0), version=2)
    assert found.shape == (25, 25)
    square = np.ones((7, 7), bool)
    square[1:6, 1:6] = False
    square[2:5, 2:5] = True
    for corner in (found[:7, :7], found[:7, -7:], found[-7:, :7]):
        assert np.array_equal(corner, square)
    assert not found[7, :8].any()
    assert not np.array_equal(found[-7:, -7:], square)
