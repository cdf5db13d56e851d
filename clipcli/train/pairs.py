"""Images with captions, read from a table or from a folder with a text file beside each image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clipcli.errors import UsageError
from clipcli.inputs.tables.files import TableFile
from clipcli.inputs.tables.recognise import TableFormat
from clipcli.inputs.tables.rows import LONE_SURROGATE
from clipcli.records import ImageFailure

_IMAGE_COLUMNS = ("image", "path", "filepath", "file_name", "filename", "file")
_CAPTION_COLUMNS = ("caption", "captions", "text", "title")
_CONCEPT_COLUMN = "concept"

_FORMATS: dict[str, TableFormat] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}


class Caption(NamedTuple):
    """One caption of an image; captions with the same concept are right for each other's images."""

    text: str
    concept: str = ""


class Pair(NamedTuple):
    """One image and all its captions, at least one."""

    image: str
    captions: tuple[Caption, ...]


class Pairs(NamedTuple):
    """Images with their captions, in the order of the file, and the images that have no caption."""

    pairs: tuple[Pair, ...]
    failures: tuple[ImageFailure, ...] = ()


def read_pairs(path: Path) -> Pairs:
    """Read images and captions.

    Args:
        path: a .csv, .tsv, .jsonl or .parquet file with the columns `image` and `caption` and, optionally,
            `concept`. An image with several captions has several rows or, except in CSV and TSV, a list of
            captions. Relative paths are relative to the file's folder. Or a folder, where `NAME.txt` holds
            the captions of `NAME.jpg`, one per line.

    Raises:
        UsageError: no such file, an unknown format, a missing column, a row without image or caption (the
            message names file and row), or no pair at all.
    """
    if path.is_dir():
        return _read_folder(path)
    stored_as = _FORMATS.get(path.suffix.lower())
    if stored_as is None:
        known = ", ".join(_FORMATS)
        raise UsageError(f"{path} is neither a folder nor one of {known}", "Name a table or a folder.")
    return Pairs(_merged(_pairs_of(path, TableFile(str(path), str(path), stored_as))))


def _merged(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """One pair per image, with the distinct captions of all its rows."""
    captions: dict[str, dict[Caption, None]] = {}
    for pair in pairs:
        captions.setdefault(pair.image, {}).update(dict.fromkeys(pair.captions))
    return tuple(Pair(image, tuple(texts)) for image, texts in captions.items())


# --- Tables --------------------------------------------------------------------------------------


def _pairs_of(path: Path, table: TableFile) -> Iterator[Pair]:
    found = False
    for where, row in _complete(table):
        found = True
        image = _field(row, _IMAGE_COLUMNS, where)
        captions = _field(row, _CAPTION_COLUMNS, where)
        if not isinstance(image, str) or not image.strip():
            raise UsageError(f"{where}: no image", "Give the path of an image in the column `image`.")
        concept = "" if row.get(_CONCEPT_COLUMN) is None else row[_CONCEPT_COLUMN]
        texts = _texts(captions if isinstance(captions, list) else [captions], where)
        kept = tuple(Caption(text, " ".join(str(concept).split())) for text in texts)
        yield Pair(os.path.normpath(path.parent / image), kept)
    if not found:
        raise UsageError(f"{path} holds no pairs", "It needs rows with `image` and `caption`.")


def _complete(table: TableFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row stands, and its cells, of which training misses none."""
    is_text = table.table_format in ("csv", "tsv")
    hint = "Put quotes around a text with commas." if is_text else ""
    for row in table.rows():
        where = f"{table.name}, {row.place}"
        if row.problem:
            raise UsageError(f"{where}: {row.problem}", hint)
        if is_text and None in row.cells.values():
            raise UsageError(f"{where}: not {len(row.cells)} columns", hint)
        yield where, row.cells


def _field(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise UsageError(f"{where}: no column `{names[0]}`", f"Found: {', '.join(map(str, row)) or 'none'}.")


def _texts(captions: Iterable[Any], where: str) -> list[str]:
    texts = []
    for caption in captions:
        text = " ".join(caption.split()) if isinstance(caption, str) else ""
        if not text:
            raise UsageError(f"{where}: no caption", "Give each image a text, or leave out its row.")
        if LONE_SURROGATE.search(text):
            raise UsageError(f"{where}: half a character in the caption {text!r}", "Save the text as UTF-8.")
        texts.append(text)
    if not texts:
        raise UsageError(f"{where}: no caption", "Give each image a text, or leave out its row.")
    return texts


# --- Folders -------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> Pairs:
    from clipcli.inputs.inputs import Inputs

    pairs, failures = [], []
    for found in Inputs((str(folder),)):
        if isinstance(found, ImageFailure):
            failures.append(found)
            continue
        image = found.name
        if texts := _texts_beside(Path(image)):
            pairs.append(Pair(image, tuple(map(Caption, texts))))
        else:
            failures.append(ImageFailure(image, "no caption: no .txt beside it, or an empty one"))
    if not pairs:
        raise UsageError(
            f"no image in {folder} has a caption", "Put NAME.txt beside NAME.jpg, one caption a line."
        )
    return Pairs(tuple(pairs), tuple(failures))


def _texts_beside(image: Path) -> list[str]:
    """The captions of an image; none where there is no file."""
    path = image.with_suffix(".txt")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text", "Save the file as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
