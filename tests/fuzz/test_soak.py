"""Many images, a few of them broken, through the command itself: every input has its row, and no other."""

from __future__ import annotations

import csv
import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

IMAGES = int(os.environ.get("SOAK_IMAGES", "1000"))
BROKEN = IMAGES // 50
COMPARED = min(IMAGES, 5000)
MOST_MEGABYTES = 1500
ONE_IN_PROCESS = """
import sys
from pathlib import Path
from clipcli.cli.app import main

try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    sys.stdout.write(status.partition("VmHWM:")[2].split()[0])
"""


def claims(width: int, height: int) -> bytes:
    """A PNG whose header says how large it is, and no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 5) + b"IDAT" + bytes(9)


BREAKAGES: dict[str, Callable[[Path, bytes], object]] = {
    "empty file": lambda path, _: path.write_bytes(b""),
    "not an image file": lambda path, data: path.write_bytes(bytes(len(data))),
    "damaged image": lambda path, data: path.write_bytes(data[: len(data) * 2 // 3]),
    "too large": lambda path, _: path.write_bytes(claims(100_000, 100_000)),
    "no such file": lambda path, _: path.symlink_to("gone"),
    "a PDF is not": lambda path, data: path.write_bytes(b"%PDF-1.7\n" + data),
}


def name_of(number: int) -> str:
    return f"images/{number // 1000:03}/{number:06}.{'jpg' if number % 3 == 0 else 'png'}"


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG" if number % 3 == 0 else "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def broken() -> dict[str, str]:
    """Name of each broken image -> how its error begins."""
    places = sorted(random.Random(0).sample(range(IMAGES), BROKEN))
    return {name_of(number): list(BREAKAGES)[index % len(BREAKAGES)] for index, number in enumerate(places)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, broken: dict[str, str]) -> tuple[Path, Path]:
    """All the images, and in another folder the sound ones among the first."""
    everything, sound = tmp_path_factory.mktemp("all"), tmp_path_factory.mktemp("sound")
    for number in range(IMAGES):
        name, data = name_of(number), picture(number)
        for folder in (everything, sound):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name in broken:
            BREAKAGES[broken[name]](everything / name, data)
        else:
            (everything / name).write_bytes(data)
            if number < COMPARED:
                os.link(everything / name, sound / name)
    return everything, sound


class Run(NamedTuple):
    """What a run wrote and took."""

    code: int
    rows: dict[str, list[list[str]]]
    err: str


def classify(folder: Path, *options: str) -> Run:
    command = [sys.executable, "-c", ONE_IN_PROCESS, "classify", "images", "-l", "cat,dog", "-m", "nano"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "-o", "out.csv", *options], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds, megabytes = time.perf_counter() - start, int(done.stdout) / 1024
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows.pop(0) == ["image", "rank", "label", "score", "cosine", "error", "status", "margin"]
    outcomes = [(name, [row[1:] for row in one]) for name, one in groupby(rows, lambda row: row[0])]
    sys.stderr.write(f"{len(outcomes)} images: {seconds:.0f} s, {megabytes:.0f} MB at most\n")
    assert megabytes < MOST_MEGABYTES
    assert len(dict(outcomes)) == len(outcomes), "the rows of an image stand together"
    return Run(done.returncode, dict(outcomes), done.stderr)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_broken_images_change_nothing_but_their_own_rows(
    folders: tuple[Path, Path], broken: dict[str, str]
) -> None:
    everything, sound = folders
    with_broken = classify(everything)
    assert with_broken.code == 3
    assert list(with_broken.rows) == [name_of(number) for number in range(IMAGES)]
    assert f"{IMAGES} images in " in with_broken.err
    assert f"{BROKEN} failed: " in with_broken.err
    for name, reason in broken.items():
        ((*cells, error, status, margin),) = with_broken.rows.pop(name)
        assert cells == ["", "", "", ""]
        assert error.startswith(reason), name
        assert (status, margin) == ("error", "")
    assert all([row[0] for row in rows] == ["1", "2"] for rows in with_broken.rows.values())
    assert all(row[4:6] == ["", "ok"] for rows in with_broken.rows.values() for row in rows)

    without_broken = classify(sound, "--no-cache")
    assert without_broken.code == 0
    compared = {name_of(number) for number in range(COMPARED)} & set(with_broken.rows)
    assert without_broken.rows == {name: with_broken.rows[name] for name in compared}
    assert list(without_broken.rows) == sorted(compared)
