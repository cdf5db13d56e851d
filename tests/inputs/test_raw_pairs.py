"""A RAW file and a JPEG of one photograph are one image, if one of them is preferred."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PEAK_MEGABYTES
from fakes import names

from clipcli.choices import Prefer
from clipcli.inputs import walk
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.reading import Reading


def touch(folder: Path, text: str) -> None:
    for name in text.split():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def found(folder: Path, prefer: Prefer | None, **options: Any) -> tuple[str, int]:
    inputs = Inputs((str(folder),), reading=Reading(prefer=prefer), **options)
    paths = [str(name).removeprefix(f"{folder}/") for name in names(inputs)]
    return " ".join(paths), inputs.left_out.reasons["paired"]


PAIRS = "A.CR2 A.JPG a2.jpeg b.NEF B.jpg c.dng d.jpg sub/A.jpg"


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        (None, ("A.CR2 A.JPG B.jpg a2.jpeg b.NEF c.dng d.jpg sub/A.jpg", 0)),
        ("jpeg", ("A.JPG B.jpg a2.jpeg c.dng d.jpg sub/A.jpg", 2)),
        ("raw", ("A.CR2 a2.jpeg b.NEF c.dng d.jpg sub/A.jpg", 2)),
    ],
)
def test_the_preferred_one_in_each_folder_in_any_case(
    prefer: Prefer | None, expected: tuple[str, int], tmp_path: Path
) -> None:
    touch(tmp_path, PAIRS)
    assert found(tmp_path, prefer) == expected


@pytest.mark.parametrize("prefer", ["jpeg", "raw"])
def test_a_folder_whose_names_are_sorted_on_disk(
    prefer: Prefer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, PAIRS + " x!.jpg x.arw X!.arw x.jpg")
    whole = found(tmp_path, prefer)
    assert whole[1] == 4
    monkeypatch.setattr(walk, "_SORT_CHUNK", 3)
    assert found(tmp_path, prefer) == whole


def test_one_that_is_left_out_anyway_has_no_pair(tmp_path: Path) -> None:
    touch(tmp_path, "a.CR2 a.jpg .b.jpg b.CR2")
    assert found(tmp_path, "jpeg", exclude=("*.jpg",)) == ("a.CR2 b.CR2", 0)
    assert found(tmp_path, "raw", include=("*.jpg",)) == ("a.jpg", 0)
    assert found(tmp_path, "jpeg") == ("a.jpg b.CR2", 1)


def test_other_images_of_the_same_name_stay(tmp_path: Path) -> None:
    touch(tmp_path, "a.CR2 a.dng a.heic a.jpg a.png a.JPEG")
    assert found(tmp_path, "jpeg") == ("a.JPEG a.heic a.jpg a.png", 2)
    assert found(tmp_path, "raw") == ("a.CR2 a.dng a.heic a.png", 2)


def test_what_is_counted_is_counted_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.CR2 a.jpg notes.txt .hidden.jpg")
    inputs = Inputs((str(tmp_path),), reading=Reading(prefer="jpeg"))
    assert len(list(inputs)) == 1
    assert inputs.left_out.suffixes == {".txt": 1}
    assert inputs.left_out.reasons == {"hidden": 1, "paired": 1}


PEAK = f"""
import sys
{PEAK_MEGABYTES}
import clipcli.inputs.walk as walk
walk._SORT_CHUNK = 5000
class Entry:
    def __init__(self, name): self.name = self.path = name
    def is_dir(self): return False
    def is_symlink(self): return False
    def is_file(self): return True
class Scan:
    def __init__(self, count): self.count = count
    def __enter__(self):
        return (Entry(f"IMG_{{n:07}}.{{end}}") for n in range(self.count) for end in ("CR2", "JPG"))
    def __exit__(self, *_): pass
from clipcli.inputs.left_out import LeftOut
from clipcli.inputs.reading import Reading
count = int(sys.argv[1])
walk.os.scandir = lambda path: Scan(count)
search = walk.Search(walk.PathFilter(), Reading(prefer="jpeg"), LeftOut())
assert sum(1 for _ in walk._contents(walk._Folder("/tmp"), search)) == count
assert search.left_out.reasons["paired"] == count
print(peak_megabytes())
"""


@pytest.mark.long
def test_the_pairs_of_many_names_take_the_memory_of_some() -> None:
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", PEAK, count], capture_output=True, text=True, check=True
            ).stdout
        )
        for count in ("10000", "50000")
    )
    assert many < few + 8
