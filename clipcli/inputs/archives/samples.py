"""Samples of WebDataset shards: files of one name with several suffixes, some of them columns of the image.

In `000.jpg`, `000.cls`, `000.json`, the name ends at the first dot, as in the `webdataset` library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from clipcli.errors import ImageError
from clipcli.inputs.archives.file import ArchiveFile
from clipcli.inputs.archives.items import ZIP_SUFFIXES, entries
from clipcli.inputs.archives.stored import Entry
from clipcli.inputs.formats import kind_of
from clipcli.inputs.tables.rows import as_text, as_type, common_type, type_of
from clipcli.records import Columns, ImageFailure, Item, Value

_NAME = re.compile(r"((?:.*/)?[^/.][^/.]*)\.([^/]*)", re.DOTALL)
_TEXTS = frozenset({"txt", "text", "transcript", "caption"})
_NUMBERS = frozenset({"cls", "cls2", "class", "count", "index", "inx", "id"})
_OBJECTS = frozenset({"json", "jsn"})
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
_MOST_BYTES = 2**20
_MOST_IMAGES = 1000
_LOOKED_AT = 20  # samples that tell the columns of a shard


@dataclass
class Sample:
    """Files of one name: those that are images, and the texts of others by their suffixes.

    `problem` says why a text cannot be read.
    """

    name: str
    images: list[Item | ImageFailure] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def add_text(self, suffix: str, entry: Entry) -> None:
        """Read the text of a file, before the next file is asked for.

        Raises:
            ImageError: the archive is damaged.
        """
        if entry.stored is None or entry.size > _MOST_BYTES:
            self.problem = f"{suffix}: {entry.refusal or 'too long a text'}"
        else:
            self.texts.setdefault(suffix, entry.content().decode("utf-8", "backslashreplace"))


def samples(files: Iterable[Entry], taken: Callable[[Entry], Item | ImageFailure | None]) -> Iterator[Sample]:
    """Consecutive files of one name, together.

    Args:
        files: of an archive, in its order.
        taken: makes an item of one that is an image; None for any other file.

    Raises:
        ImageError: a sample is too large to be one, or as the archive raises it.
    """
    for name, group in groupby(files, lambda entry: _parted(entry.path)[0]):
        sample = Sample(name)
        for entry in group:
            if (suffix := _parted(entry.path)[1]) in _TEXTS | _NUMBERS | _OBJECTS:
                sample.add_text(suffix, entry)
            elif found := taken(entry):
                sample.images.append(found)
            if len(sample.images) > _MOST_IMAGES:
                raise ImageError(f"no samples of images: more than {_MOST_IMAGES} files are called {name!r}")
        yield sample


def _parted(path: str) -> tuple[str, str]:
    """The name of the sample that a file belongs to, and its suffix there, in lower case."""
    found = _NAME.fullmatch(path)
    return (found[1], found[2].lower()) if found else (path, "")


# --- Cells ---------------------------------------------------------------------------------------


def as_columns(sample: Sample, columns: Mapping[str, type]) -> Columns:
    """The cells of a sample, of the types of the columns.

    Raises:
        ImageError: a cell has another type, or there is JSON that is none.
    """
    cells = _cells(sample)
    return {name: _as_type(name, cells.get(name), kind) for name, kind in columns.items()}


def _as_type(name: str, value: Any, kind: type) -> Value:
    if common_type(type_of(value), kind) is not kind:
        raise ImageError(f"{name}: {as_text(value)[:40]!r} is not {_KINDS[kind]}, as in the first samples")
    return as_type(value, kind)


def _cells(sample: Sample) -> dict[str, Any]:
    """The texts as they are, numbers where one should be and is, and the keys of JSON objects after these."""
    if sample.problem:
        raise ImageError(sample.problem)
    plain = {suffix: text for suffix, text in sample.texts.items() if suffix not in _OBJECTS}
    cells = {suffix: _cell(suffix, text) for suffix, text in plain.items()}
    for suffix in sorted(_OBJECTS & sample.texts.keys()):
        cells = {**cells, **{key: one for key, one in _object(sample, suffix).items() if key not in cells}}
    return cells


def _cell(suffix: str, text: str) -> str | int:
    if suffix in _TEXTS:
        return text.rstrip("\r\n")
    return int(text) if _WHOLE_NUMBER.fullmatch(text.strip()) else text.strip()


def _object(sample: Sample, suffix: str) -> dict[str, Any]:
    try:
        value = json.loads(sample.texts[suffix])
    except (ValueError, RecursionError):
        raise ImageError(f"{sample.name}.{suffix} is not JSON") from None
    found = value if isinstance(value, dict) else {suffix: value}
    return {as_text(key): one for key, one in found.items()}


# --- Columns -------------------------------------------------------------------------------------


def columns_of(path: str) -> dict[str, type]:
    """The columns of a shard with their types, as its first samples have them; none if it is no shard.

    Args:
        path: that of an archive, which may be damaged or missing.
    """
    if path.lower().endswith(ZIP_SUFFIXES):
        return {}
    found: dict[str, type | None] = {}
    try:
        first = islice(samples(entries(ArchiveFile.at(path)), _as_image), _LOOKED_AT)
        for sample in filter(lambda one: one.images, first):
            for name, value in _cells(sample).items():
                found[name] = common_type(found.get(name), type_of(value))
    except ImageError:  # it is told when the images are read
        pass
    return {name: kind or str for name, kind in found.items()}


def _as_image(entry: Entry) -> ImageFailure | None:
    """Something in place of an image, of which only the columns are wanted."""
    return ImageFailure(entry.path, "") if kind_of(entry.path) == "image" else None
