"""Files, folders and globs to the paths of images, in a stable order, and what was left out on the way.

Folders are walked one at a time, names sorted within each, so that two runs see the same order. The
names of a folder of a million files are sorted in parts, on disk: memory stays flat.
"""

from __future__ import annotations

import glob
import heapq
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, cast

from clipcli.errors import UsageError
from clipcli.inputs.formats import JPEG_SUFFIXES, kind_of
from clipcli.inputs.left_out import LeftOut, Reason
from clipcli.inputs.lists import read_list
from clipcli.inputs.reading import FIRST_IMAGES, Reading
from clipcli.records import ImageFailure

_LITTER = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}
_SORT_CHUNK = 100_000
_LETTER = re.compile(r"\\.|\[[^]]+\]|(?P<letter>[^\W\d_])")  # outside of classes, and not escaped


@dataclass(frozen=True)
class PathFilter:
    """Decides by globs, as in .gitignore, which files in folders are used.

    A glob without a capital letter matches in any case: `*.png` is `a.PNG` too.

    Args:
        include: what a file must match one of, if there are any.
        exclude: of files and folders to leave out.

    Raises:
        UsageError: one of them is no glob.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._included, self._excluded  # noqa: B018 (tells now that one is malformed)

    @cached_property
    def _takes_all(self) -> bool:
        return not self.include and not self.exclude

    @cached_property
    def _included(self) -> Globs | None:
        return Globs(self.include, "`include`") if self.include else None

    @cached_property
    def _excluded(self) -> Globs | None:
        return Globs(self.exclude, "`exclude`") if self.exclude else None

    def reason(self, path: str, is_folder: bool) -> Reason | None:
        """Why a path, relative to the folder that the user named, is left out; None if it is not."""
        if self._takes_all:
            return None
        if self._excluded is not None and self._excluded.match(path + "/" if is_folder else path):
            return "excluded"
        included = is_folder or self._included is None or self._included.match(path)
        return None if included else "not included"


class Globs:
    """Patterns as in .gitignore; those without a capital letter match in any case.

    Args:
        globs: the patterns.
        where: what an error calls them.

    Raises:
        UsageError: one of them is no glob.
    """

    def __init__(self, globs: Sequence[str], where: str) -> None:
        from pathspec import GitIgnoreSpec

        try:
            self._spec = GitIgnoreSpec.from_lines(map(_in_any_case, globs))
        except (ValueError, re.error):
            raise UsageError(f"{where}: not a glob: {' or '.join(globs)}") from None

    def match(self, path: str) -> bool:
        """Whether a path matches one of them."""
        return self._spec.match_file(path)


def _in_any_case(pattern: str) -> str:
    """A glob without a capital letter with a class of two for each letter; another as it is."""
    return pattern if pattern != pattern.lower() else _LETTER.sub(_both_cases, pattern)


def _both_cases(found: re.Match[str]) -> str:
    letter = found["letter"]
    upper = (letter or "").upper()
    return f"[{letter}{upper}]" if letter and len(upper) == 1 and upper != letter else found[0]


ALL_PATHS = PathFilter()
"""Leaves nothing out."""


class Search(NamedTuple):
    """How folders are searched, and where what is left out is counted.

    `below` is what paths must match besides, as those of a glob with `**` do. `columns` are those that the
    items of a source are to bring along, if only some of its columns are wanted: the others need not be read.
    """

    filter: PathFilter
    reading: Reading
    left_out: LeftOut
    below: Globs | None = None
    columns: tuple[str, ...] | None = None


def any_search() -> Search:
    """A search for the images in a folder, all of them."""
    return Search(ALL_PATHS, FIRST_IMAGES, LeftOut())


def matches_nothing(pattern: str) -> bool:
    """Whether a path that is no file is no glob either, or a glob without a match."""
    return not glob.has_magic(pattern) or next(expand(pattern, any_search()), None) is None


def expand(pattern: str, search: Search) -> Iterator[str | ImageFailure]:
    """Files that match and images in folders that do; with `**`, images at any depth.

    `glob` follows `**` into circles of links, so the folders below it are walked here.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        for match in sorted(glob.iglob(pattern)):
            yield from images_of(match, search)
        return
    cut = parts.index("**")
    below = search._replace(below=Globs(["/" + "/".join(parts[cut:])], pattern))
    for folder in sorted(glob.iglob(os.path.join(*parts[:cut]))) if cut else [""]:
        if os.path.isdir(folder or "."):
            yield from _walk(folder, below)


def images_of(path: str, search: Search) -> Iterator[str | ImageFailure]:
    """The wanted images of a folder, at any depth; a file as it is."""
    yield from _walk(path, search) if os.path.isdir(path) else (path,)


