"""`clipcli sort`: the plan, links, copies, moves and the way back, whatever the names and folders are."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from filing_runs import Held, files_of, held, photos, predictions

from clipcli.output.filing import placing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
Cli = Callable[..., Result]
MODES = ["--link", "--hardlink", "--copy", "--move"]


class Place:
    """A folder with photos, predictions of them, and a folder to sort into."""

    def __init__(self, folder: Path) -> None:
        self.photos, self.into, self.table = folder / "photos", folder / "out", folder / "predictions.csv"
        self.journal = self.into / "clipcli-sort-1.jsonl"

    def add(self, name: str, content: str = "") -> Path:
        path = self.photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content or name, errors="surrogateescape")
        os.utime(path, ns=(1_500_000_000_123_456_789,) * 2)
        return path

    def predict(self, labels: dict[str, str], **columns: Any) -> Path:
        """Label photos, which are made if they are not there."""
        for name in labels:
            if not os.path.lexists(self.photos / name) and "gone" not in name and "://" not in name:
                self.add(name)
        paths = {name if "://" in name else self.photos / name: label for name, label in labels.items()}
        return predictions(self.table, paths, **columns)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def sort(run_cli: Cli, place: Place) -> Cli:
    """Sort the predictions of `place`."""
    return lambda *options: run_cli("sort", place.table, "--into", place.into, *options)


def counts(shown: str) -> dict[str, int]:
    return {row["folder"]: int(row["images"]) for row in csv.DictReader(io.StringIO(shown))}


# --- The plan ------------------------------------------------------------------------------------


def test_without_apply_nothing_is_changed(sort: Cli, place: Place, tmp_path: Path) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog", "x/a.jpg": "cat", "gone.jpg": "cat"})
    before = held(tmp_path)
    result = sort("--move")
    assert counts(result.out) == {"cat": 2, "dog": 1}
    assert result.code == 3, "one is missing"
    assert held(tmp_path) == before
    assert not place.into.exists()
    assert "with a number, because another file has the name" in result.err
    assert "no such file" in result.err
    assert result.err.splitlines()[-1] == "this is the plan, and nothing has been changed; --apply does it"
    assert sort("--move", "--allow-failures").code == 0


@pytest.mark.parametrize("mode", MODES)
def test_images_are_filed_by_label_and_taken_back(
    mode: str, sort: Cli, run_cli: Cli, place: Place, tmp_path: Path
) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog", "x/a.jpg": "cat"})
    before = held(tmp_path)
    result = sort(mode, "--apply")
    assert result.code == 0, result.err
    assert files_of(place.into) == {"cat/a.jpg", "cat/a (2).jpg", "dog/b.jpg"}
    assert (place.into / "cat" / "a (2).jpg").read_text() == "x/a.jpg"
    assert (place.into / "cat/a.jpg").is_symlink() == (mode == "--link")
    same = place.photos / "a.jpg", place.into / "cat/a.jpg"
    assert same[0].exists() == (mode != "--move")
    assert mode not in ("--hardlink", "--link") or same[0].samefile(same[1])
    assert str(place.journal) in result.err
    times = {path.stat().st_mtime_ns for path in place.into.glob("*/*")}
    assert times == {1_500_000_000_123_456_789}

    undone = run_cli("sort", "--undo", place.journal)
    assert undone.code == 0, undone.err
    assert held(tmp_path) == before
    assert not place.into.exists()


def test_links_are_the_default(sort: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat"})
    assert sort("--apply").code == 0
    assert str((place.into / "cat/a.jpg").readlink()) == "../../photos/a.jpg"


def test_a_link_to_far_away_is_absolute(run_cli: Cli, place: Place, tmp_path: Path) -> None:
    place.predict({"a.jpg": "cat"})
    into = tmp_path / "some" / "where"
    assert run_cli("sort", place.table, "--into", into, "--apply").code == 0
    assert str((into / "cat/a.jpg").readlink()) == str(place.photos / "a.jpg")


def test_the_best_label_decides_and_a_threshold_makes_unknown(sort: Cli, place: Place) -> None:
    labels = [("a.jpg", "cat:0.9"), ("a.jpg", "dog:0.1"), ("b.jpg", "cat:0.4"), ("c.jpg", "unknown:0.3")]
    for name, _ in labels:
        place.add(name)
    place.add("d.jpg")
    with place.table.open("w") as file:
        file.write("image,rank,label,score,cosine,error\n")
        for number, (name, label) in enumerate(labels):
            file.write(f"{place.photos / name},{1 + (number == 1)},{label.replace(':', ',')},0.1,\n")
        file.write(f"{place.photos / 'd.jpg'},,,,,cannot be read\n")
    assert counts(sort().out) == {"cat": 2, "_unknown": 1}
    assert counts(sort("--min-score", "0.5").out) == {"cat": 1, "_unknown": 2}
    shown = sort("--min-score", "0.5", "--failed")
    assert counts(shown.out) == {"cat": 1, "_unknown": 2, "_failed": 1}
    refused = sort("--min-score", "50")
    assert (refused.code, refused.err) == (2, "error: --min-score must be a number from -1 to 1, not 50\n")


def test_corrections_are_sorted_and_none_of_these_is_unknown(sort: Cli, place: Place) -> None:
    a, b = place.add("a.jpg"), place.add("b.jpg")
    place.table.write_text(f"image,label,was\n{a},dog,cat\n{b},,cat\n")
    assert counts(sort().out) == {"dog": 1, "_unknown": 1}


def test_relative_paths_start_at_the_table(sort: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add("a.jpg")
    predictions(place.table, {"photos/a.jpg": "cat"})
    monkeypatch.chdir("/")
    assert sort("--apply").code == 0
    assert (place.into / "cat/a.jpg").read_text() == "a.jpg"


def test_groups_are_folders_above(sort: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "cat"}, group="../pets")
    assert sort("--apply").code == 0
    assert files_of(place.into) == {"_._pets/cat/a.jpg", "_._pets/cat/b.jpg"}


def test_subfolders_are_kept_when_asked_for(sort: Cli, run_cli: Cli, place: Place, tmp_path: Path) -> None:
    place.predict({"2019/a.jpg": "cat", "2020/x/a.jpg": "cat", "2020/b.jpg": "dog"})
    before = held(tmp_path)
    assert sort("--keep-tree", "--move", "--apply").code == 0
    assert files_of(place.into) == {"cat/2019/a.jpg", "cat/2020/x/a.jpg", "dog/2020/b.jpg"}
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(tmp_path) == before


@pytest.mark.parametrize("options", [["--copy", "--move"], []])
def test_what_makes_no_sense_is_refused(options: list[str], sort: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat"})
    if options:
        assert sort(*options).code == 2
        return
    assert "no folder to sort into" in run_cli("sort", place.table).err
    assert "no predictions given" in run_cli("sort", "--into", place.into).err
    assert "no such file" in run_cli("sort", place.photos / "none.csv", "--into", place.into).err
    assert "no such journal" in run_cli("sort", "--undo", place.journal).err
    assert "goes without predictions" in run_cli("sort", place.table, "--undo", place.journal).err


# --- Names ---------------------------------------------------------------------------------------


def test_labels_that_are_no_names_are_made_safe_and_told(sort: Cli, run_cli: Cli, place: Place) -> None:
    labels = ["../x", "CON", "a/b", "x" * 300, "Cat", "cat", " dog. "]
    place.predict({f"{number}.jpg": label for number, label in enumerate(labels)})
    result = sort("--copy", "--apply")
    assert result.code == 0
    folders = sorted(path.name for path in place.into.iterdir() if path.is_dir())
    assert folders == sorted(["_._x", "CON_", "a_b", "x" * 255, "Cat", "cat (2)", "dog_"])
    assert len(files_of(place.into)) == len(labels)
    assert "labels that cannot name a folder as they are" in result.err
    assert "'CON' becomes 'CON_'" in result.err
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert not place.into.exists()


def test_names_of_any_bytes_are_kept(sort: Cli, run_cli: Cli, place: Place, tmp_path: Path) -> None:
    names = [
        "new\nline.jpg",
        "-rf",
        "é.jpg",
        "e\u0301.jpg",
        "日本.jpg",
        "'\".jpg",
        "n" * 251 + ".jpg",
        " .jpg",
    ]
    other = tmp_path / "more"
    place.predict(dict.fromkeys(names, "cat"))
    before = held(tmp_path)
    assert sort("--move", "--apply").code == 0
    kept = set(names) - {"e\u0301.jpg"} | {"e\u0301 (2).jpg"}  # é twice would be one name elsewhere
    assert {Path(path).name for path in files_of(place.into)} == kept
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(tmp_path) == before
    assert not other.exists()


def test_names_that_are_not_utf8_are_kept(sort: Cli, run_cli: Cli, place: Place) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    place.add(name)
    place.table = place.table.with_suffix(".jsonl")
    place.table.write_text(
        json.dumps({"image": f"photos/{name}", "rank": 1, "label": "cat", "score": 0.9}) + "\n"
    )
    before = held(place.photos)
    result = sort("--move", "--apply")
    assert result.code == 0, result.err
    assert held(place.into)[b"cat/caf\xe9.jpg"] == before[b"caf\xe9.jpg"]
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(place.photos) == before


def test_a_very_long_name_gets_its_number(sort: Cli, place: Place) -> None:
    name = "n" * 251 + ".jpg"
    place.predict({name: "cat", f"x/{name}": "cat"})
    assert sort("--copy", "--apply").code == 0
    assert files_of(place.into) == {f"cat/{name}", f"cat/{'n' * 247} (2).jpg"}


def test_nothing_that_is_there_is_overwritten(sort: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog", "A.jpg": "cat"})
    (place.into / "cat").mkdir(parents=True)
    (place.into / "cat" / "a.jpg").write_text("mine")
    (place.into / "dog").write_text("a file with the name of a label")
    before = held(place.into)
    assert sort("--move", "--apply").code == 0
    now = held(place.into)
    assert {name: now[name] for name in before} == before
    assert files_of(place.into) - set(map(os.fsdecode, before)) == {
        "cat/a (2).jpg",
        "cat/A (3).jpg",
        "dog (2)/b.jpg",
    }
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(place.into) == before


@pytest.mark.parametrize("mode", MODES)
def test_a_name_that_is_taken_after_the_plan_gets_a_number(
    mode: str, sort: Cli, run_cli: Cli, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipcli.output.filing import sorting

    place.predict({"a.jpg": "cat"})
    before = held(tmp_path)
    real = sorting.begin

    def meanwhile(*arguments: Any) -> Any:
        journal = real(*arguments)
        (place.into / "cat").mkdir()
        (place.into / "cat/a.jpg").write_text("somebody else's")
        return journal

    monkeypatch.setattr(sorting, "begin", meanwhile)
    assert sort(mode, "--apply").code == 0
    assert (place.into / "cat/a.jpg").read_text() == "somebody else's"
    assert (place.into / "cat/a (2).jpg").read_text() == "a.jpg"
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(place.photos) == {
        name[7:]: one for name, one in before.items() if name.startswith(b"photos/")
    }
    assert files_of(place.into) == {"cat/a.jpg"}


# --- What is left --------------------------------------------------------------------------------


def test_what_is_no_file_here_is_told_and_left(
    sort: Cli, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.photos / "folder").mkdir(parents=True)
    (place.photos / "dangling").symlink_to("nowhere")
    os.mkfifo(place.photos / "pipe")
    zipped = ["scans.zip!/gone.png", "gone.pdf#page=2", "gone.mp4#t=3", "gone.gif#frame=2"]
    place.predict(
        {**dict.fromkeys(zipped, "cat"), "folder": "cat", "dangling": "cat", "pipe": "cat", "a": "cat"}
    )
    result = sort("--move", "--apply")
    assert result.code == 3
    assert files_of(place.into) == {"cat/a"}
    for message in (
        "2 left where they are: not a regular file",
        "1 left where they are: a link to a file that is gone",
        "3 left where they are: not a file of its own on this computer",
        "1 left where they are: inside an archive: unpack it first",
    ):
        assert message in result.err


def test_an_image_that_is_named_twice_is_sorted_once(sort: Cli, place: Place) -> None:
    path = place.add("x/a.jpg")
    (place.photos / "y").symlink_to("x")
    predictions(
        place.table, [(path, "cat"), (place.photos / "y/a.jpg", "dog"), (path.parent / "../x/a.jpg", "cat")]
    )
    result = sort("--move", "--apply")
    assert result.code == 0
    assert "2 left where they are: named more than once" in result.err
    assert files_of(place.into) == {"cat/a.jpg"}


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_changes_after_the_plan_is_left(
    mode: str, sort: Cli, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipcli.output.filing import sorting

    place.predict({"a.jpg": "cat", "b.jpg": "cat", "c.jpg": "cat"})
    real = sorting.begin

    def meanwhile(*arguments: Any) -> Any:
        (place.photos / "a.jpg").write_text("changed")
        (place.photos / "b.jpg").unlink()
        return real(*arguments)

    monkeypatch.setattr(sorting, "begin", meanwhile)
    result = sort(mode, "--apply")
    assert result.code == 3
    assert "it has changed since" in result.err
    assert "No such file" in result.err
    assert files_of(place.into) == {"cat/c.jpg"}
    assert (place.photos / "a.jpg").read_text() == "changed"


def test_predictions_that_may_not_be_read_are_told(
    sort: Cli,
    place: Place,
    unprivileged: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    place.predict({"a.jpg": "cat"})
    assert sort().code == 0, "everything is imported"
    for folder in [parent for parent in tmp_path.parents if "pytest" in str(parent)]:
        folder.chmod(0o777)
    tmp_path.chmod(0o700)
    with unprivileged():
        result = sort()
    assert result.code != 0
    assert f"{place.table}: Permission denied" in result.err
    assert "This is a bug" not in result.err


def test_folders_that_may_not_be_written_are_told(
    sort: Cli,
    run_cli: Cli,
    place: Place,
    unprivileged: Callable[[], AbstractContextManager[None]],
    tmp_path: Path,
) -> None:
    place.predict({"locked/a.jpg": "cat", "open/b.jpg": "cat", "open/c.jpg": "dog"})
    (place.into / "dog").mkdir(parents=True)
    for folder in [parent for parent in tmp_path.parents if "pytest" in str(parent)]:
        folder.chmod(0o777)
    for folder in (tmp_path, place.photos / "open", place.photos, place.into):
        folder.chmod(0o777)
    place.table.chmod(0o666)
    (place.photos / "locked").chmod(0o555)
    (place.into / "dog").chmod(0o555)
    before = held(tmp_path)
    with unprivileged():
        result = sort("--move", "--apply")
        assert result.code == 3, result.err
        assert "2 left where they are: Permission denied" in result.err
        assert files_of(place.into) == {"cat/b.jpg"}
        undone = run_cli("sort", "--undo", place.journal)
    assert undone.code == 0, undone.err
    assert held(tmp_path) == before
    with unprivileged():
        place_of_others = run_cli("sort", place.table, "--into", place.into / "dog" / "deep", "--apply")
    assert place_of_others.code == 1
    assert "Permission denied" in place_of_others.err


# --- Links ---------------------------------------------------------------------------------------


@pytest.fixture
def linked(place: Place) -> Held:
    """Images that are links: relative, absolute, to each other, and to an image that is sorted too."""
    place.add("store/real.jpg", "real")
    place.add("a.jpg", "a")
    (place.photos / "relative.jpg").symlink_to("store/real.jpg")
    (place.photos / "absolute.jpg").symlink_to(place.photos / "store/real.jpg")
    (place.photos / "chain.jpg").symlink_to("relative.jpg")
    (place.photos / "sibling.jpg").symlink_to("a.jpg")
    names = ["relative.jpg", "absolute.jpg", "chain.jpg", "sibling.jpg", "a.jpg"]
    for name in names[:4]:
        os.utime(place.photos / name, ns=(10**18, 10**18), follow_symlinks=False)
    place.predict(dict.fromkeys(names, "cat"))
    return held(place.photos)


@pytest.mark.parametrize("mode", MODES)
def test_links_lead_to_the_same_images_and_come_back(
    mode: str, sort: Cli, run_cli: Cli, place: Place, linked: Held
) -> None:
    assert sort(mode, "--apply").code == 0
    contents = {path.name: path.read_text() for path in (place.into / "cat").iterdir()}
    assert contents == {
        **{"relative.jpg": "real", "absolute.jpg": "real", "chain.jpg": "real"},
        **{"sibling.jpg": "a", "a.jpg": "a"},
    }
    if mode == "--move":
        assert set(map(os.fsdecode, held(place.photos))) == {"store/real.jpg"}
    else:
        assert held(place.photos) == linked
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(place.photos) == linked
    assert not place.into.exists()


def test_a_folder_that_is_a_link_is_followed(sort: Cli, run_cli: Cli, place: Place, tmp_path: Path) -> None:
    place.predict({"a.jpg": "cat"})
    (tmp_path / "elsewhere").mkdir()
    place.into.mkdir()
    (place.into / "cat").symlink_to(tmp_path / "elsewhere")
    before = held(tmp_path)
    assert sort("--apply").code == 0
    assert (tmp_path / "elsewhere/a.jpg").read_text() == "a.jpg"
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(tmp_path) == before


# --- Again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_same_command_again_finds_everything_in_place(
    mode: str, sort: Cli, place: Place, tmp_path: Path
) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog", "x/a.jpg": "cat"})
    assert sort(mode, "--apply").code == 0
    before = held(tmp_path)
    again = sort(mode, "--apply")
    assert again.code == 0
    assert "3 in their folder already" in again.err
    assert held(tmp_path) == before


def test_corrections_move_an_image_on_and_both_runs_can_be_undone(
    sort: Cli, run_cli: Cli, place: Place, tmp_path: Path
) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "dog"})
    before = held(place.photos)
    assert sort("--move", "--apply").code == 0
    corrections = tmp_path / "corrections.csv"
    corrections.write_text(f"image,label,was\n{place.photos / 'a.jpg'},dog,cat\n")
    assert run_cli("sort", corrections, "--into", place.into, "--move", "--apply").code == 0
    assert files_of(place.into) == {"dog/a.jpg", "dog/b.jpg"}
    refused = run_cli("sort", "--undo", place.journal)
    assert refused.code == 2
    second = place.into / "clipcli-sort-2.jsonl"
    assert f"error: a later run has moved images again: {second}" in refused.err
    assert run_cli("sort", "--undo", second).code == 0
    assert files_of(place.into) == {"cat/a.jpg", "dog/b.jpg"}
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(place.photos) == before


def test_another_mode_does_not_touch_what_an_earlier_run_has_made(
    sort: Cli, place: Place, tmp_path: Path
) -> None:
    place.predict({"a.jpg": "cat"})
    assert sort("--apply").code == 0
    before = held(tmp_path)
    result = sort("--move", "--apply")
    assert result.code == 3
    assert "an earlier run has made a link of it: undo that run first" in result.err
    assert held(tmp_path) == before


def test_labels_keep_their_folders_in_later_runs(sort: Cli, place: Place) -> None:
    place.predict({"1.jpg": "Cat", "2.jpg": "cat"})
    assert sort("--apply").code == 0
    place.predict({"3.jpg": "cat"})
    assert sort("--apply").code == 0
    assert files_of(place.into) == {"Cat/1.jpg", "cat (2)/2.jpg", "cat (2)/3.jpg"}


# --- Undo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_what_has_changed_since_is_left_and_told(mode: str, sort: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({f"{name}.jpg": "cat" for name in "abcd"})
    before = held(place.photos)
    assert sort(mode, "--apply").code == 0
    folder = place.into / "cat"
    (folder / "a.jpg").unlink()
    (folder / "a.jpg").write_text("edited")
    if mode == "--move":
        (place.photos / "b.jpg").write_text("a new one")
    else:
        (place.photos / "b.jpg").unlink()
    (folder / "mine.txt").write_text("mine")
    result = run_cli("sort", "--undo", place.journal)
    assert result.code == 3
    assert (folder / "a.jpg").read_text() == "edited"
    assert (folder / "mine.txt").read_text() == "mine"
    names = {b"c.jpg", b"d.jpg"}
    assert {name: held(place.photos)[name] for name in names} == {name: before[name] for name in names}
    assert not (folder / "c.jpg").exists()
    assert str(folder / "a.jpg") in result.err
    if mode == "--move":
        assert "there is another file in its old place" in result.err
        assert (place.photos / "b.jpg").read_text() == "a new one"
    if mode != "--link":  # otherwise the only ones that are left
        assert (folder / "b.jpg").read_text() == "b.jpg"
    assert place.journal.exists(), "so that the rest can be undone later"
    (folder / "a.jpg").unlink()
    if mode == "--move":
        (place.photos / "b.jpg").unlink()
        assert run_cli("sort", "--undo", place.journal).code == 3, "a.jpg is lost"
        assert held(place.photos)[b"b.jpg"] == before[b"b.jpg"]


def test_a_copy_is_removed_only_if_it_holds_the_same(sort: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat", "b.jpg": "cat"})
    assert sort("--copy", "--apply").code == 0
    copy = place.into / "cat/a.jpg"
    copy.write_text("a.jpX")
    os.utime(copy, ns=(1_500_000_000_123_456_789,) * 2)  # its size and time tell nothing
    assert run_cli("sort", "--undo", place.journal).code == 3
    assert files_of(place.into) == {"cat/a.jpg"}


def test_undo_makes_folders_again_that_are_gone(
    sort: Cli, run_cli: Cli, place: Place, tmp_path: Path
) -> None:
    place.predict({"x/y/a.jpg": "cat"})
    before = held(tmp_path)
    assert sort("--move", "--apply").code == 0
    shutil.rmtree(place.photos)
    assert run_cli("sort", "--undo", place.journal).code == 0
    assert held(tmp_path) == before


def test_a_folder_that_was_moved_can_be_undone_where_it_is(sort: Cli, run_cli: Cli, place: Place) -> None:
    place.predict({"a.jpg": "cat"})
    before = held(place.photos)
    assert sort("--move", "--apply").code == 0
    moved = place.into.rename(place.into.with_name("elsewhere"))
    assert run_cli("sort", "--undo", moved / place.journal.name).code == 0
    assert held(place.photos) == before


# --- Disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = Path(tempfile.mkdtemp())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


@pytest.mark.parametrize("mode", ["--copy", "--move"])
def test_a_disk_that_fills_up_stops_the_run_which_goes_on_later(
    mode: str, run_cli: Cli, place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        place.add(f"{number}.jpg", f"{number}" * 200_000)
    place.predict({f"{number}.jpg": "cat" for number in range(8)})
    before = held(place.photos)
    command = ("sort", place.table, "--into", small_disk, mode, "--apply")
    refused = run_cli(*command)
    assert refused.code == 1
    assert "the copies do not fit on the disk" in refused.err
    assert not list(small_disk.iterdir())

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 10**9))  # type: ignore[attr-defined]
    full = run_cli(*command)
    assert full.code == 1, full.err
    assert "No space left on device" in full.err
    done = files_of(small_disk)
    assert 2 <= len(done) < 8
    assert not [name for name in done if "partial" in name]
    for name in before:
        place_of = small_disk / "cat" / os.fsdecode(name)
        assert (place.photos / os.fsdecode(name)).exists() != (mode == "--move" and place_of.exists())

    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert run_cli(*command).code == 0
    assert {name[4:]: one for name, one in held(small_disk).items() if name.startswith(b"cat")} == before
    assert run_cli("sort", "--undo", small_disk / "clipcli-sort-1.jsonl").code == 0
    assert held(place.photos) == before
    assert not list(small_disk.iterdir())


def test_hard_links_to_another_disk_are_told(run_cli: Cli, place: Place, small_disk: Path) -> None:
    place.predict({"a.jpg": "cat"})
    result = run_cli("sort", place.table, "--into", small_disk, "--hardlink", "--apply")
    assert result.code == 3
    assert os.strerror(errno.EXDEV) in result.err


def test_sorting_imports_neither_torch_nor_open_clip(place: Place) -> None:
    place.predict({"a.jpg": "cat"})
    code = f"""
import sys
from clipcli.cli.app import main
sys.argv = ["clipcli", "sort", {str(place.table)!r}, "--into", {str(place.into)!r}, "--apply"]
try:
    main()
except SystemExit as exit_:
    assert not exit_.code, exit_.code
assert not {{"torch", "open_clip", "pandas", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (place.into / "cat/a.jpg").exists()


def test_random_photos_of_one_folder_are_sorted(sort: Cli, place: Place) -> None:
    photos(place.photos, 60)
    names = sorted(path for path in place.photos.rglob("*.jpg"))
    predictions(place.table, {path: f"label {number % 7}" for number, path in enumerate(names)})
    assert sort("--hardlink", "--apply").code == 0
    assert len(files_of(place.into)) == 60
    assert placing.status(str(place.into / "label 0")) is not None
