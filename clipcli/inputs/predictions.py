"""Predictions read back, image by image: what `classify` wrote, in any layout, or corrections of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from clipcli.errors import UsageError
from clipcli.inputs.tables.files import TableFile
from clipcli.inputs.tables.recognise import IMAGE_COLUMNS, table_format
from clipcli.inputs.tables.rows import Row, as_text
from clipcli.inputs.tables.table import beside_table
from clipcli.records import Value

Status: TypeAlias = Literal["ok", "unknown", "error"]
UNKNOWN_LABEL = "unknown"
"""What took the place of the labels of an unknown image in tables without `status`."""

_OF_EVERY_LAYOUT = ("image", "error", "status", "margin", "set", "reject_score")
_RANKED = re.compile(r"(?:label|score)(?:_[2-9]|_[1-9][0-9]+)?")
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # of a character; the others stand for bytes (PEP 383)
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+(?:[eE]-?[0-9]+)?")


class RankedLabel(NamedTuple):
    """A label of an image; what the table does not hold is None.

    `group` is the group that it lies in, below those that hold it: `living thing|animal`; empty without one.
    """

    label: str
    score: float | None = None
    cosine: float | None = None
    group: str = ""


@dataclass(frozen=True)
class PredictedImage:
    """What a table says of one image.

    Args:
        image: its name, as the table has it.
        labels: best first; those of an unknown image are guesses. None are there for one that failed.
        status: whether the labels stand, are guesses, or could not be made.
        margin: by how much the best score exceeds the second.
        error: why the image could not be read.
        columns: the other columns of the table.
    """

    image: str
    labels: tuple[RankedLabel, ...]
    status: Status
    margin: float | None
    error: str | None
    columns: dict[str, Value]


_Cells: TypeAlias = Mapping[str, Any]
_Labels: TypeAlias = Callable[[list[Row]], list[RankedLabel]]
_GROUP, _GROUP_SCORE = "group", "group_score"


def read_predictions(path: str) -> Iterator[PredictedImage]:
    """The images of a table of predictions, in the table's order, one after the other.

    Args:
        path: a .csv, .tsv, .jsonl, .parquet or .xlsx file that `classify` wrote in any layout, a table of
            corrections (`image,label,was`), or any table with a column of images and one named `label`.

    Raises:
        UsageError: the file cannot be read, is no such table, or has the rows of an image in several places.
    """
    table = TableFile(path, path, _format(path), any_bytes=True)
    rows = table.rows()
    first = next(rows, None)
    if first is None:
        return
    layout = _Layout.of(list(table.header() or first.cells), path)
    for group in _groups(layout, first, rows, path):
        yield layout.image_of(group, path)


def _format(path: str) -> Any:
    known = table_format(path)
    if known is None:
        raise UsageError(
            f"{path}: predictions are a .csv, .tsv, .jsonl, .parquet or .xlsx file",
            "Make one with `clipcli classify … -o predictions.csv`.",
        )
    return known


def _groups(layout: _Layout, first: Row, rows: Iterator[Row], path: str) -> Iterator[list[Row]]:
    """The rows of each image; only in the long layout there are several."""
    group: list[Row] = []
    for row in _chained(first, rows):
        if row.problem:
            raise UsageError(f"{path}, {row.place}: {row.problem}")
        if group and not layout.continues(group[-1].cells, row.cells):
            yield group
            group = []
        layout.check_start(row, group, path)
        group.append(row)
    if group:
        yield group


def _chained(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


@dataclass(frozen=True)
class _Layout:
    """How a table's rows tell of images.

    Args:
        image: the column that names them.
        labels: finds the ranked labels in the rows of one image.
        own: the columns that `classify` made; the others are carried.
        is_long: whether an image has a row for each label.
        has_status: whether unknown images are told by a column.
    """

    image: str
    labels: _Labels
    own: frozenset[str]
    is_long: bool = False
    has_status: bool = False

    @classmethod
    def of(cls, columns: Sequence[str], path: str) -> _Layout:
        """The layout of a table with these columns.

        Raises:
            UsageError: they are no predictions.
        """
        image = _image_column(columns, path)
        own, has_status = frozenset(_OF_EVERY_LAYOUT), "status" in columns
        if "predictions" in columns:
            return cls(image, _nested_labels, own | {"predictions"}, has_status=has_status)
        if {"rank", "label"} <= set(columns):
            return cls(image, _long_labels, own | {"rank", "label", "score", "cosine"}, True, has_status)
        classes = _matrix_classes(columns)
        if classes:
            in_matrix = own | {*classes, "label"}
            return cls(image, lambda rows: _matrix_labels(rows, classes), in_matrix, has_status=has_status)
        if "label" in columns:
            ranked = [column for column in columns if _RANKED.fullmatch(column)]
            labels = [column for column in ranked if column.startswith("label")]
            return cls(image, lambda rows: _wide_labels(rows, labels), own | {*ranked}, has_status=has_status)
        raise UsageError(
            f"{path} holds no predictions: it has no column `label`",
            f"Its columns are {', '.join(columns)}. `clipcli classify` writes such tables.",
        )

    def continues(self, before: _Cells, row: _Cells) -> bool:
        """Whether a row tells more of the image of the row before."""
        if not self.is_long or before.get(self.image) != row.get(self.image):
            return False
        last, rank = _number(before.get("rank")), _number(row.get("rank"))
        return last is not None and rank is not None and rank > last

    def check_start(self, row: Row, group: list[Row], path: str) -> None:
        """Refuse an image that begins amid its labels: the table was sorted by something else.

        Raises:
            UsageError: it does.
        """
        if self.is_long and not group and (_number(row.cells.get("rank")) or 1) != 1:
            raise UsageError(
                f"{path}, {row.place}: the labels of {row.cells.get(self.image)} do not begin with rank 1",
                "Sort the rows by image and rank, or leave all but rank 1 out.",
            )

    def image_of(self, rows: list[Row], path: str) -> PredictedImage:
        """What the rows of one image tell.

        Raises:
            UsageError: they name no image, or hold a text where a number belongs.
        """
        cells = rows[0].cells
        name = _text(cells.get(self.image))
        if name is None:
            raise UsageError(f"{path}, {rows[0].place}: no image is named")
        try:
            labels = self.labels(rows)
            margin = _number(cells.get("margin"))
        except ValueError as error:
            raise UsageError(f"{path}, {rows[0].place}: {error}") from None
        status = self._status(cells, labels)
        if status == "error" or (not self.has_status and status == "unknown"):
            labels = []
        labels = _in_groups(labels, cells)
        carried = {key: _value(cell) for key, cell in cells.items() if key not in self.own | {self.image}}
        margin = _margin(labels) if margin is None else margin
        return PredictedImage(name, tuple(labels), status, margin, _text(cells.get("error")), carried)

    def _status(self, cells: _Cells, labels: list[RankedLabel]) -> Status:
        told = _text(cells.get("status"))
        if told in get_args(Status):
            return cast(Status, told)
        if _text(cells.get("error")):
            return "error"
        return "unknown" if not labels or labels[0].label == UNKNOWN_LABEL else "ok"


def located(image: str, table: str) -> str:
    """Where an image of a table lies: relative paths start at the table's folder if something is there,
    otherwise at the working directory.
    """
    return beside_table(image, os.path.dirname(table))


# --- Labels of one image -------------------------------------------------------------------------


def _long_labels(rows: list[Row]) -> list[RankedLabel]:
    cells = [row.cells for row in rows]
    return [
        RankedLabel(label, _number(one.get("score")), _number(one.get("cosine")), _own_group(one))
        for one in cells
        if (label := _text(one.get("label"))) is not None
    ]


def _wide_labels(rows: list[Row], columns: Sequence[str]) -> list[RankedLabel]:
    cells = rows[0].cells
    return [
        RankedLabel(label, _number(cells.get(column.replace("label", "score", 1))))
        for column in columns
        if (label := _text(cells.get(column))) is not None
    ]


def _matrix_labels(rows: list[Row], classes: Sequence[str]) -> list[RankedLabel]:
    """The one in `label`, which may be a group; then best first, of equal scores the earlier class."""
    cells = rows[0].cells
    scores = [(name, score) for name in classes if (score := _number(cells.get(name))) is not None]
    ranked = [RankedLabel(name, score) for name, score in sorted(scores, key=lambda pair: -pair[1])]
    best = _text(cells.get("label")) if ranked else None
    if best is None:
        return ranked
    first = [one for one in ranked if one.label == best] or [RankedLabel(best)]
    return first + [one for one in ranked if one.label != best]


def _nested_labels(rows: list[Row]) -> list[RankedLabel]:
    found = rows[0].cells.get("predictions") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("`predictions` is no list of labels with scores")
    return [
        RankedLabel(label, _number(one.get("score")), _number(one.get("cosine")), _own_group(one))
        for one in found
        if (label := _text(one.get("label"))) is not None
    ]


def _own_group(cells: _Cells) -> str:
    """The group of one label, where `classify` tells that of each."""
    return _text(cells.get(_GROUP)) or "" if _GROUP_SCORE in cells else ""


def _in_groups(labels: list[RankedLabel], cells: _Cells) -> list[RankedLabel]:
    """The labels of an image with their groups.

    In a table of `classify` the column tells that of the best label; where there are rows or objects for the
    others, these tell theirs. In any other table it is the group of the image, in which a `|` is no level.
    """
    group = (_text(cells.get(_GROUP)) or "").strip()
    if not group or not labels:
        return labels
    if _GROUP_SCORE in cells:
        return [labels[0]._replace(group=group), *labels[1:]]
    return [one._replace(group=group.replace("|", "/")) for one in labels]


def _matrix_classes(columns: Sequence[str]) -> list[str]:
    """The columns of scores, which stand between `image` and `error`; none in another layout."""
    if list(columns[:1]) != ["image"] or "error" not in columns or list(columns[1:3]) == ["label", "score"]:
        return []
    return list(columns[1 : columns.index("error")])


# --- Cells ---------------------------------------------------------------------------------------


def _image_column(columns: Sequence[str], path: str) -> str:
    if "image" in columns:
        return "image"
    found = [column for column in columns if column.strip().lower() in IMAGE_COLUMNS]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"{path}: no column `image`", f"Its columns are {', '.join(columns)}.")


def _margin(labels: Sequence[RankedLabel]) -> float | None:
    if len(labels) < 2 or labels[0].score is None or labels[1].score is None:
        return None
    return labels[0].score - labels[1].score


def _number(cell: Any) -> float | None:
    """A number; as a text it may have a decimal comma, as spreadsheets write in many countries.

    Raises:
        ValueError: the text is no number.
    """
    if cell is None or cell == "" or cell != cell:  # noqa: PLR0124 (NaN)
        return None
    if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()):
        cell = cell.replace(",", ".")
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"{as_text(cell)!r} is no number") from None


def _text(cell: Any) -> str | None:
    """A cell as text, in which the bytes of a name that is no text stay what they are."""
    if cell is None or cell != cell:  # noqa: PLR0124 (NaN)
        return None
    return (_HALF.sub("\ufffd", cell) if isinstance(cell, str) else as_text(cell)) or None


def _value(cell: Any) -> Value:
    return as_text(cell) if isinstance(cell, (bytes, dict, list, tuple)) else cell
