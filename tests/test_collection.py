"""A collection of all that can be read: an outcome each, in order, with the features of plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_files import archive
from media_files import write_dng, write_pdf, write_video
from PIL import Image
from web_server import WebServer

import clipcli
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure, ImageFeatures

for _library in ("av", "pypdfium2", "rawpy"):
    pytest.importorskip(_library, reason=f"{_library} is not installed")

EXAMPLES = sorted(Path("examples/drawings").glob("*.png"))[:12]
BROKEN = b"not an image"


def lossless(folder: Path, server: WebServer) -> tuple[list[str], list[Path]]:
    """Inputs that hold examples byte for byte or pixel by pixel, and the examples, in order."""
    contents = [(path.name, path.read_bytes()) for path in EXAMPLES]
    archive(folder / "a.zip", [*contents[:2], ("broken.png", BROKEN)])
    archive(folder / "b.tar", contents[2:4])
    archive(folder / "c.tar.gz", contents[4:6])
    cells = [{"bytes": content, "path": name} for name, content in contents[6:8]]
    pq.write_table(pa.table({"image": cells, "sku": ["A", "B"]}), folder / "d.parquet")
    pages = [on_white(path) for path in EXAMPLES[8:10]]
    pages[0].save(folder / "e.tif", save_all=True, append_images=pages[1:])
    for name, content in contents[10:]:
        server.site.files[name] = content
    places = [str(folder / name) for name in ("a.zip", "b.tar", "c.tar.gz", "d.parquet", "e.tif")]
    return [*places, *(server.url + name for name, _ in contents[10:])], EXAMPLES


def on_white(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def lossy(folder: Path) -> list[str]:
    """Inputs whose images are made when they are read."""
    write_video(folder / "clip.mp4", 30)
    write_pdf(folder / "file.pdf", [on_white(path) for path in EXAMPLES[:2]])
    write_dng(folder / "photo.dng", size=(640, 480))
    return [str(folder / name) for name in ("clip.mp4", "file.pdf", "photo.dng")]


def features(images: Any, encoder: clipcli.Encoder, tmp_path: Path) -> list[ImageFeatures | ImageFailure]:
    cache = clipcli.FeatureCache(tmp_path / "cache")
    try:
        return list(clipcli.encode(images, encoder, cache=cache))
    finally:
        cache.close()


def test_everything_at_once(tmp_path: Path) -> None:
    encoder = clipcli.load_model("nano")
    with WebServer() as server:
        places, plain = lossless(tmp_path, server)
        inputs = Inputs((*places, *lossy(tmp_path)), reading=Reading(all_frames=True, frames=2))
        found = features(inputs, encoder, tmp_path)
        again = features(inputs, encoder, tmp_path)
    names = [one.image.removeprefix(f"{tmp_path}/").removeprefix(server.url) for one in found]
    zipped, tarred, packed = plain[:2], plain[2:4], plain[4:6]
    assert names == [
        *(f"a.zip!/{path.name}" for path in zipped),
        "a.zip!/broken.png",
        *(f"b.tar!/{path.name}" for path in tarred),
        *(f"c.tar.gz!/{path.name}" for path in packed),
        *("d.parquet#1", "d.parquet#2", "e.tif#frame=1", "e.tif#frame=2"),
        *(path.name for path in plain[10:]),
        *("clip.mp4#t=0.75", "clip.mp4#t=2.25", "file.pdf#page=1", "file.pdf#page=2", "photo.dng"),
    ]
    failed = [one.image for one in found if isinstance(one, ImageFailure)]
    assert failed == [f"{tmp_path}/a.zip!/broken.png"]
    read = [one for one in found if isinstance(one, ImageFeatures)]
    assert [one.columns.get("sku") for one in read[6:8]] == ["A", "B"]
    assert {one.columns.get("sku") for one in read[:6] + read[8:]} == {None}

    expected = [
        one.features for one in clipcli.encode(list(plain), encoder) if isinstance(one, ImageFeatures)
    ]
    np.testing.assert_allclose([one.features for one in read[: len(plain)]], expected, atol=1e-6)
    listed = [one for one in inputs if not isinstance(one, ImageFailure)]
    made = listed[len(plain) + 1 :]  # and the broken one
    alone = [
        one.features
        for one in clipcli.encode(saved(made, tmp_path), encoder)
        if isinstance(one, ImageFeatures)
    ]
    np.testing.assert_allclose([one.features for one in read[len(plain) :]], alone, atol=1e-6)

    assert [one.image for one in again] == [one.image for one in found]
    assert sum(one.known for one in again if isinstance(one, ImageFeatures)) == len(read)


def saved(items: list[Any], folder: Path) -> list[Path]:
    """What items give when they are read, as plain files."""
    paths = []
    for number, item in enumerate(items):
        path = folder / f"plain-{number}.png"
        content = item.read()
        if isinstance(content, Image.Image):
            content.save(path)
        else:
            path.write_bytes(content)
        paths.append(path)
    return paths
