"""Find the images: files, folders, globs, list files and standard input, in a stable order.

Folders are walked one at a time, names sorted within each, so that two runs see the same order. The
names of a folder of a million files are sorted in parts, on disk: memory stays flat.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import heapq
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from pathspec import GitIgnoreSpec

from clipcli.errors import UsageError
from clipcli.inputs.formats import IMAGE_SUFFIXES
from clipcli.records import ImageFailure

_LITTER = {"__MACOSX"}
_CHUNK = 1 << 16
_LONGEST_NAME = 1 << 20  # paths are shorter on every system
_SORT_CHUNK = 100_000

Wanted: TypeAlias = Callable[[str, bool], bool]


@dataclass(frozen=True)
class Inputs:
    """What the user named.

    Args:
        paths: files, folders and globs, in order; `-` is a list on standard input.
        from_file: a file or pipe that lists paths, newline- or NUL-separated; `-` is standard input.
        include: globs, as in .gitignore, of which files in folders must match one.
        exclude: globs of files and folders to leave out.

    Raises:
        UsageError: nothing is named, a path does not exist, or a glob matches nothing or is malformed.
    """

    paths: tuple[str, ...] = ()
    from_file: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths and self.from_file is None:
            raise UsageError("no images given", "Name files, folders or globs, or use --from-file LIST.")
        _filter(self.include, self.exclude)
        if self.from_file not in (None, "-"):
            _check_list(str(self.from_file))
        for path in self.paths:
            if path != "-" and not os.path.lexists(path) and _matches_nothing(path):
                raise UsageError(*_missing(path))

    @property
    def reads_stdin(self) -> bool:
        """Standard input, like any pipe, can be read only once."""
        piped = self.from_file is not None and not os.path.isfile(self.from_file)
        return piped or "-" in (self.from_file, *self.paths)

    def __iter__(self) -> Iterator[str | ImageFailure]:
        """Every image path in order; a folder that cannot be listed is an `ImageFailure`."""
        wanted = _filter(self.include, self.exclude)
        for path in self.paths:
            if path == "-":
                yield from _read_list(cast(BufferedReader, sys.stdin.buffer))
            elif os.path.lexists(path) or not glob.has_magic(path):  # gone since: still a row
                yield from _images_of(path, wanted)
            else:
                yield from _expand(path, wanted)
        if self.from_file == "-":
            yield from _read_list(cast(BufferedReader, sys.stdin.buffer))
        elif self.from_file is not None:
            with Path(self.from_file).open("rb") as file:
                yield from _read_list(file)


def _matches_nothing(pattern: str) -> bool:
    return not glob.has_magic(pattern) or next(_expand(pattern, lambda *_: True), None) is None


def _expand(pattern: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    """Files that match and images in folders that do; with `**`, images at any depth.

    `glob` follows `**` into circles of links, so the folders below it are walked here.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        for match in sorted(glob.iglob(pattern)):
            yield from _images_of(match, wanted)
        return
    cut = parts.index("**")
    below = _globs(["/" + "/".join(parts[cut:])], pattern)

    def both(path: str, is_folder: bool) -> bool:
        return wanted(path, is_folder) and (is_folder or below.match_file(path))

    for folder in sorted(glob.iglob(os.path.join(*parts[:cut]))) if cut else [""]:
        if os.path.isdir(folder or "."):
            yield from _walk(folder, both)


def _images_of(path: str, wanted: Wanted) -> Iterator[str | ImageFailure]:
    yield from _walk(path, wanted) if os.path.isdir(path) else (path,)


def _check_list(path: str) -> None:
    if not os.path.exists(path) or os.path.isdir(path):
        raise UsageError(f"no such list file: {path}")
    if not os.access(path, os.R_OK):
        raise UsageError(f"list file cannot be read: {path}")


def _missing(path: str) -> tuple[str, str]:
    if glob.has_magic(path):
        return f"nothing matches {path}", ""
    parent, name = os.path.split(path.rstrip("/"))
    try:
        near = difflib.get_close_matches(name, os.listdir(parent or "."), 1)
    except (OSError, ValueError):
        near = []
    hint = f"Did you mean {os.path.join(parent, near[0])}?" if near else ""
    return f"no such file or folder: {path}", hint


def _filter(include: Sequence[str], exclude: Sequence[str]) -> Wanted:
    """Decide by the path relative to the folder given; a folder (second argument True) by --exclude only."""
    included, excluded = _globs(include, "--include"), _globs(exclude, "--exclude")

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
        for record in _read_list(file):
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


def _read_list(stream: BufferedReader) -> Iterator[str]:
    """Paths separated by NUL if the beginning holds one (`find -print0`), else by newlines."""
    head = _beginning(stream)
    separator = b"\0" if b"\0" in head else b"\n"
    head = head.removeprefix(codecs.BOM_UTF8)
    rest = b""
    while head:
        *complete, rest = (rest + head).split(separator)
        if len(rest) > _LONGEST_NAME:
            raise UsageError(
                f"not a list of images: a name of more than {_LONGEST_NAME} bytes",
                "Separate names by newlines or NUL.",
            )
        yield from _decoded(complete, separator)
        head = stream.read1(_CHUNK)
    yield from _decoded([rest], separator)


def _beginning(stream: BufferedReader) -> bytes:
    """What has arrived, but as much as tells the separator: a pipe may deliver any part at a time."""
    head = b""
    while chunk := stream.read1(_CHUNK):
        head += chunk
        if b"\0" in head or b"\n" in head or len(head) > _LONGEST_NAME:
            break
    return head


def _decoded(names: list[bytes], separator: bytes) -> Iterator[str]:
    if separator == b"\n":
        names = [name.rstrip(b"\r") for name in names if name.strip()]
    yield from map(os.fsdecode, filter(None, names))
