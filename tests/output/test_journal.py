"""The journal: on the disk before anything happens, readable after a kill, and for one run at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipcli.errors import OutputError, UsageError
from clipcli.output.filing import journal as journals
from clipcli.output.filing.journal import Journal

STEPS: list[dict[str, Any]] = [{"source": "a\udcff\n.jpg"}, {"source": "é"}]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return journals.create(tmp_path, "sort", {"mode": "move"}, {"base": "/"}, STEPS)


def test_steps_and_marks_come_back(journal: Journal) -> None:
    journal.mark(1, sync=True, to="b.jpg")
    journal.mark(1, done=True)
    read = journals.read(journal.path, "sort")
    assert [step["source"] for step in read.steps] == ["a\udcff\n.jpg", "é"]
    assert read.header == journal.header
    assert (read.marks[1]["to"], read.has(1, "done"), read.has(0, "done")) == ("b.jpg", True, False)
    assert not read.is_finished
    journal.finish()
    assert journals.read(journal.path, "sort").is_finished


def test_each_run_has_a_journal_of_its_own(journal: Journal, tmp_path: Path) -> None:
    for number in range(2, 12):
        assert journals.create(tmp_path, "sort", {}, {}, []).path.name == f"clipcli-sort-{number}.jsonl"
    assert journals.create(tmp_path, "tag", {}, {}, []).path.name == "clipcli-tag-1.jsonl"
    names = [one.path.name for one in journals.journals(tmp_path, "sort")]
    assert names == [f"clipcli-sort-{number}.jsonl" for number in range(1, 12)]


def test_every_beginning_of_a_journal_can_be_read_and_goes_on(journal: Journal) -> None:
    journal.mark(0, done=True)
    journal.mark(1, done=True)
    content = journal.path.read_bytes()
    planned = content.index(b'{"mark"')
    for length in range(planned, len(content) + 1):
        journal.path.write_bytes(content[:length])
        read = journals.read(journal.path, "sort")
        assert len(read.steps) == 2
        marks = content[:length].count(b"true}\n")
        assert sum(read.has(number, "done") for number in (0, 1)) == marks
        read.mark(1, to="x")
        lines = journal.path.read_bytes().splitlines()
        assert all(json.loads(line) for line in lines)
        assert len(lines) == 3 + marks + 1


def test_a_damaged_line_in_the_middle_is_told(journal: Journal) -> None:
    content = journal.path.read_bytes()
    journal.path.write_bytes(content.replace(b'"step": 0', b'"step": 0?'))
    with pytest.raises(UsageError, match="line 2: no line of a journal"):
        journals.read(journal.path, "sort")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line of a journal"),
        (b"image,label\na.jpg,cat\n", "no line of a journal"),
        (b'{"image": "a.jpg"}\n', "not a journal of clipcli"),
        (b'{"clipcli": "9.0", "format": 2, "command": "sort"}\n', "written by clipcli 9.0"),
        (b'{"clipcli": "0.1.0", "format": 1, "command": "tag"}\n', "journal of `clipcli tag`"),
    ],
)
def test_another_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        journals.read(tmp_path / "x.jsonl", "sort")


def test_a_missing_journal_names_those_that_are_there(journal: Journal, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "clipcli-sort-2.jsonl"):
        with pytest.raises(UsageError) as caught:
            journals.read(path, "sort")
        assert str(journal.path) in caught.value.hint


def test_a_disk_that_is_full_leaves_no_step_without_its_line(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    with pytest.raises(OutputError, match="No space left"):
        journal.mark(0, done=True)
    monkeypatch.undo()
    assert not journals.read(journal.path, "sort").has(0, "done")


def test_a_journal_that_is_gone_is_not_begun_anew(journal: Journal) -> None:
    journal.path.unlink()
    with pytest.raises(OutputError, match="cannot write"):
        journal.mark(0, done=True)
    assert not journal.path.exists()


def test_only_the_same_command_completes_a_run(journal: Journal, tmp_path: Path) -> None:
    found = journals.journals(tmp_path, "sort")
    resumed = journals.unfinished(found, {"mode": "move"})
    assert resumed is not None
    with pytest.raises(UsageError, match="an earlier run, with other options or predictions"):
        journals.unfinished(found, {"mode": "copy"})
    journal.finish()
    assert journals.unfinished(journals.journals(tmp_path, "sort"), {"mode": "copy"}) is None
    journal.begin_undo()
    with pytest.raises(UsageError, match=r"the undo of .* was interrupted"):
        journals.unfinished(journals.journals(tmp_path, "sort"), {"mode": "copy"})
    journal.end_undo()
    assert journals.unfinished(journals.journals(tmp_path, "sort"), {"mode": "copy"}) is None


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with journals.locked(tmp_path):
        with pytest.raises(UsageError, match="another run is at work"), journals.locked(tmp_path):
            pass
        with pytest.raises(UsageError), journals.locked(tmp_path):
            pass  # the one that was refused has not taken the lock away
    with journals.locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
