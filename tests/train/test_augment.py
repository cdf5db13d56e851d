"""Views of pictures: within the picture, the same for the same generator, and none where none are wanted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import DecodeOptions, decode, decode_whole
from clipcli.images.resize import resize
from clipcli.records import Preprocess
from clipcli.train.augment import Augmentation, augmented, crop_box

MODES = [Preprocess((32, 32), mode, fill_color=200) for mode in ("shortest", "squash", "longest")]
NONE = Augmentation(crop=1, flip=False, jitter=0)


def picture(width: int = 90, height: int = 50) -> Image.Image:
    coarse = np.random.default_rng(5).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("preprocess", MODES, ids=lambda preprocess: preprocess.resize_mode)
def test_without_augmentation_a_view_is_what_classify_sees(preprocess: Preprocess, pictures: Path) -> None:
    for path in pictures.iterdir():
        data = path.read_bytes()
        whole = decode_whole(data, preprocess)
        view = augmented(whole, preprocess, NONE, np.random.default_rng(0))
        np.testing.assert_array_equal(view, decode(data, preprocess))


@pytest.mark.parametrize("preprocess", MODES, ids=lambda preprocess: preprocess.resize_mode)
def test_views_follow_from_the_generator_alone(preprocess: Preprocess) -> None:
    many = [
        augmented(picture(), preprocess, Augmentation(0.5, True, 0.2), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert many[0].shape == (32, 32, 3)
    assert many[0].dtype == np.uint8
    np.testing.assert_array_equal(many[0], many[1])
    assert (many[0] != many[2]).any()


def test_boxes_lie_within_the_picture_and_show_enough_of_it() -> None:
    generator = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(500):
        left, top, right, bottom = crop_box((300, 100), (100.0, 100.0), 0.4, generator)
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 100
        areas.append((right - left) * (bottom - top) / 10_000)
        ratios.append((right - left) / (bottom - top))
    assert 0.3 < min(areas) < 0.45, "0.4, less what is cut from boxes higher than the picture"
    assert 0.95 < max(areas) <= 1 + 1e-9
    assert 3 / 4 - 1e-9 < min(ratios) < 0.78
    assert 1.28 < max(ratios) < math.inf


def test_half_of_the_views_are_mirrored() -> None:
    preprocess, flip = MODES[1], Augmentation(crop=1, flip=True, jitter=0)
    plain = np.asarray(resize(picture(), preprocess))
    mirrored = 0
    for seed in range(200):
        view = augmented(picture(), preprocess, flip, np.random.default_rng(seed))
        assert (view == plain).all() or (view == plain[:, ::-1]).all()
        mirrored += bool((view == plain[:, ::-1]).all())
    assert 70 < mirrored < 130


def test_jitter_keeps_within_its_bounds() -> None:
    grey, preprocess = Image.new("RGB", (40, 40), (100, 100, 100)), MODES[1]
    levels = {
        int(augmented(grey, preprocess, Augmentation(1, False, 0.1), np.random.default_rng(seed))[0, 0, 0])
        for seed in range(100)
    }
    assert min(levels) in range(90, 93)
    assert max(levels) in range(108, 111)


@pytest.mark.parametrize(
    "values", [{"crop": 0}, {"crop": 1.1}, {"jitter": -0.1}, {"jitter": 1}, {"crop": math.nan}]
)
def test_values_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values))} must be"):
        Augmentation(**values)


# --- Whole pictures ------------------------------------------------------------------------------


def test_a_whole_picture_is_upright_and_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    whole = decode_whole((tmp_path / "turned.png").read_bytes(), MODES[0])
    assert (whole.mode, whole.size) == ("RGB", (20, 30))
    assert whole.getpixel((0, 0)) == (255, 255, 255)


def test_a_large_jpeg_is_reduced_but_not_below_twice_the_models_size(tmp_path: Path) -> None:
    picture(1200, 800).save(tmp_path / "large.jpg")
    data = (tmp_path / "large.jpg").read_bytes()
    assert decode_whole(data, MODES[0]).size == (150, 100)
    assert decode_whole(data, MODES[0], DecodeOptions(exact=True)).size == (1200, 800)


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty file"), (b"no picture", "not an image file")])
def test_what_is_no_picture_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_whole(data, MODES[0])
