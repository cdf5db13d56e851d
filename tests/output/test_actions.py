"""What a kill leaves half done is completed or undone; what is somebody else's is not taken for ours."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from clipcli.output.filing.actions import ACTIONS, Copy, Hardlink, Link, Move, Step, Task
from clipcli.output.filing.placing import Changed, certain

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    source = tmp_path / "a.jpg"
    source.write_text("image")
    os.utime(source, ns=(10**18, 10**18))
    found = certain(str(source))
    step = Step(str(source), "cat/a.jpg", found.size, found.mtime, text=str(source))
    target = tmp_path / "cat" / "a.jpg"
    target.parent.mkdir()
    mark: dict[str, Any] = {}
    return Task(step, str(target), "1", mark, mark.update)


def copied(task: Task, name: str = "copy") -> None:
    """A copy that has its name, as a kill leaves it before the original is removed."""
    there, here = (task.step.source, task.target) if name == "copy" else (task.target, task.step.source)
    shutil.copy2(there, here)
    found = certain(here)
    task.mark[name] = [found.size, found.mtime, *found.inode]


def test_a_file_with_both_names_is_completed_and_undone(task: Task) -> None:
    Path(task.target).hardlink_to(task.step.source)
    assert Move().is_done(task)
    assert not Path(task.step.source).exists()
    Path(task.step.source).hardlink_to(task.target)
    Move().undo(task)
    assert not Path(task.target).exists()
    assert Path(task.step.source).read_text() == "image"


def test_a_copy_of_a_move_is_completed_and_undone(task: Task) -> None:
    copied(task)
    assert Move().is_done(task)
    assert (Path(task.step.source).exists(), Path(task.target).read_text()) == (False, "image")
    copied(task, "back")
    Move().undo(task)
    assert (Path(task.target).exists(), Path(task.step.source).read_text()) == (False, "image")


def test_an_equal_file_of_somebody_else_is_not_ours(task: Task) -> None:
    shutil.copy2(task.step.source, task.target)
    for action in ACTIONS.values():
        assert not action.is_done(task)
        with pytest.raises(FileExistsError):
            action.do(task)
    assert Path(task.step.source).exists()
    with pytest.raises(Changed):
        Move().undo(task)


def test_an_original_that_changed_after_its_copy_stays(task: Task) -> None:
    copied(task)
    Path(task.step.source).write_text("new")
    with pytest.raises(Changed):
        Move().is_done(task)
    assert Path(task.step.source).read_text() == "new"


def test_a_copy_that_has_its_name_is_done(task: Task) -> None:
    copied(task)
    assert Copy().is_done(task)
    Path(task.target).write_text("other")
    assert not Copy().is_done(task)


def test_the_last_name_of_a_file_is_never_removed(task: Task) -> None:
    Hardlink().do(task)
    assert Hardlink().is_done(task)
    Path(task.step.source).unlink()
    with pytest.raises(Changed):
        Hardlink().undo(task)
    assert Path(task.target).read_text() == "image"


def test_a_copy_whose_original_is_gone_is_never_removed(task: Task) -> None:
    Copy().do(task)
    Path(task.step.source).unlink()
    with pytest.raises(Changed, match="its original is gone"):
        Copy().undo(task)
    assert Path(task.target).read_text() == "image"


def test_a_link_that_leads_elsewhere_is_not_ours(task: Task) -> None:
    Path(task.target).symlink_to("elsewhere")
    assert not Link().is_done(task)
    with pytest.raises(Changed):
        Link().undo(task)
    assert Path(task.target).is_symlink()


def test_a_link_is_moved_from_any_moment_of_a_kill(task: Task, tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    link.symlink_to("a.jpg")
    found = certain(str(link))
    step = Step(str(link), "cat/a.jpg", found.size, found.mtime, text="../a.jpg", was="a.jpg")
    task = Task(step, task.target, "1", task.mark, task.note)
    assert not Move().is_done(task)
    Path(task.target).symlink_to("../a.jpg")
    assert Move().is_done(task)
    assert not link.is_symlink()
    link.symlink_to("a.jpg")
    Move().undo(task)
    assert link.read_text() == "image"
    assert not Path(task.target).is_symlink()
    Move().undo(task)
