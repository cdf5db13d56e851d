"""The journal of a run that changes the user's files: what is going to happen, and what has happened.

It is a file of JSON lines. The first line says what was asked, and the next ones are all steps of the run.
They are on the disk, as a whole or not at all, before the first step begins. What happens to a step is then
added as a mark, so that a killed run can go on and any run can be undone. Names keep their bytes: those that
are not UTF-8 are escaped, as \\udcNN.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from clipcli.errors import OutputError, UsageError
from clipcli.files import replacing, sync_file, write_errors
from clipcli.version import __version__

FORMAT = 1
LOCK = ".clipcli.lock"
Record: TypeAlias = dict[str, Any]
"""A line of a journal."""


@dataclass
class Journal:
    """A journal on disk.

    Args:
        path: the file.
        header: the first line.
        steps: what is going to happen, in order; the number of a step is its index.
        marks: what has happened to the steps, by their numbers.
        is_finished: whether the run came to its end.
        undo: whether an undo has begun, and whether it came to its end.
    """

    path: Path
    header: Record
    steps: list[Record]
    marks: dict[int, Record] = field(default_factory=dict)
    is_finished: bool = False
    undo: Literal["", "begun", "ended"] = ""

    @property
    def folder(self) -> str:
        """Where it lies."""
        return str(self.path.parent)

    def mark(self, number: int, sync: bool = False, **fields: Any) -> None:
        """Add to what has happened to a step.

        Args:
            number: of the step.
            sync: let it reach the disk before this returns.
            fields: replace those of the same name.

        Raises:
            OutputError: it cannot be written.
        """
        self.marks.setdefault(number, {}).update(fields)
        self._append({"mark": number, **fields}, sync)

    def finish(self) -> None:
        """The run has come to its end."""
        self.is_finished = True
        self._append({"finished": True}, sync=True)

    def begin_undo(self) -> None:
        """From now on, the run is undone and does not go on."""
        self.undo = "begun"
        self._append({"undo": "begun"}, sync=True)

    def end_undo(self) -> None:
        """All that could be undone is."""
        self.undo = "ended"
        self._append({"undo": "ended"}, sync=True)

    def has(self, number: int, what: str) -> bool:
        """Whether a step has this mark."""
        return bool(self.marks.get(number, {}).get(what))

    def _append(self, record: Record, sync: bool) -> None:
        line = _line(record)
        with write_errors(self.path), _appending(self.path) as descriptor:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(descriptor)


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int]:
    """A descriptor; a journal that is gone is not begun anew."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _line(record: Record) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"


def create(folder: Path, command: str, asked: Record, about: Record, steps: list[Record]) -> Journal:
    """Write the journal of a new run; it is on the disk when this returns.

    Args:
        folder: where it lies.
        command: whose run it is.
        asked: the options; a killed run goes on when they are the same.
        about: what else undoing the run needs to know.
        steps: what is going to happen.

    Raises:
        OutputError: it cannot be written.
    """
    number = max([_number(path) for path in _paths(folder, command)], default=0) + 1
    path = folder / f"clipcli-{command}-{number}.jsonl"
    header = {"clipcli": __version__, "format": FORMAT, "command": command, "id": secrets.token_hex(4)}
    header |= {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "asked": asked, **about}
    with replacing(path, sync=True) as partial, partial.open("wb") as file:
        file.writelines(map(_line, [header, *({"step": index, **step} for index, step in enumerate(steps))]))
    return Journal(path, header, steps)


def read(path: Path, command: str) -> Journal:
    """Read a journal; a last line that was never completed is removed.

    Raises:
        UsageError: there is none, it is damaged, of another command, or was written by a newer version.
        OutputError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"no such journal: {path}", _journals_in(path.parent, command)) from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a journal", _journals_in(path, command)) from None
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from None
    whole = content.rfind(b"\n") + 1
    header, *records = [_parsed(line, path, number) for number, line in enumerate(_lines(content[:whole]), 1)]
    _check_header(header, path, command)
    if whole < len(content):
        _cut(path, whole)
    return _journal(path, header, records)


def _lines(content: bytes) -> list[bytes]:
    return content.splitlines() or [b""]


def _parsed(line: bytes, path: Path, number: int) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UsageError(f"{path}, line {number}: no line of a journal", "Name the journal of the run.")
    return record


def _check_header(header: Record, path: Path, command: str) -> None:
    if "clipcli" not in header or not isinstance(header.get("format"), int):
        raise UsageError(f"{path} is not a journal of clipcli", _journals_in(path.parent, command))
    if header["format"] > FORMAT:
        raise UsageError(
            f"{path} was written by clipcli {header['clipcli']}", "Use that version, or a newer one."
        )
    if header.get("command") != command:
        other = header.get("command")
        raise UsageError(f"{path} is a journal of `clipcli {other}`", f"Undo it with `clipcli {other}`.")


def _journal(path: Path, header: Record, records: Iterable[Record]) -> Journal:
    journal = Journal(path, header, [])
    for record in records:
        if "step" in record:
            journal.steps.append(record)
        elif "mark" in record:
            journal.marks.setdefault(record["mark"], {}).update(record)
        journal.is_finished |= "finished" in record
        journal.undo = record.get("undo", journal.undo)
    return journal


def _cut(path: Path, length: int) -> None:
    with write_errors(path):
        os.truncate(path, length)
        sync_file(path)


# --- The journals of a folder --------------------------------------------------------------------


def journals(folder: Path, command: str) -> list[Journal]:
    """All journals of a command in a folder, the oldest first; errors as in `read`."""
    return [read(path, command) for path in sorted(_paths(folder, command), key=_number)]


def unfinished(journals: Iterable[Journal], asked: Record) -> Journal | None:
    """The journal of a killed run, which the same command takes up again.

    Raises:
        UsageError: the killed run was asked for something else, or its undo did not come to its end.
    """
    for journal in journals:
        undo = f"`undo` {journal.path}"
        if journal.undo == "begun":
            raise UsageError(f"the undo of {journal.path} was interrupted", f"First run it again: {undo}.")
        if journal.is_finished or journal.undo:
            continue
        if journal.header["asked"] != asked:
            raise UsageError(
                f"an earlier run, with other options or predictions, was interrupted: {journal.path}",
                f"First run the same command again to complete it, or undo it: {undo}.",
            )
        return journal
    return None


def _paths(folder: Path, command: str) -> list[Path]:
    return [path for path in folder.glob(f"clipcli-{command}-*.jsonl") if _number(path)]


def _number(path: Path) -> int:
    match = re.fullmatch(r"clipcli-\w+-([0-9]+)", path.stem)
    return int(match[1]) if match else 0


def _journals_in(folder: Path, command: str) -> str:
    names = [str(path) for path in sorted(_paths(folder, command), key=_number, reverse=True)]
    return f"The journals there, the newest first: {', '.join(names)}." if names else ""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs away from the files of a folder and its journals.

    Raises:
        UsageError: another run is at work.
        OutputError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another run is at work in {folder}", "Wait until it is done.") from None
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone, or a system may refuse while it is open
            (folder / LOCK).unlink()
        lock.release()
