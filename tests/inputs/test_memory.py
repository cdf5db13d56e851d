"""Images that a Python program has at hand become items, and give what the same images give as files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXAMPLES
from fakes import names
from PIL import Image

import clipcli
from clipcli.errors import UsageError
from clipcli.inputs.item import BytesItem, FileItem, PixelsItem
from clipcli.inputs.memory import items_of
from clipcli.records import ImageFailure

CAT, FISH, BOOK = (str(EXAMPLES / name) for name in ("cat-1.jpg", "fish-4.webp", "book-1.png"))


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def failure(source: Any) -> str:
    (found,) = items_of([source])
    assert isinstance(found, ImageFailure)
    return found.reason


# --- What is taken -------------------------------------------------------------------------------


def test_mixed_images_are_numbered_by_their_places_unless_they_have_a_name() -> None:
    with Image.open(FISH) as fish, Path(CAT).open("rb") as file:
        given = [
            CAT,
            Path(BOOK),
            fish,
            Image.new("RGB", (4, 4)),
            pixels(CAT),
            b"...",
            io.BytesIO(b"..."),
            file,
        ]
        found = list(items_of(given))
    assert names(found) == [CAT, BOOK, FISH, "image 3", "array 4", "bytes 5", "image 6", CAT]
    kinds = [FileItem, FileItem, PixelsItem, PixelsItem, PixelsItem, BytesItem, BytesItem, BytesItem]
    assert [type(item) for item in found] == kinds


def test_a_mapping_names_its_images() -> None:
    found = list(items_of({"door": pixels(CAT), "yard": CAT, "gate": Path(CAT).read_bytes()}))
    assert names(found) == ["door", "yard", "gate"]
    yard = found[1]
    assert isinstance(yard, FileItem)
    assert yard.read() == Path(CAT).read_bytes()
    assert yard.version() == FileItem(CAT).version()


@pytest.mark.parametrize("one", [CAT, Path(CAT), b"...", io.BytesIO(b"..."), np.zeros((4, 4, 3), np.uint8)])
def test_one_image_needs_no_list(one: Any) -> None:
    assert len(list(items_of(one))) == 1


def test_an_array_of_images_is_several() -> None:
    assert names(items_of(np.zeros((3, 4, 4, 3), np.uint8))) == ["array 0", "array 1", "array 2"]


def test_folders_and_globs_stand_for_their_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    array = np.zeros((4, 4), np.uint8)
    found = names(items_of([str(tmp_path), array, f"{tmp_path}/b*"]))
    assert found == [f"{tmp_path}/a.png", f"{tmp_path}/b.png", "array 1", f"{tmp_path}/b.png"]


def test_paths_can_be_gone_through_again(tmp_path: Path) -> None:
    images = items_of([CAT, BOOK])
    assert names(images) == names(images) == [CAT, BOOK]


def test_a_path_that_does_not_exist_is_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"no such file or folder: nowhere\.png"):
        items_of([pixels(CAT), "nowhere.png"])


def test_a_generator_is_read_as_it_is_needed() -> None:
    taken = []

    def drawn() -> Iterator[np.ndarray]:
        for number in range(5):
            taken.append(number)
            yield np.zeros((4, 4, 3), np.uint8)

    first = next(iter(items_of(drawn())))
    assert not isinstance(first, ImageFailure)
    assert first.name == "array 0"
    assert taken == [0]


# --- What is refused -----------------------------------------------------------------------------


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="image 1 is no image, but a int"):
        list(items_of([b"...", 7]))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8), np.int64),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_a_failure_that_tells_its_shape(array: np.ndarray) -> None:
    reason = failure(array)
    assert "x".join(map(str, array.shape)) in reason
    assert str(array.dtype) in reason


def test_a_damaged_pillow_image_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(Path(BOOK).read_bytes()[:3000])
    with Image.open(tmp_path / "cut.png") as image:
        assert failure(image).startswith("damaged image: ")


# --- What comes of them --------------------------------------------------------------------------


def test_all_kinds_give_what_their_files_give(nano: Any) -> None:
    """As in a notebook: one call, results in order; JPEGs decoded at full size, as Pillow does."""
    exact = clipcli.DecodeOptions(exact=True)
    classifier = clipcli.build_classifier(nano, ["cat", "fish", "book"])
    with Image.open(FISH) as fish, Path(FISH).open("rb") as file:
        images = [Path(BOOK), fish, pixels(CAT), Path(CAT).read_bytes(), BOOK, b"no image", file]
        outcomes = list(clipcli.classify(images, nano, classifier, decoding=exact))
    paths = [BOOK, FISH, CAT, CAT, BOOK, FISH]
    expected = list(clipcli.classify(paths, nano, classifier, decoding=exact))
    assert isinstance(outcomes[5], ImageFailure)
    found = outcomes[:5] + outcomes[6:]
    for ours, theirs in zip(found, expected, strict=True):
        assert not isinstance(ours, ImageFailure)
        assert not isinstance(theirs, ImageFailure)
        assert [one[1:] for one in ours.predictions] == [one[1:] for one in theirs.predictions]
        np.testing.assert_array_equal(ours.scores, theirs.scores)
    assert [outcome.image for outcome in outcomes] == [
        BOOK,
        FISH,
        "array 2",
        "bytes 3",
        BOOK,
        "bytes 5",
        FISH,
    ]


def test_a_pillow_image_is_turned_upright_and_left_as_it_is(nano: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(pixels(CAT)).save(path, exif=exif)
    with Image.open(path) as image:
        (ours,) = clipcli.encode(image, nano)
        assert image.getexif()[0x0112] == 6
        assert image.size == Image.fromarray(pixels(CAT)).size
    (theirs,) = clipcli.encode(path, nano)
    np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64, np.bool_])
def test_grey_arrays_are_scaled_to_their_kind(nano: Any, kind: Any) -> None:
    grey = np.tile(np.linspace(0, 1, 80) > 0.5, (80, 1))
    largest = {np.uint8: 255, np.uint16: 65535}.get(kind, 1)
    (ours,) = clipcli.encode((grey * largest).astype(kind), nano)
    (theirs,) = clipcli.encode(np.stack([grey * np.uint8(255)] * 3, axis=2), nano)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_an_array_may_be_filled_anew_while_its_image_waits(nano: Any) -> None:
    images = [pixels(path) for path in (CAT, FISH, BOOK)]
    side = min(min(image.shape[:2]) for image in images)
    images = [image[:side, :side] for image in images]
    reused = np.empty_like(images[0])

    def drawn() -> Iterator[np.ndarray]:
        for image in images:
            reused[:] = image
            yield reused

    found = [one[1] for one in clipcli.encode(drawn(), nano)]
    expected = [one[1] for one in clipcli.encode(images, nano)]
    np.testing.assert_array_equal(np.stack(found), np.stack(expected))


def test_images_in_memory_are_found_in_the_cache_by_their_pixels(nano: Any, tmp_path: Path) -> None:
    cache = clipcli.FeatureCache(tmp_path / "cache")
    array = pixels(CAT)
    (first,) = clipcli.encode(array, nano, cache=cache)
    assert set(cache.info().features.values()) == {1}
    (again,) = clipcli.encode(array.copy(), nano, cache=cache)
    np.testing.assert_array_equal(first[1], again[1])
    assert set(cache.info().features.values()) == {1}
    array = 255 - array
    (other,) = clipcli.encode(array, nano, cache=cache)
    assert not np.array_equal(first[1], other[1])
    assert set(cache.info().features.values()) == {2}
    cache.close()
