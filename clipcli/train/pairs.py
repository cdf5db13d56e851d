"""Images with captions, read from a table or from a folder with a text file beside each image."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from clipcli.errors import UsageError
from clipcli.records import ImageFailure

_IMAGE_COLUMNS = ("image", "path", "filepath", "file_name", "filename", "file")
_CAPTION_COLUMNS = ("caption", "captions", "text", "title")
_CONCEPT_COLUMN = "concept"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can contain it, UTF-8 text cannot

Row: TypeAlias = tuple[str, dict[str, Any]]
"""The place of a row, as error messages name it, and its fields."""


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
            the captions of `NAME.jpg`, one a line.

    Raises:
        UsageError: no such file, an unknown format, a missing column, a row without image or caption (the
            message names file and row), or no pair at all.
    """
    if path.is_dir():
        return _read_folder(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise UsageError(f"{path} is neither a folder nor one of {known}", "Name a table or a folder.")
    try:
        return Pairs(_merged(_pairs_of(path, reader(path))))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text", "Save the file as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _merged(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """One pair per image, with the distinct captions of all its rows."""
    captions: dict[str, dict[Caption, None]] = {}
    for pair in pairs:
        captions.setdefault(pair.image, {}).update(dict.fromkeys(pair.captions))
    return tuple(Pair(image, tuple(texts)) for image, texts in captions.items())


# --- Tables --------------------------------------------------------------------------------------


def _pairs_of(path: Path, rows: Iterable[Row]) -> Iterator[Pair]:
    found = False
    for where, row in rows:
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


def _field(row: dict[str, Any], names: tuple[str, ...], where: str) -> Any:
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
        if _LONE_SURROGATE.search(text):
            raise UsageError(f"{where}: half a character in the caption {text!r}", "Save the text as UTF-8.")
        texts.append(text)
    if not texts:
        raise UsageError(f"{where}: no caption", "Give each image a text, or leave out its row.")
    return texts


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            for row in reader:
                if None in row or None in row.values():
                    columns = len(reader.fieldnames or ())
                    raise UsageError(
                        f"{path}, line {reader.line_num}: not {columns} columns",
                        "Put quotes around a text with commas.",
                    )
                yield f"{path}, line {reader.line_num}", dict(row)
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: {error}") from None


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise UsageError(f"{path}, line {number}: not an object with `image` and `caption`")
            yield f"{path}, line {number}", row


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} is not a Parquet file that can be read: {error}") from None


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


# --- Folders -------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> Pairs:
    from clipcli.inputs.walk import Inputs

    pairs, failures = [], []
    for image in Inputs((str(folder),)):
        if isinstance(image, ImageFailure):
            failures.append(image)
        elif texts := _texts_beside(Path(image)):
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
