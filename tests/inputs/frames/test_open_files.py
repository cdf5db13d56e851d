"""Files that stay open between parts: whose turn it is, and when they are closed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from clipcli.errors import ImageError
from clipcli.inputs.frames.open_files import OpenFiles
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.item import BytesItem, FileItem
from clipcli.records import Item


class Opened:
    """A file that remembers whether it was closed."""

    def __init__(self, item: Item) -> None:
        self.item, self.closed = item, False
        if item.name.endswith("bad.pdf"):
            raise ImageError("bad")


@pytest.fixture
def made() -> list[Opened]:
    return []


@pytest.fixture
def files(made: list[Opened]) -> OpenFiles[Opened]:
    def open_item(item: Item) -> Opened:
        made.append(Opened(item))
        return made[-1]

    def close(handle: Opened) -> None:
        handle.closed = True

    return OpenFiles(open_item, close)


def part(path: Path, number: int, is_last: bool = False) -> PartItem:
    if not path.exists():
        path.touch()
    return part_of(FileItem(str(path)), "page", number, is_last)


def test_of_those_that_wait_the_first_part_is_next(files: OpenFiles[Opened], tmp_path: Path) -> None:
    served: list[int] = []

    def read(number: int) -> None:
        with files.reading(part(tmp_path / "a.pdf", number)):
            served.append(number)

    waiting = [threading.Thread(target=read, args=(number,)) for number in (5, 3, 4, 2)]
    with files.reading(part(tmp_path / "a.pdf", 1)):
        for thread in waiting:
            thread.start()
        (slot,) = files._slots.values()
        while len(slot._waiting) < 4:
            time.sleep(0.001)
    for thread in waiting:
        thread.join()
    assert served == [2, 3, 4, 5]


def test_a_file_stays_open_until_its_last_part(
    files: OpenFiles[Opened], made: list[Opened], tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        with files.reading(part(tmp_path / "a.pdf", number)) as handle:
            assert not handle.closed
    assert len(made) == 1
    with files.reading(part(tmp_path / "a.pdf", 4, is_last=True)):
        pass
    assert made[0].closed and not files._slots


def test_the_last_part_does_not_close_a_file_that_others_read(
    files: OpenFiles[Opened], made: list[Opened], tmp_path: Path
) -> None:
    done = threading.Event()

    def read_last() -> None:
        with files.reading(part(tmp_path / "a.pdf", 9, is_last=True)):
            done.set()

    other = threading.Thread(target=read_last)
    with files.reading(part(tmp_path / "a.pdf", 1)) as handle:
        other.start()
        (slot,) = files._slots.values()
        while not slot._waiting:
            time.sleep(0.001)
        assert not handle.closed and not done.is_set()
    other.join()
    assert [one.closed for one in made] == [True]


def test_few_files_stay_open(files: OpenFiles[Opened], made: list[Opened], tmp_path: Path) -> None:
    for number in range(7):
        with files.reading(part(tmp_path / f"{number}.pdf", 1)):
            pass
    assert [one.closed for one in made] == [True] * 3 + [False] * 4
    files.close()
    assert all(one.closed for one in made)


def test_after_an_error_a_file_is_opened_anew(
    files: OpenFiles[Opened], made: list[Opened], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="damaged"), files.reading(part(tmp_path / "a.pdf", 1)):
        raise ImageError("damaged")
    assert made[0].closed
    with files.reading(part(tmp_path / "a.pdf", 2)) as handle:
        assert handle is made[1]


def test_a_file_that_cannot_be_opened_leaves_nothing_behind(files: OpenFiles[Opened], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ImageError, match="bad"), files.reading(part(tmp_path / "bad.pdf", 1, True)):
            pass
    assert not files._slots


def test_what_has_no_version_is_opened_each_time(files: OpenFiles[Opened], made: list[Opened]) -> None:
    for _ in range(2):
        with files.reading(part_of(BytesItem("a.pdf", b""), "page", 1, is_last=False)):
            pass
    assert [one.closed for one in made] == [True, True]
