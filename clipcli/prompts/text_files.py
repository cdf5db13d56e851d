"""The text files that classes and templates come from: the shipped ones, and a user's own."""

from __future__ import annotations

import importlib.util
import re
import reprlib
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from clipcli.errors import ClipcliWarning, PromptError

_PACKAGED = Path(__file__).parents[1] / "_prompts"  # in a wheel
LIBRARY = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "prompts"
"""Where the shipped template sets and class lists lie."""

MAX_BYTES = 256_000_000
"""Larger class and template files are refused before they are read."""

MAX_TEXT = 4096
"""Longer labels, names and templates are refused: models read some 77 tokens, and long words take minutes."""

_SHOWN_EMPTY = 10
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SHORT = reprlib.Repr()
"""Shows what stands in a file, cut where it is long."""
SHORT.maxstring = SHORT.maxother = 120


def is_file(path: Path) -> bool:
    """Whether this is the name of a regular file."""
    try:
        return path.is_file()
    except OSError:  # a list of labels in place of a file's name may be too long for one
        return False


def refuse_pipe(path: Path) -> None:
    """Say of a pipe or device that it is none of the files that are read: reading one may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISDIR(mode):
        raise PromptError(f"{path}: not a regular file", "Write the list to a file first.")


def read_text(path: Path) -> str:
    """A whole file.

    Raises:
        PromptError: too large, not UTF-8, or not readable.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            limit = f"the limit is {MAX_BYTES / 1e6:.0f} MB"
            raise PromptError(f"{path}: too large: {size / 1e6:.0f} MB, {limit}")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise PromptError(f"{path}:{line}: not UTF-8 text", "Save the file as UTF-8.") from None
    except OSError as error:
        raise PromptError(f"{path}: {error.strerror}") from None


def content_lines(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments; empty lines between others are reported."""
    lines = text.split("\n")  # `splitlines` would part labels at rarer characters too
    while lines and not lines[-1].strip():
        lines.pop()
    empty = EmptyLines(where)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            empty.add(number)
        elif not line.lstrip().startswith("#"):
            yield number, line.strip()
    empty.report_others()


class EmptyLines:
    """Reports empty lines of a file: the first ones by their numbers, the others by how many they are."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def add(self, number: int) -> None:
        """One more, of this number."""
        self.count += 1
        if self.count <= _SHOWN_EMPTY:
            warn(f"{self.where}:{number}: empty line left out")

    def report_others(self) -> None:
        """Tell of those that were too many to name, at the file's end."""
        if self.count > _SHOWN_EMPTY:
            warn(f"{self.where}: {self.count - _SHOWN_EMPTY} more empty lines left out")


def description(path: Path) -> str:
    """The comment in the first line of a shipped file."""
    first = read_text(path).partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def warn(message: str) -> None:
    """Tell of what was left out."""
    warnings.warn(message, ClipcliWarning, stacklevel=2)


def check_text(text: str, where: str) -> None:
    """Every text that goes to a model and into the output passes here."""
    if len(text) > MAX_TEXT:
        raise PromptError(f"{where}: a text of {len(text)} characters, the limit is {MAX_TEXT}")
    if "\0" in text or (not text.isascii() and _LONE_SURROGATE.search(text)):
        raise PromptError(f"{where}: not UTF-8 text: {SHORT.repr(text)}", "Save the file as UTF-8.")


def open_clip_metadata() -> ModuleType:
    """`open_clip.zero_shot_metadata`, loaded by itself: importing all of open_clip takes seconds."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.origin is not None
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
