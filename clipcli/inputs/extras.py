"""Libraries that some kinds of files need, and what to install where one is missing."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

from clipcli.inputs.formats import FileKind, kind_of
from clipcli.records import ImageFailure, Item

_NEEDED: dict[FileKind, tuple[str, str, str]] = {
    "raw": ("rawpy", "clipcli[raw]", "RAW files"),
    "video": ("av", "clipcli[video]", "videos"),
    "document": ("pypdfium2", "clipcli[pdf]", "PDF documents"),
}
"""The library, the extra that brings it, and what it reads."""


def can_read(kind: FileKind) -> bool:
    """Whether what reads files of this kind is installed."""
    return kind not in _NEEDED or _is_installed(_NEEDED[kind][0])


def missing_for(name: str) -> tuple[str, str] | None:
    """What is missing to read a file of this name, as a message and a hint; None if nothing is."""
    kind = kind_of(name)
    if can_read(kind):
        return None
    return f"{_NEEDED[kind][2]} need a library that is not installed", install(kind)


def install(kind: FileKind) -> str:
    """The command that installs what reads files of this kind."""
    return f"pip install '{_NEEDED[kind][1]}'"


def unread(item: Item) -> ImageFailure | None:
    """The row of a file that cannot be read because a library is missing; None if there is none."""
    missing = missing_for(item.name)
    return missing and ImageFailure(item.name, ": ".join(missing), item.columns, item.truth)


@lru_cache
def _is_installed(library: str) -> bool:
    return find_spec(library) is not None
