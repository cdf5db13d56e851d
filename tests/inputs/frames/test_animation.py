"""Frames of animations and pages of TIFF files: as a viewer shows them, and as if saved by themselves."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.decode import decode
from clipcli.inputs.frames import animation
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.frames.tiff_pages import page_offsets
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem, FileItem
from clipcli.inputs.opening import item_named
from clipcli.inputs.reading import Reading
from clipcli.records import Item, Preprocess, Uint8Array

RECIPE = Preprocess(size=(32, 32))
COLORS = [(255, 0, 0), (0, 128, 0), (0, 0, 255)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    animation._FILES.close()


def taken(path: Path) -> list[Any]:
    return list(Inputs((str(path),), reading=Reading(all_frames=True)))


def shown(item: Item) -> Uint8Array:
    return decode(item.read(), RECIPE)


def is_color(item: Item, color: tuple[int, ...]) -> bool:
    return bool(np.abs(shown(item).astype(int) - color).max() < 12)


def frames(size: tuple[int, int] = (60, 40)) -> list[Image.Image]:
    return [Image.new("RGB", size, color) for color in COLORS]


def random_pages(count: int, shape: tuple[int, ...] = (40, 50, 3), dtype: Any = np.uint8) -> list[Any]:
    generator = np.random.default_rng(0)
    limit = np.iinfo(dtype).max
    return [np.asarray(generator.integers(0, limit, shape), dtype) for _ in range(count)]


# --- Which frames --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng", "tif", "TIFF"])
def test_all_frames_in_order_if_that_is_asked_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    one, *others = frames()
    kind = {"apng": "PNG", "png": "PNG", "tif": "TIFF"}.get(suffix, suffix.upper())
    lossless = {"lossless": True} if suffix == "webp" else {}
    one.save(path, kind, save_all=True, append_images=others, **lossless)
    items = taken(path)
    assert [item.name for item in items] == [f"{path}#frame={n}" for n in (1, 2, 3)]
    assert all(map(is_color, items, COLORS))
    assert [item.name for item in Inputs((str(path),))] == [str(path)]
    assert [item_named(item.name) for item in items] == items
    assert list(Inputs((items[1].name,))) == [items[1]]
    assert pickle.loads(pickle.dumps(items)) == items


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "jpg", "bmp"])
def test_a_file_of_one_frame_keeps_its_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    frames()[0].save(path)
    assert taken(path) == [FileItem(str(path))]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_a_file_that_cannot_be_opened_tells_it_when_it_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"II*\0damaged" if suffix == "tif" else b"GIF89a")
    assert taken(path) == [FileItem(str(path))]
    with pytest.raises(ImageError):
        shown(FileItem(str(path)))


# --- As a viewer shows it ------------------------------------------------------------------------


def test_a_frame_of_an_animation_lies_over_those_before_it(tmp_path: Path) -> None:
    """GIF and APNG store what changes; WebP and Pillow's writer do so by themselves."""
    steps = []
    for number in range(4):
        image = steps[-1].copy() if steps else Image.new("RGB", (64, 64), "white")
        image.paste((0, 0, 255), (16 * number, 0, 16 * number + 16, 64))
        steps.append(image)
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"a.{suffix}"
        lossless = {"lossless": True} if suffix == "webp" else {}
        steps[0].save(path, save_all=True, append_images=steps[1:], **lossless)
        for item, step in zip(taken(path), steps, strict=True):
            assert np.array_equal(shown(item), shown_alone(step, tmp_path)), (suffix, item.name)


def shown_alone(image: Image.Image, folder: Path) -> Uint8Array:
    """What the model sees of the same frame saved as PNG."""
    image.save(folder / "alone.png")
    return shown(FileItem(str(folder / "alone.png")))


def test_what_a_gif_clears_is_cleared(tmp_path: Path) -> None:
    """Disposal 2: the first frame is gone when the second is shown, on white."""
    red, blue = (Image.new("RGBA", (32, 32), (0, 0, 0, 0)) for _ in range(2))
    red.paste((255, 0, 0, 255), (0, 0, 16, 32))
    blue.paste((0, 0, 255, 255), (16, 0, 32, 32))
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue], disposal=2)
    second = shown(taken(tmp_path / "a.gif")[1])
    assert (second[16, 4] == 255).all()
    assert tuple(second[16, 28]) == (0, 0, 255)


