"""RAW files, videos, documents and animations in one folder, from the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from conftest import Result
from media_files import write_dng, write_pdf, write_video
from PIL import Image

from clipcli.images.decode import decode
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure, Preprocess

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("collection")
    colors = [Image.new("RGB", (200, 200), color) for color in ("red", "green", "blue")]
    colors[0].save(folder / "a.tif", save_all=True, append_images=colors[1:])
    colors[0].save(folder / "b.gif", save_all=True, append_images=colors[1:])
    write_video(folder / "c.mp4")
    write_pdf(folder / "d.pdf", colors)
    write_dng(folder / "e.dng", 6)
    colors[0].save(folder / "e.jpg")
    (folder / "f.mp4").touch()
    return folder


ALL = ("--frames", 3, "--pages", "--all-frames", "--prefer", "raw")
EXPECTED = [
    *(f"a.tif#frame={n}" for n in (1, 2, 3)),
    *(f"b.gif#frame={n}" for n in (1, 2, 3)),
    *(f"c.mp4#t={t}" for t in ("1.0", "3.0", "5.0")),
    *(f"d.pdf#page={n}" for n in (1, 2, 3)),
    "e.dng",
    "f.mp4",
]


def rows(text: str, folder: Path) -> list[dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(text)))
    return [row | {"image": row["image"].removeprefix(f"{folder}/")} for row in found]


def test_one_outcome_for_each_image_that_files_hold(run_cli: Cli, collection: Path) -> None:
    result = run_cli("classify", collection, *NANO, "-l", "red,green", "-k", 1, *ALL, "--format", "csv")
    found = rows(result.out, collection)
    assert [row["image"] for row in found] == EXPECTED
    assert [row["image"] for row in found if row["error"]] == ["f.mp4"]
    assert result.code == 3
    again = run_cli("classify", collection, *NANO, "-l", "red,green", "-k", 1, *ALL, "--format", "csv")
    assert again.out == result.out


def test_features_are_those_of_the_same_image_in_a_folder(
    run_cli: Cli, collection: Path, tmp_path: Path
) -> None:
    """What each item shows is saved as PNG; video frames besides by PyAV itself."""
    reading = Reading(frames=3, pages=True, all_frames=True, prefer="raw")
    folder = tmp_path / "plain"
    folder.mkdir()
    items = [one for one in Inputs((str(collection),), reading=reading) if not isinstance(one, ImageFailure)]
    for number, item in enumerate(items):
        content = item.read()
        image = Image.open(io.BytesIO(content)) if isinstance(content, bytes) else content
        image.convert("RGB").save(folder / f"{number:02}.png")
    with av.open(str(collection / "c.mp4")) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    for number, at in zip(range(6, 9), (10, 30, 50), strict=True):
        frames[at].save(folder / f"{number:02}.png")
    assert (
        run_cli("embed", collection, *NANO, *ALL, "--allow-failures", "-o", tmp_path / "a.parquet").code == 0
    )
    assert run_cli("embed", folder, *NANO, "-o", tmp_path / "b.parquet").code == 0
    one, other = (
        np.stack(list(pd.read_parquet(tmp_path / f"{name}.parquet").features.dropna())) for name in "ab"
    )
    assert np.abs(one - other).max() < 1e-6


def test_outputs_lead_back_to_the_images(run_cli: Cli, collection: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{collection}/{name}\n" for name in EXPECTED[:-1]))
    result = run_cli("classify", "--from-file", names, *NANO, "-l", "red,green", "-k", 1, "--format", "csv")
    assert [row["image"] for row in rows(result.out, collection)] == EXPECTED[:-1]
    assert result.code == 0
    names.write_text(f"{collection}/d.pdf\n{collection}/e.dng\n")
    result = run_cli("classify", "--from-file", names, *NANO, "-l", "red,green", "-k", 1, "--format", "csv")
    assert [row["image"] for row in rows(result.out, collection)] == EXPECTED[9:13]


def test_what_is_not_taken_is_told(run_cli: Cli, collection: Path) -> None:
    result = run_cli("classify", collection, *NANO, "-l", "red,green", "--format", "csv", "--no-cache")
    assert (
        "not taken from folders: 2 videos (use --frames or --every), 1 document (use --pages)" in result.err
    )
    assert "1 TIFF file has more pages: use --all-frames" in result.err
    assert result.code == 0


@pytest.mark.parametrize("how", ["mean", "max"])
def test_one_row_for_each_video(how: str, run_cli: Cli, collection: Path) -> None:
    words = ("classify", collection, *NANO, "-l", "red,green", "-k", 1, "--frames", 4, "--format", "csv")
    found = rows(run_cli(*words, "--per-video", how).out, collection)
    assert [row["image"] for row in found] == ["a.tif", "b.gif", "c.mp4", "e.dng", "e.jpg", "f.mp4"]
    assert [row["image"] for row in found if row["error"]] == ["f.mp4"]
    frames = [
        row for row in rows(run_cli(*words, "-k", 2).out, collection) if row["image"].startswith("c.mp4")
    ]
    if how == "max":
        best = max(float(row["score"]) for row in frames)
        assert float(found[2]["score"]) == pytest.approx(best, abs=1e-6)


def test_the_mean_features_of_a_video(run_cli: Cli, collection: Path, tmp_path: Path) -> None:
    words = ("embed", collection / "c.mp4", *NANO, "--frames", 4)
    assert run_cli(*words, "-o", tmp_path / "all.npy").code == 0
    assert run_cli(*words, "-o", tmp_path / "one.npy", "--per-video", "mean").code == 0
    mean = np.load(tmp_path / "all.npy").mean(axis=0)
    (one,) = np.load(tmp_path / "one.npy")
    assert np.allclose(one, mean / np.linalg.norm(mean), atol=1e-6)
    assert (tmp_path / "one.csv").read_text().splitlines()[1:] == [f"0,{collection}/c.mp4,"]
    result = run_cli(*words, "-o", tmp_path / "max.npy", "--per-video", "max")
    assert (result.code, "--per-video" in result.err) == (2, True)


def test_an_unchanged_video_is_not_opened_again(
    run_cli: Cli, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.inputs.item.RACY_SECONDS", -1e12)
    words = ("classify", collection, *NANO, "-l", "red,green", *ALL, "--format", "csv")
    first = run_cli(*words)
    monkeypatch.setattr("clipcli.inputs.frames.parts.PartItem.read", lambda self: pytest.fail(self.name))
    assert run_cli(*words).out == first.out


def test_pixels_that_the_model_sees_of_a_raw_file(collection: Path) -> None:
    (item,) = Inputs((str(collection / "e.dng"),))
    assert not isinstance(item, ImageFailure)
    pixels = decode(item.read(), Preprocess(size=(64, 64)))
    assert pixels[4, 4].argmax() == 2  # blue is at the left once it is upright
