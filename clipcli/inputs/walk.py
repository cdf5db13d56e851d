"""Files, folders and globs to the paths of images, in a stable order.

Folders are walked one at a time, names sorted within each, so that two runs see the same order. The
names of a folder of a million files are sorted in parts, on disk: memory stays flat.
"""

from __future__ import annotations

import glob
import heapq
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from pathspec import GitIgnoreSpec

from clipcli.errors import UsageError
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.inputs.lists import read_list
from clipcli.records import ImageFailure

_LITTER = {"__MACOSX"}
_SORT_CHUNK = 100_000

Wanted: TypeAlias = Callable[[str, bool], bool]


def matches_nothing(pattern: str) -> bool:
    """Whether a path that is no file is no glob either, or a glob without a match."""
    return not glob.has_magic(pattern) or next(expand(pattern, lambda *_: True), None) is None


def expand(pattern: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    """Files that match and images in folders that do; with `**`, images at any depth.

    `glob` follows `**` into circles of links, so the folders below it are walked here.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        for match in sorted(glob.iglob(pattern)):
            yield from images_of(match, wanted)
        return
    cut = parts.index("**")
    below = _globs(["/" + "/".join(parts[cut:])], pattern)

    def both(path: str, is_folder: bool) -> bool:
        return wanted(path, is_folder) and (is_folder or below.match_file(path))

    for folder in sorted(glob.iglob(os.path.join(*parts[:cut]))) if cut else [""]:
        if os.path.isdir(folder or "."):
            yield from _walk(folder, both)


def images_of(path: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    """The wanted images of a folder, at any depth; a file as it is."""
    yield from _walk(path, wanted) if os.path.isdir(path) else (path,)


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> Wanted:
    """Decide by the path relative to the folder given; a folder (second argument True) by --exclude only."""
    included, excluded = _globs(include, "`include`"), _globs(exclude, "`exclude`")

    def wanted(path: str, is_folder: bool) -> bool:
        if exclude and excluded.match_file(path + "/" if is_folder else path):
            return False
        return is_folder or not include or included.match_file(path)

    return wanted


def _globs(globs: Sequence[str], where: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(globs)
    except (ValueError, re.error):
        raise UsageError(f"{where}: not a glob: {' or '.join(globs)}") from None


class _Folder(NamedTuple):
    """A folder to be walked, its path below the folder that the user named, and what it lies in."""

    path: str
    relative: str = ""
    parents: tuple[tuple[int, int], ...] = ()


def _walk(root: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    """Images of a folder and those below it, however deep."""
    levels = [_contents(_Folder(root), wanted)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif isinstance(found, _Folder):
            levels.append(_contents(found, wanted))
        else:
            yield found


def _contents(folder: _Folder, wanted: Wanted) -> Iterator[str | ImageFailure | _Folder]:
    """Images and folders in one folder; links are followed, but never in a circle."""
    try:
        status = os.stat(folder.path or ".")
        identity = status.st_dev, status.st_ino
        if identity in folder.parents:
            return
        with os.scandir(folder.path or ".") as entries:
            found = _sorted((entry.name, _kind(entry)) for entry in entries)
    except OSError as error:
        yield ImageFailure(folder.path, f"folder cannot be read: {error.strerror}")
        return
    for name, kind in found:
        relative = folder.relative + name
        if name.startswith(".") or name in _LITTER or not wanted(relative, kind == "folder"):
            continue
        path = os.path.join(folder.path, name)
        if kind == "folder":
            yield _Folder(path, f"{relative}/", (*folder.parents, identity))
        elif kind == "file" and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            yield path


def _sorted(entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """By name; parts of a long list are sorted in memory, kept on disk and merged."""
    remaining = iter(entries)
    first = sorted(islice(remaining, _SORT_CHUNK))
    if len(first) < _SORT_CHUNK:
        return iter(first)
    parts = [_kept_on_disk(first)]
    while part := sorted(islice(remaining, _SORT_CHUNK)):
        parts.append(_kept_on_disk(part))
    return heapq.merge(*parts)


def _kept_on_disk(entries: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the generator)
    file.writelines(os.fsencode(f"{kind}/{name}\0") for name, kind in entries)
    file.seek(0)
    return _read_back(cast(BufferedReader, file))


def _read_back(file: BufferedReader) -> Iterator[tuple[str, str]]:
    with file:
        for record in read_list(file):
            kind, _, name = record.partition("/")
            yield name, kind


def _kind(entry: os.DirEntry[str]) -> str:
    """folder, file (a dangling link is one, so that its row names it) or other (pipe, device)."""
    try:
        if entry.is_dir():
            return "folder"
        dangling = entry.is_symlink() and not os.path.exists(entry.path)
        return "file" if dangling or entry.is_file() else "other"
    except OSError:
        return "file"