class _Folder(NamedTuple):
    """A folder to be walked, its path below the folder that the user named, and what it lies in."""

    path: str
    relative: str = ""
    parents: tuple[tuple[int, int], ...] = ()


def _walk(root: str, search: Search) -> Iterator[str | ImageFailure]:
    """Images of a folder and those below it, however deep."""
    levels = [_contents(_Folder(root), search)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif isinstance(found, _Folder):
            levels.append(_contents(found, search))
        else:
            yield found


def _contents(folder: _Folder, search: Search) -> Iterator[str | ImageFailure | _Folder]:
    """Images and folders in one folder; links are followed, but never in a circle."""
    try:
        status = os.stat(folder.path or ".")
        identity = status.st_dev, status.st_ino
        if identity in folder.parents:
            return
        with os.scandir(folder.path or ".") as entries:
            found = _sorted((entry.name, _kind(entry)) for entry in entries)
        others = _less_wanted_of_pairs(folder, search) if search.reading.prefer else iter(())
    except OSError as error:
        yield ImageFailure(folder.path, f"folder cannot be read: {error.strerror}")
        return
    taken = (one for one in found if is_taken(*one, folder.relative, search))
    for name, kind in _without(taken, others, search.left_out):
        relative = folder.relative + name
        path = os.path.join(folder.path, name)
        yield _Folder(path, f"{relative}/", (*folder.parents, identity)) if kind == "folder" else path


def is_taken(name: str, kind: str, parent: str, search: Search) -> bool:
    """Whether a file or folder is one that the search wants; if not, it is counted, unless it is litter."""
    relative = parent + name
    if name in _LITTER or name.startswith("._") or kind == "other":
        return False
    is_folder = kind == "folder"
    if search.below is not None and not is_folder and not search.below.match(relative):
        return False
    holds_images = is_folder or kind_of(name) == "archive"  # `include` chooses among these
    reason = "hidden" if name.startswith(".") else search.filter.reason(relative, holds_images)
    if is_folder and reason is not None:
        search.left_out.add_folder(reason)
    elif is_folder or (reason is None and search.reading.takes(kind_of(name))):
        return True
    elif reason is None or search.reading.takes(kind_of(name)):
        search.left_out.add(name, reason)
    return False


def is_taken_within(path: str, search: Search) -> bool:
    """Whether the search wants a member of an archive, by its path in it; if not, it is counted."""
    *folders, name = path.split("/")
    if not name or _LITTER.intersection((*folders, name)) or name.startswith("._"):
        return False
    is_hidden = any(part.startswith(".") and part not in (".", "..") for part in (*folders, name))
    reason = "hidden" if is_hidden else search.filter.reason(path, False)
    kind = kind_of(path)
    if reason is None and kind == "archive":
        search.left_out.add(path, "nested")
    elif reason is None and search.reading.takes(kind):
        return True
    elif reason is None or search.reading.takes(kind):
        search.left_out.add(path, reason)
    return False


def _less_wanted_of_pairs(folder: _Folder, search: Search) -> Iterator[tuple[str, str]]:
    """Of each pair of a RAW file and a JPEG in a folder, the one that is not preferred, by name.

    Files that the search does not take have no pairs. The stems are sorted as names are, on disk.
    """
    quiet = search._replace(left_out=LeftOut())
    with os.scandir(folder.path or ".") as entries:
        found = ((entry.name, _kind(entry)) for entry in entries)
        taken = (
            name for name, kind in found if kind != "folder" and is_taken(name, kind, folder.relative, quiet)
        )
        by_stem = _sorted((f"{_stem(name)}/{name}", which) for name in taken if (which := _of_pair(name)))
    groups = (list(group) for _, group in groupby(by_stem, lambda one: one[0].partition("/")[0]))
    return _sorted(
        (key.partition("/")[2], "file")
        for group in groups
        if len({which for _, which in group}) > 1
        for key, which in group
        if which != search.reading.prefer
    )


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()


def _of_pair(name: str) -> str:
    """What a file is of a pair: raw, jpeg or nothing."""
    if kind_of(name) == "raw":
        return "raw"
    return "jpeg" if name.lower().endswith(JPEG_SUFFIXES) else ""


def _without(
    entries: Iterable[tuple[str, str]], others: Iterator[tuple[str, str]], left_out: LeftOut
) -> Iterator[tuple[str, str]]:
    """Sorted entries but for some of them, which are sorted too and counted as pairs."""
    other = next(others, None)
    for name, kind in entries:
        while other is not None and other[0] < name:
            other = next(others, None)
        if other is not None and other[0] == name:
            left_out.add(name, "paired")
        else:
            yield name, kind


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
