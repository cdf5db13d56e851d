"""Files are renamed, copied, moved and written without ever taking the place of another."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filing_runs import held

from clipcli.output.filing import placing
from clipcli.output.filing.placing import Changed, certain

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
TIME = 1_234_567_890_123_456_789


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=shared))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(os.urandom(3_000_000))
    path.chmod(0o640)
    os.utime(path, ns=(TIME, TIME))
    return path


@pytest.fixture(params=["native", "link"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the call of the system, and as where it has none."""
    if request.param == "link":
        monkeypatch.setattr(placing, "_exclusive_rename", lambda: None)
    return str(request.param)


def move(source: Path, target: Path) -> None:
    placing.move(str(source), str(target), str(target.with_name(".partial")), lambda _: None)


def test_a_rename_keeps_the_file_as_it_is(renaming: str, source: Path) -> None:
    before = held(source.parent)[b"a.jpg"]
    placing.rename(str(source), str(source.with_name("b.jpg")))
    assert held(source.parent) == {b"b.jpg": before}


@pytest.mark.parametrize("taken_by", ["file", "folder", "link", "dangling"])
def test_a_rename_replaces_nothing(renaming: str, taken_by: str, source: Path) -> None:
    target = source.with_name("b.jpg")
    if taken_by == "file":
        target.write_text("other")
    elif taken_by == "folder":
        target.mkdir()
    else:
        target.symlink_to(source if taken_by == "link" else "nowhere")
    before = held(source.parent)
    with pytest.raises(FileExistsError):
        placing.rename(str(source), str(target))
    assert held(source.parent) == before


def test_the_system_is_asked_to_rename() -> None:
    assert sys.platform not in ("linux", "darwin") or placing._exclusive_rename() is not None


def test_a_move_to_another_disk_keeps_content_times_and_mode(source: Path, other_disk: Path) -> None:
    before, target = held(source.parent)[b"a.jpg"], other_disk / "b.jpg"
    noted: list[placing.Status] = []
    placing.move(str(source), str(target), str(other_disk / ".partial"), noted.append)
    assert held(other_disk) == {b"b.jpg": before}
    assert not source.exists()
    assert noted == [certain(str(target))]


def test_a_move_to_another_disk_replaces_nothing(source: Path, other_disk: Path) -> None:
    target = other_disk / "b.jpg"
    target.write_text("other")
    before = held(source.parent)
    with pytest.raises(FileExistsError):
        move(source, target)
    assert target.read_text() == "other"
    assert held(source.parent) == before
    assert [path.name for path in other_disk.iterdir()] == ["b.jpg"]


def test_a_copy_that_differs_is_refused_and_the_original_stays(
    source: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stores something else than what it is given."""
    real = placing._forget

    def damage(descriptor: int) -> None:
        real(descriptor)
        os.pwrite(descriptor, b"x", 1_000_000)

    monkeypatch.setattr(placing, "_forget", damage)
    before = held(source.parent)
    with pytest.raises(OSError, match="differs from the original"):
        move(source, other_disk / "b.jpg")
    assert held(source.parent) == before
    assert not list(other_disk.iterdir())


def test_a_file_that_changes_while_it_is_copied_is_left(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(_: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(placing, "_forget", change)
    with pytest.raises(Changed):
        placing.copy(str(source), str(source.with_name("b.jpg")), str(source.with_name(".p")), lambda _: None)
    assert [path.name for path in source.parent.iterdir()] == ["a.jpg"]


def test_a_file_that_changes_after_it_was_copied_is_not_removed(
    source: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = placing.rename

    def change(*paths: str) -> None:
        real(*paths)
        source.write_text("new")

    monkeypatch.setattr(placing, "rename", lambda a, b: real(a, b) if a == str(source) else change(a, b))
    with pytest.raises(Changed):
        move(source, other_disk / "b.jpg")
    assert source.read_text() == "new"
    assert not list(other_disk.iterdir())


def test_an_original_that_cannot_be_removed_leaves_no_copy(
    source: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.unlink

    def refuse(path: str) -> None:
        if path == str(source):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        real(path)

    before = held(source.parent)
    monkeypatch.setattr(placing.os, "unlink", refuse)
    with pytest.raises(PermissionError):
        move(source, other_disk / "b.jpg")
    monkeypatch.undo()
    assert held(source.parent) == before
    assert not list(other_disk.iterdir())


def test_writing_anew_replaces_only_the_file_that_was_read(source: Path) -> None:
    path, partial = str(source), str(source.with_name(".partial"))
    read = certain(path)
    source.write_text("changed meanwhile")
    with pytest.raises(Changed):
        placing.write(path, b"new", partial, read)
    with pytest.raises(FileExistsError):
        placing.write(path, b"new", partial, None)
    assert source.read_text() == "changed meanwhile"
    placing.write(path, b"new", partial, certain(path), mtime=TIME)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == (b"new", TIME)
    assert source.stat().st_mode & 0o777 == 0o640
    assert [found.name for found in source.parent.iterdir()] == ["a.jpg"]


# --- Times and links -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "is_told"), [(errno.EPERM, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_a_time_that_a_file_system_cannot_keep_is_no_error_but_a_failing_disk_is(
    number: int, is_told: bool, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", fail)
    if is_told:
        with pytest.raises(OSError, match=os.strerror(number)):
            placing.set_times(str(source), TIME)
    else:
        placing.set_times(str(source), TIME)


@pytest.mark.parametrize("call", ["utime", "unlink"])
def test_a_link_that_cannot_be_moved_stays_and_leaves_no_second_one(
    call: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, target = source.with_name("link"), source.with_name("moved")
    link.symlink_to("a.jpg")
    works = getattr(os, call)

    def fail(path: str, *arguments: object, **options: object) -> None:
        if call == "utime" or path == str(link):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        works(path, *arguments, **options)

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        placing.move_link(str(link), str(target), "a.jpg")
    assert str(link.readlink()) == "a.jpg"
    assert not os.path.lexists(target)
