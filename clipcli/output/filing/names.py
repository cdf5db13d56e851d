"""Names of folders for labels, and free names for files, that Linux, macOS and Windows all accept.

Names that differ only in case or Unicode form are one name on some systems, so nowhere are two of them given.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator

UNKNOWN, FAILED = "_unknown", "_failed"
"""The folders of images without a label, and of images that could not be read."""

LONGEST = 255
"""Bytes that a name may have."""
_NO_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])(?= *(?:\.|$))")
_JOINER, _VARIANT = "\u200d", "\ufe0f"


class FolderNames:
    """Gives each label a folder name of its own.

    Args:
        taken: names that are no folder for a label, such as those of files.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        self._taken = {key(name) for name in (*taken, UNKNOWN, FAILED)}

    def keep(self, label: str, name: str) -> None:
        """Give a label the name that it had in an earlier run."""
        self._names[label] = name
        self._taken.add(key(name))

    def __call__(self, label: str) -> str:
        """The name of a label; always the same one."""
        if label not in self._names:
            self.keep(label, next(one for one in numbered(safe_name(label)) if key(one) not in self._taken))
        return self._names[label]

    @property
    def names(self) -> dict[str, str]:
        """All labels that were asked for, with their names."""
        return dict(self._names)


def safe_name(label: str) -> str:
    """A label as the name of a folder: the label itself, unless some system could not have it.

    What no name may hold becomes `_`, as do a dot at the start, which hides a folder, and dots and spaces at
    the end, which Windows drops. A name that Windows keeps for a device gets a `_`.
    """
    name = _NO_NAME.sub("_", unicodedata.normalize("NFC", label)).strip(" ")
    name = re.sub(r"^\.|[. ]+$", "_", name)
    name = _DEVICES.sub(r"\1_", name, count=1) if _DEVICES.match(name) else name
    return cut(name, LONGEST) or "_"


def key(name: str) -> str:
    """What two names share that are one name on some system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(stem: str, suffix: str = "") -> Iterator[str]:
    """A name, then the same with ` (2)`, ` (3)` and so on before its suffix."""
    yield cut(stem, LONGEST - len(os.fsencode(suffix))) + suffix
    number = 1
    while number := number + 1:
        end = f" ({number}){suffix}"
        yield cut(stem, LONGEST - len(os.fsencode(end))) + end


def cut(text: str, length: int) -> str:
    """The beginning of a text in so many bytes of UTF-8, which ends with a whole character.

    A character is not parted from the marks that belong to it, nor from what it is joined with.
    """
    data = os.fsencode(text)
    if len(data) <= length:
        return text
    end = next((end for end in range(length, length - 4, -1) if data[end] & 0xC0 != 0x80), length)
    last = len(os.fsdecode(data[:end]))
    while last and (_belongs_to_the_last(text[last]) or text[last - 1] == _JOINER):
        last -= 1
    return text[:last].rstrip(" .")


def _belongs_to_the_last(character: str) -> bool:
    return bool(unicodedata.combining(character)) or character in _JOINER + _VARIANT
