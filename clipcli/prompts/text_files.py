"""Reads the text files of classes and templates: those of the package, and the user's own."""

from __future__ import annotations

import codecs
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
"""The folder of the template sets and class lists that come with the package."""

MAX_BYTES = 256_000_000
"""Size above which a class or template file is refused before it is read."""

MAX_TEXT = 4096
"""Characters above which a label, name or template is refused: models read some 77 tokens, and a very long
word keeps the tokenizer busy for minutes."""

_SHOWN_EMPTY = 10
_EXAMINED = 512  # first bytes, which tell what else a file may be
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SHORT = reprlib.Repr()
"""Quotes a value from a file in a message, shortened if it is long."""
SHORT.maxstring = SHORT.maxother = 120


def is_file(path: Path) -> bool:
    """Whether this is a regular file."""
    try:
        return path.is_file()
    except OSError:  # too long for a file name, say, because it is a list of labels
        return False


def refuse_pipe(path: Path) -> None:
    """Raise PromptError for a pipe or device: reading one may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISDIR(mode):
        raise PromptError(f"{path}: not a regular file", "Write the list to a file first.")


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        PromptError: the file is too large, not UTF-8, or not readable.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            limit = f"the limit is {MAX_BYTES / 1e6:.0f} MB"
            raise PromptError(f"{path}: too large: {size / 1e6:.0f} MB, {limit}")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        content = path.read_bytes()
        line = content[: error.start].count(b"\n") + 1
        raise PromptError(f"{path}:{line}: not UTF-8 text", _what_else(content[:_EXAMINED])) from None
    except OSError as error:
        raise PromptError(f"{path}: {error.strerror}") from None
    if "\0" in text:
        line = text.partition("\0")[0].count("\n") + 1
        found = SHORT.repr(text.split("\n")[line - 1])
        raise PromptError(f"{path}:{line}: not UTF-8 text: {found}", _what_else(text[:_EXAMINED].encode()))
    return text


def _what_else(start: bytes) -> str:
    """What to do with a file that begins so and is no UTF-8 text."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start[:2]:
        return "It is UTF-16 text: save the file as UTF-8."
    if start.startswith(b"PK\x03\x04"):
        return "It looks like an Excel workbook: save the table as “CSV UTF-8”."
    if b"\0" in start:
        return "It looks like a binary file, such as an image: name a text file."
    return "Save the file as UTF-8."


def content_lines(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments. Empty lines between others are left out, with a warning."""
    lines = text.split("\n")  # `splitlines` would also split labels at rare characters, such as a form feed
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
    """Warns about the empty lines of a file: the first few by their numbers, the others by how many."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def add(self, number: int) -> None:
        """Count the empty line with this number."""
        self.count += 1
        if self.count <= _SHOWN_EMPTY:
            warn(f"{self.where}:{number}: empty line left out")

    def report_others(self) -> None:
        """Warn, at the end of the file, about those that were not named."""
        if self.count > _SHOWN_EMPTY:
            warn(f"{self.where}: {self.count - _SHOWN_EMPTY} more empty lines left out")


def description(path: Path) -> str:
    """What the comment in the first line of a file says."""
    first = read_text(path).partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def warn(message: str) -> None:
    """Issue a warning that the command line shows."""
    warnings.warn(message, ClipcliWarning, stacklevel=2)


def check_text(text: str, where: str) -> None:
    """Refuse a text that is too long, or that the output could not hold."""
    if len(text) > MAX_TEXT:
        raise PromptError(f"{where}: a text of {len(text)} characters, the limit is {MAX_TEXT}")
    if "\0" in text or (not text.isascii() and _LONE_SURROGATE.search(text)):
        raise PromptError(f"{where}: not UTF-8 text: {SHORT.repr(text)}", "Save the file as UTF-8.")


def open_clip_metadata() -> ModuleType:
    """`open_clip.zero_shot_metadata` alone, because importing all of open_clip takes seconds."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.origin is not None
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
