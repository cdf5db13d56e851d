"""RAW files: which image they show, and how it is turned. The files are DNGs that the tests write."""

from __future__ import annotations

import io
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from media_files import write_dng
from PIL import Image, ImageDraw

from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import DecodeOptions, decode
from clipcli.inputs import extras
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.frames.raw import with_orientation
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem, FileItem
from clipcli.inputs.opening import item_named
from clipcli.records import ImageFailure, Preprocess

RECIPE = Preprocess(size=(64, 64))
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
CORNERS = {  # of the image as it is shown: top left, top right, bottom left, bottom right
    1: ("red", "green", "blue", "yellow"),
    3: ("yellow", "blue", "green", "red"),
    6: ("blue", "red", "yellow", "green"),
    8: ("green", "yellow", "red", "blue"),
}


def preview(size: tuple[int, int] = (600, 450), orientation: int | None = None, **save: object) -> bytes:
    """The quarters as stored, with a white cross, which the data do not have."""
    width, height = size
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for number, color in enumerate(COLORS.values()):
        left, top = number % 2 * width // 2, number // 2 * height // 2
        draw.rectangle((left, top, left + width // 2, top + height // 2), color)
    draw.rectangle((width // 2 - 40, height // 2 - 40, width // 2 + 40, height // 2 + 40), "white")
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image.save(file, "JPEG", quality=95, subsampling=0, exif=exif, **save)
    return file.getvalue()


def raw_item(path: Path) -> PartItem:
    (item,) = Inputs((str(path),))
    assert isinstance(item, PartItem)
    return item


def shown(item: PartItem) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(64, 64, 3), as the model sees it."""
    return decode(item.read(), RECIPE)


def corners(item: PartItem) -> tuple[str, ...]:
    pixels = shown(item).astype(int)
    return tuple(
        min(COLORS, key=lambda name: np.abs(pixels[y, x] - COLORS[name]).sum())
        for y in (8, 56)
        for x in (8, 56)
    )


def has_cross(item: PartItem) -> bool:
    return bool((shown(item)[32, 32] > 200).all())


# --- The preview, or the data --------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_without_a_preview_the_data_are_shown_upright(orientation: int, tmp_path: Path) -> None:
    item = raw_item(write_dng(tmp_path / "a.dng", orientation))
    image = item.read()
    assert isinstance(image, Image.Image)
    assert image.size == ((600, 450) if orientation in (1, 3) else (450, 600))
    assert corners(item) == CORNERS[orientation]
    assert not has_cross(item)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_preview_is_shown_upright(orientation: int, tmp_path: Path) -> None:
    item = raw_item(write_dng(tmp_path / "a.dng", orientation, preview=preview()))
    assert isinstance(item.read(), bytes)
    assert has_cross(item)
    assert corners(item) == CORNERS[orientation]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_preview_that_says_how_to_turn_it_is_turned_once(orientation: int, tmp_path: Path) -> None:
    item = raw_item(write_dng(tmp_path / "a.dng", orientation, preview=preview(orientation=orientation)))
    assert has_cross(item)
    assert corners(item) == CORNERS[orientation]


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("stated", [None, 1])
def test_a_preview_that_is_upright_already_is_not_turned(
    orientation: int, stated: int | None, tmp_path: Path
) -> None:
    turned = preview((450, 600), stated)
    item = raw_item(write_dng(tmp_path / "a.dng", orientation, preview=turned))
    assert has_cross(item)
    assert corners(item) == CORNERS[1]


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_preview_that_lies_and_says_that_it_stands_is_turned(orientation: int, tmp_path: Path) -> None:
    item = raw_item(write_dng(tmp_path / "a.dng", orientation, preview=preview(orientation=1)))
    assert has_cross(item)
    assert corners(item) == CORNERS[orientation]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_bitmap_as_a_preview(orientation: int, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(preview())).convert("RGB"))
    item = raw_item(write_dng(tmp_path / "a.dng", orientation, preview=pixels))
    assert isinstance(item.read(), Image.Image)
    assert has_cross(item)
    assert corners(item) == CORNERS[orientation]


@pytest.mark.parametrize(("size", "is_used"), [((600, 448), True), ((600, 447), False), ((160, 120), False)])
def test_a_preview_smaller_than_what_models_see_is_not_used(
    size: tuple[int, int], is_used: bool, tmp_path: Path
) -> None:
    assert has_cross(raw_item(write_dng(tmp_path / "a.dng", preview=preview(size)))) == is_used


def test_small_data_keep_their_size(tmp_path: Path) -> None:
    image = raw_item(write_dng(tmp_path / "a.dng", size=(800, 600))).read()
    assert isinstance(image, Image.Image)
    assert image.size == (800, 600)


def test_data_are_in_srgb(tmp_path: Path) -> None:
    """The value v of 255 is linear ((v / 255 + 0.055) / 1.055) ** 2.4 of white (IEC 61966-2-1)."""
    values = (255, 188, 128, 60)
    linear = [round(65000 * ((value / 255 + 0.055) / 1.055) ** 2.4) for value in values]
    path = write_dng(tmp_path / "a.dng", colors=[(number,) * 3 for number in linear])
    pixels = shown(raw_item(path)).astype(int)
    found = [pixels[y, x] for y in (8, 56) for x in (8, 56)]
    assert all(np.abs(pixel - value).max() <= 6 for pixel, value in zip(found, values, strict=True)), found


def test_instead_of_a_preview_that_cannot_be_opened_the_data_are_shown(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", 6, preview=preview())
    content = path.read_bytes()
    at = content.find(b"\xff\xc0")  # where the size is
    path.write_bytes(content[:at] + bytes(20) + content[at + 20 :])
    assert corners(raw_item(path)) == CORNERS[6]
    assert not has_cross(raw_item(path))


# --- EXIF of a preview ---------------------------------------------------------------------------


def test_a_jpeg_with_another_orientation_keeps_all_else() -> None:
    profile = b"a profile " * 20
    jpeg = preview(orientation=3, icc_profile=profile, comment=b"hello")
    turned = with_orientation(jpeg, 6)
    with Image.open(io.BytesIO(jpeg)) as before, Image.open(io.BytesIO(turned)) as after:
        assert dict(after.getexif()) == {274: 6}
        assert after.info["icc_profile"] == profile
        assert after.info["comment"] == b"hello"
        assert np.array_equal(np.asarray(before), np.asarray(after))


# --- Wherever it lies ----------------------------------------------------------------------------


def test_a_raw_file_in_memory(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", 6)
    inside = part_of(BytesItem("shoot.zip!/a.dng", path.read_bytes()), "raw")
    assert inside.name == "shoot.zip!/a.dng"
    assert np.array_equal(shown(inside), shown(raw_item(path)))


@pytest.mark.skipif(sys.platform == "darwin", reason="every name is UTF-8 there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.dng")
    assert corners(raw_item(write_dng(tmp_path / "a.dng").rename(path))) == CORNERS[1]


def test_the_name_is_the_files_own_and_leads_back(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.DNG")
    item = raw_item(path)
    assert item.name == str(path)
    assert item_named(str(path)) == item
    assert pickle.loads(pickle.dumps(item)) == item
    os.utime(path, (1e9, 1e9))


def test_the_version_is_not_that_of_the_file_as_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.inputs.item.RACY_SECONDS", -1e12)
    path = write_dng(tmp_path / "a.dng")
    version, of_file = raw_item(path).version(), FileItem(str(path)).version()
    assert version is not None and of_file is not None
    assert version.name == of_file.name
    assert version.token.startswith(of_file.token + "-")


def test_several_threads(tmp_path: Path) -> None:
    items = [
        raw_item(write_dng(tmp_path / f"{n}.dng", n, preview=preview() if n < 6 else None))
        for n in (1, 3, 6, 8)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(corners, items * 4)) == [CORNERS[n] for n in (1, 3, 6, 8)] * 4


# --- Damage --------------------------------------------------------------------------------------


def reason(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        raw_item(path).read()
    return caught.value.message


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.nef"
    path.touch()
    assert reason(path) == "empty file"
    path.write_bytes(b"no RAW file " * 100)
    assert reason(path) == "not a RAW file, or one that LibRaw cannot read"
    whole = write_dng(tmp_path / "a.dng").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert reason(path) == "damaged RAW file: Input/output error"
    path.unlink()
    with pytest.raises(ImageError, match="no such file"):
        part_of(FileItem(str(path)), "raw").read()


def test_the_limit_of_pixels_holds(tmp_path: Path) -> None:
    item = raw_item(write_dng(tmp_path / "a.dng", preview=preview()))
    with pytest.raises(ImageError, match="too large"):
        decode(item.read(), RECIPE, DecodeOptions(max_pixels=200_000))


# --- Without the library -------------------------------------------------------------------------


@pytest.fixture
def without_rawpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_installed", lambda library: library != "rawpy")


@pytest.mark.usefixtures("without_rawpy")
def test_without_the_library_a_named_file_is_an_error_and_one_in_a_folder_is_counted(tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    for name in (path, tmp_path / "*.dng"):
        with pytest.raises(UsageError, match="RAW files need a library") as caught:
            Inputs((str(name),))
        assert caught.value.hint == "pip install 'clipcli[raw]'."
    inputs = Inputs((str(tmp_path),))
    assert [item.name for item in inputs if not isinstance(item, ImageFailure)] == [str(tmp_path / "b.png")]
    assert inputs.left_out.kinds == {"raw": 1}
    found = item_named(str(path))
    assert isinstance(found, ImageFailure)
    assert found.reason == "RAW files need a library that is not installed: pip install 'clipcli[raw]'"