def test_the_cover_of_an_animated_png_is_no_frame(tmp_path: Path) -> None:
    cover, *steps = frames()
    cover.save(tmp_path / "a.png", save_all=True, append_images=steps, default_image=True)
    items = taken(tmp_path / "a.png")
    assert len(items) == 2
    assert all(map(is_color, items, COLORS[1:]))


def test_any_order_in_several_threads(tmp_path: Path) -> None:
    steps = [Image.new("L", (40, 40), 8 * n) for n in range(30)]
    for suffix in ("gif", "tif"):
        steps[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=steps[1:])
        items = taken(tmp_path / f"a.{suffix}")
        with ThreadPoolExecutor(8) as pool:
            found = [int(one[16, 16, 0]) for one in pool.map(shown, items[::-1])]
        assert found == [8 * n for n in range(30)][::-1]


# --- Pages of TIFF files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "jpeg", "photometric": "ycbcr"},
        {"tile": (32, 32)},
        {"rowsperstrip": 7},
        {"planarconfig": "separate", "photometric": "rgb"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_page_is_as_if_it_were_saved_by_itself(options: dict[str, Any], dtype: Any, tmp_path: Path) -> None:
    if options.get("compression") == "jpeg" and dtype == np.uint16:
        pytest.skip("no such JPEG")
    kinds = {key: options[key] for key in ("byteorder", "bigtiff") if key in options}
    stored = {key: value for key, value in options.items() if key not in kinds}
    shape = (3, 40, 50) if "planarconfig" in options else (40, 50, 3)
    stored.setdefault("photometric", "rgb")
    pages = random_pages(3, shape, dtype)
    with tifffile.TiffWriter(tmp_path / "all.tif", **kinds) as file:
        for page in pages:
            file.write(page, metadata=None, **stored)
    items = taken(tmp_path / "all.tif")
    assert len(items) == 3
    for item, page in zip(items, pages, strict=True):
        tifffile.imwrite(tmp_path / "alone.tif", page, metadata=None, **kinds, **stored)
        assert np.array_equal(shown(item), shown(FileItem(str(tmp_path / "alone.tif"))))


def test_pages_have_sizes_modes_and_orientations_of_their_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(random_pages(1, (40, 50))[0], metadata=None)
        file.write(
            random_pages(1, (30, 90, 3))[0],
            metadata=None,
            photometric="rgb",
            extratags=[(274, "H", 1, 6, True)],
        )
    first, second = (Image.open(io.BytesIO(item.read())) for item in taken(tmp_path / "a.tif"))
    assert (first.size, first.mode) == ((50, 40), "L")
    assert (second.size, second.getexif()[274]) == ((30, 90), 6)  # as Pillow turns it


def test_a_page_takes_no_more_than_its_own_bytes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in random_pages(20):
            file.write(page, metadata=None, photometric="rgb")
    assert all(len(item.read()) < 7000 for item in taken(tmp_path / "a.tif"))


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for kind in (0, 1, 2, 1):
            file.write(random_pages(1)[0], metadata=None, photometric="rgb", subfiletype=kind)
    assert [item.name[-7:] for item in taken(tmp_path / "a.tif")] == ["frame=1", "frame=2"]
    assert note(tmp_path / "a.tif") == 1


def test_directories_in_a_circle_and_behind_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    one, *others = frames()
    one.save(path, save_all=True, append_images=others)
    content = bytearray(path.read_bytes())
    last = list(page_offsets(bytes(content)))[-1]
    (count,) = struct.unpack_from("<H", content, last)
    struct.pack_into("<I", content, last + 2 + 12 * count, 8)
    path.write_bytes(bytes(content))
    assert len(taken(path)) == 3
    struct.pack_into("<I", content, last + 2 + 12 * count, 2**31)
    path.write_bytes(bytes(content))
    assert len(taken(path)) == 3
    path.write_bytes(bytes(content[: last + 4]))
    assert len(taken(path)) == 2


def test_a_page_of_which_data_are_missing_is_damaged(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in random_pages(2):
            file.write(page, metadata=None, photometric="rgb")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[1].tags["StripOffsets"].valueoffset  # type: ignore[union-attr]
    struct.pack_into("<I", content, place, len(content) - 100)
    (tmp_path / "a.tif").write_bytes(bytes(content))
    first, second = taken(tmp_path / "a.tif")
    assert shown(first).shape == (32, 32, 3)
    with pytest.raises(ImageError, match="damaged image"):
        shown(second)


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    for suffix in ("gif", "tif"):
        path = tmp_path / f"a.{suffix}"
        frames()[0].save(path, save_all=True, append_images=frames()[1:])
        with pytest.raises(ImageError, match="no such frame: there are 3"):
            part_of(FileItem(str(path)), "frame", 4).read()
        with pytest.raises(ImageError, match="no such file"):
            part_of(FileItem(str(path) + "x"), "frame", 1).read()


def test_frames_of_a_file_in_memory(tmp_path: Path) -> None:
    frames()[0].save(tmp_path / "a.gif", save_all=True, append_images=frames()[1:])
    item = BytesItem("x.zip!/a.gif", (tmp_path / "a.gif").read_bytes())
    found = list(animation.frames_of(item))
    assert [one.name for one in found] == [f"x.zip!/a.gif#frame={n}" for n in (1, 2, 3)]
    assert all(map(is_color, found, COLORS))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_limit_of_pixels_holds(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{suffix}"
    frames()[0].save(path, save_all=True, append_images=frames()[1:])
    monkeypatch.setattr(animation, "MAX_PIXELS", 2399)
    with pytest.raises(ImageError, match="too large: 60x40"):
        part_of(FileItem(str(path)), "frame", 2).read()
    monkeypatch.setattr(animation, "MAX_PIXELS", 2400)
    part_of(FileItem(str(path)), "frame", 2).read()


def test_a_later_image_that_reaches_beyond_the_limit_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow enlarges the screen for it, up to 17 gigapixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    frames()[0].save(tmp_path / "a.gif", save_all=True, append_images=frames()[1:], disposal=2)
    content = bytearray((tmp_path / "a.gif").read_bytes())
    at = content.rfind(struct.pack("<BHHHH", 0x2C, 0, 0, 60, 40))
    struct.pack_into("<HHHH", content, at + 1, 65535, 65535, 65535, 65535)
    (tmp_path / "a.gif").write_bytes(bytes(content))
    with pytest.raises(ImageError, match="too large: 131070x131070"):
        part_of(FileItem(str(tmp_path / "a.gif")), "frame", 3).read()


def test_a_screen_without_end_is_refused_before_it_is_made(tmp_path: Path) -> None:
    frames()[0].save(tmp_path / "a.gif", save_all=True, append_images=frames()[1:])
    content = bytearray((tmp_path / "a.gif").read_bytes())
    struct.pack_into("<HH", content, 6, 65535, 65535)
    (tmp_path / "a.gif").write_bytes(bytes(content))
    with pytest.raises(ImageError, match="too large"):
        part_of(FileItem(str(tmp_path / "a.gif")), "frame", 2).read()


# --- The note ------------------------------------------------------------------------------------


def note(path: Path) -> int:
    inputs = Inputs((str(path),))
    items = list(inputs)
    assert inputs.left_out.first_pages.count == 0
    for item in items:
        assert not isinstance(item, PartItem)
        item.read()  # type: ignore[union-attr]
    list(inputs)  # as what counts the images may do
    return inputs.left_out.first_pages.count


def test_tiff_files_with_more_pages_are_counted_when_they_are_read(tmp_path: Path) -> None:
    one, *others = frames()
    for name in ("a", "b"):
        one.save(tmp_path / f"{name}.tif", save_all=True, append_images=others)
    one.save(tmp_path / "c.tif")
    one.save(tmp_path / "d.gif", save_all=True, append_images=others)
    assert note(tmp_path) == 2


def test_the_first_page_is_the_file_in_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.inputs.item.RACY_SECONDS", -1e12)
    path = tmp_path / "a.tif"
    frames()[0].save(path)
    (item,) = Inputs((str(path),))
    file = FileItem(str(path))
    assert item.version() == file.version()  # type: ignore[union-attr]
    assert item.read() == file.read()  # type: ignore[union-attr]
    assert pickle.loads(pickle.dumps(item)) == item
