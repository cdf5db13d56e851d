"""Tables in parts: what is finished stays, what is not is made again, and nothing stands twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from clipcli.errors import ClipcliError, UsageError
from clipcli.inputs.item import FileItem
from clipcli.output.counts import Counts
from clipcli.output.parts import Digest, Part, PartFolder
from clipcli.ray_stages import _unfinished
from clipcli.records import ImageFailure

RUN = {"model": "nano"}


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartFolder]:
    """A folder of this machine, and one that fsspec alone knows."""
    if request.param == "local":
        yield PartFolder(str(tmp_path / "out"), ".csv")
        return
    yield PartFolder("memory://bucket/out", ".csv")
    fsspec.filesystem("memory").rm("/", recursive=True)


def names(folder: PartFolder) -> list[str]:
    """Everything in the folder, below it too."""
    files, start = folder._files, folder._at()
    return sorted(path[len(start) :].lstrip("/") for path in files.find(start))


def part(first: int, *images: str) -> Part:
    digest = Digest()
    for image in images:
        digest.add(FileItem(image))
    return Part(0, first, len(images), digest.hexdigest())


def add(folder: PartFolder, one: Part, tmp_path: Path, text: str = "rows") -> None:
    file = tmp_path / "made"
    file.write_text(text)
    counts = Counts()
    counts.add(ImageFailure("a.png", "damaged image: x"))
    folder.add(one, file, counts)


def test_a_new_folder_has_no_parts(folder: PartFolder) -> None:
    assert folder.begin(RUN) == []
    assert names(folder) == ["run.json"]


def test_what_is_finished_is_known_to_the_next_run(folder: PartFolder, tmp_path: Path) -> None:
    folder.begin(RUN)
    one = part(0, "a.png", "b.png")
    add(folder, one, tmp_path)
    assert folder.begin(RUN) == [one]
    assert names(folder) == ["_parts/part-0000-000000000000.json", "part-0000-000000000000.csv", "run.json"]
    assert (folder.counts().images, folder.counts().reasons) == (2, {"damaged image": 1})


def test_rows_without_their_count_are_made_again(folder: PartFolder, tmp_path: Path) -> None:
    """A run that was killed between the two."""
    folder.begin(RUN)
    add(folder, part(0, "a.png"), tmp_path)
    folder._files.rm_file(folder._at("_parts", "part-0000-000000000000.json"))
    assert folder.begin(RUN) == []
    assert names(folder) == ["run.json"]


def test_another_run_is_refused_and_told_what_differs(folder: PartFolder, tmp_path: Path) -> None:
    folder.begin(RUN)
    add(folder, part(0, "a.png"), tmp_path)
    with pytest.raises(UsageError, match="another run: model, top_k differ"):
        folder.begin({"model": "fast", "top_k": 2})
    assert len(names(folder)) == 3


def test_a_finished_run_is_refused(folder: PartFolder) -> None:
    folder.begin(RUN)
    folder.finish({"images": 0})
    assert json.loads(folder._files.cat_file(folder._at("_SUCCESS"))) == {"images": 0}
    with pytest.raises(UsageError, match="finished run"):
        folder.begin(RUN)


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not empty"):
        PartFolder(str(tmp_path / "photos"), ".csv").begin(RUN)
    assert [path.name for path in (tmp_path / "photos").glob("*.*")] == ["a.png"]


def left(folder: PartFolder, images: list[str], finished: list[Part]) -> list[str]:
    items = enumerate(map(FileItem, images))
    known = {one.first: one for one in finished}
    return [item.name for _, item in _unfinished(items, known, folder) if isinstance(item, FileItem)]


def test_images_of_finished_parts_are_passed_over(folder: PartFolder, tmp_path: Path) -> None:
    folder.begin(RUN)
    parts = [part(0, "a", "b"), part(3, "d", "e")]
    for one in parts:
        add(folder, one, tmp_path)
    assert left(folder, list("abcdef"), parts) == ["c", "f"]
    assert folder.begin(RUN) == parts


@pytest.mark.parametrize("images", ["axc", "xbc", "ac", "a", ""])
def test_a_part_whose_images_changed_is_made_again(folder: PartFolder, tmp_path: Path, images: str) -> None:
    folder.begin(RUN)
    one = part(0, "a", "b")
    add(folder, one, tmp_path)
    assert left(folder, list(images), [one]) == list(images)
    assert names(folder) == ["run.json"]


def test_a_part_that_was_made_again_is_not_dropped(folder: PartFolder, tmp_path: Path) -> None:
    """The listing runs again when the machine of its results is lost."""
    folder.begin(RUN)
    old, new = part(0, "a", "b"), part(0, "a", "x")
    add(folder, new, tmp_path)
    folder.drop(old)
    assert folder.begin(RUN) == [new]


def test_what_an_earlier_run_wrote_meanwhile_is_removed(folder: PartFolder, tmp_path: Path) -> None:
    """Of a command that was killed, a process may have gone on for a moment."""
    kept, made, strange = part(0, "a"), part(1, "b", "c"), part(2, "c")
    folder.begin(RUN)
    for one in (kept, made, strange):
        add(folder, one, tmp_path)
    folder.settle([made], [kept])
    assert folder.finished() == [kept, made]


def test_a_part_that_is_missing_is_noticed(folder: PartFolder, tmp_path: Path) -> None:
    folder.begin(RUN)
    kept, made = part(0, "a"), part(2, "c")
    for one in (kept, made):
        add(folder, one, tmp_path)
    with pytest.raises(ClipcliError, match="images are missing before part-0000-000000000002"):
        folder.settle([made], [kept])


def test_files_that_a_killed_process_left_half_are_removed(tmp_path: Path) -> None:
    folder = PartFolder(str(tmp_path / "out"), ".csv")
    folder.begin(RUN)
    one = part(0, "a")
    add(folder, one, tmp_path)
    (tmp_path / "out" / f"{one.name}.csv.17.partial").write_text("half")
    (tmp_path / "out" / "_parts" / f"{one.name}.json.17.partial").write_text("{")
    assert folder.begin(RUN) == [one]
    assert not list((tmp_path / "out").glob("*.partial"))


def test_columns_are_part_of_what_an_image_is() -> None:
    digests = set()
    for columns in ({}, {"sku": "1"}, {"sku": 1}, {"sku": None}):
        digest = Digest()
        digest.add(FileItem("a.png", columns))
        digests.add(digest.hexdigest())
    assert len(digests) == 4


def test_parts_sort_in_the_order_of_their_images() -> None:
    parts = [Part(0, 0, 1, ""), Part(0, 99_999, 1, ""), Part(0, 100_000, 1, ""), Part(11, 5, 1, "")]
    assert sorted(one.name for one in parts) == [one.name for one in parts]
