"""The one atomic writer: a file is there as a whole or not at all; a place that cannot serve is refused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from clipcli.errors import OutputError, UsageError
from clipcli.files import AtomicFile, check_place, replacing, sync_file, write_errors


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with replacing(path) as partial:
        partial.write_text("after")
        assert content(tmp_path) == {"a.txt": "before", "a.txt.partial": "after"}
    assert content(tmp_path) == {"a.txt": "after"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad"), BrokenPipeError()])
def test_an_error_passes_and_leaves_everything_as_it_was(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(type(error)) as raised, replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert raised.value is error
    assert content(tmp_path) == {"a.txt": "before"}


def test_errors_of_writing_name_the_file_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    full = r"^cannot write .*a\.txt: No space left on device$"
    with pytest.raises(OutputError, match=full), replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    odd = r"^cannot write .*a\.txt: half a character$"
    with pytest.raises(OutputError, match=odd), replacing(path, errors=(ValueError,)):
        raise ValueError("half a character")
    assert not content(tmp_path)


def test_what_cannot_be_completed_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with (
        pytest.raises(OutputError, match=r"cannot write .*a\.txt: Is a directory"),
        replacing(path) as partial,
    ):
        partial.write_text("whole")
        path.mkdir()
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_abandoned_is_kept_if_asked(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.txt")
    file.partial.write_text("half")
    file.abandon(keep=True)
    assert content(tmp_path) == {"a.txt.partial": "half"}
    file.abandon()
    assert not content(tmp_path)
    file.abandon()


def test_processes_that_share_a_file_have_partial_files_of_their_own(tmp_path: Path) -> None:
    assert AtomicFile(tmp_path / "a", shared=True).partial == tmp_path / f"a.{os.getpid()}.partial"
    with replacing(tmp_path / "a", shared=True) as mine, replacing(tmp_path / "a") as another:
        mine.write_text("mine")
        another.write_text("another")
    assert content(tmp_path) == {"a": "mine"}


def test_with_sync_the_file_reaches_the_disk_before_its_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    path = tmp_path / "a.txt"

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(path) as partial:
        partial.write_text("whole")
    assert not synced
    path.unlink()
    with replacing(path, sync=True) as partial:
        partial.write_text("whole")
    assert synced == [("a.txt.partial", False), (tmp_path.name, True)]
    sync_file(path)
    assert synced[2:] == [("a.txt", True)]


KILLED = """
import os, signal, sys
from pathlib import Path
from clipcli.files import replacing
with replacing(Path(sys.argv[1]), sync=True) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
LIMITED = """
import resource, sys
from pathlib import Path
from clipcli.errors import OutputError
from clipcli.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with replacing(Path(sys.argv[1])) as partial:
        partial.write_bytes(bytes(8192))
except OutputError as error:
    print(error)
"""


def test_a_process_that_is_killed_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert content(tmp_path) == {"a.txt": "before", "a.txt.partial": "half"}
    with replacing(path) as partial:
        partial.write_text("after")
    assert content(tmp_path) == {"a.txt": "after"}


def test_a_full_disk_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    limited = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED, path], check=True, stdout=subprocess.PIPE, text=True
    )
    assert limited.stdout == f"cannot write {path}: File too large\n"
    assert content(tmp_path) == {"a.txt": "before"}


# --- Places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"), [("missing/a", "no such folder: .*missing"), ("file/a", "no such folder: .*file")]
)
def test_a_folder_must_exist(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        check_place(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        check_place(tmp_path)


def test_a_place_that_can_serve_is_left_untouched(tmp_path: Path) -> None:
    check_place(tmp_path / "a.txt")
    assert not content(tmp_path)


def test_what_an_earlier_run_has_left_is_not_touched_beforehand(tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_text("rows")
    check_place(tmp_path / "a.txt")
    assert content(tmp_path) == {"a.txt.partial": "rows"}


def test_a_name_that_is_too_long_has_the_reason_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^cannot write .*/x+: File name too long$"):
        check_place(tmp_path / ("x" * 300))


def test_a_reader_that_goes_away_is_no_output_error() -> None:
    with pytest.raises(BrokenPipeError), write_errors("a pipe", (OSError,)):
        raise BrokenPipeError


def test_a_read_only_file_is_refused_before_the_work(
    tmp_path: Path, unprivileged: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    path = Path("a.txt")
    path.write_text("before")
    path.chmod(0o444)
    with unprivileged(), pytest.raises(OutputError, match=r"^cannot write a\.txt: it is read-only$"):
        check_place(path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(exists: bool, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link, target = tmp_path / "link", tmp_path / "store/target"
    link.symlink_to("store/target")
    if exists:
        target.write_text("before")
    with replacing(link) as partial:
        assert partial == tmp_path / "store/target.partial"
        partial.write_text("after")
    assert link.is_symlink()
    assert content(tmp_path / "store") == {"target": "after"}


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    with replacing(pipe, sync=True) as partial:
        partial.write_text("whole")
    reader.join()
    assert received == ["whole"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_device_is_written_to_and_stays_when_that_fails() -> None:
    full = "cannot write /dev/full: No space left"
    with pytest.raises(OutputError, match=full), replacing(Path("/dev/full")) as partial:
        partial.write_text("whole")
    assert Path("/dev/full").is_char_device()
