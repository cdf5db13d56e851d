"""Layouts: the columns of a table of predictions, and the rows that each image has in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from types import MappingProxyType

import numpy as np

from clipcli.choices import LayoutName
from clipcli.errors import UsageError
from clipcli.output.cells import Cell, ImageName, Nested, Row, Score
from clipcli.records import ImageFailure, LabelGroup, Outcome, Prediction, Value
from clipcli.scoring.targets import SEPARATOR

_VERDICT: dict[str, type] = {"error": str, "status": str, "margin": float}
LONG_COLUMNS: dict[str, type] = {
    "image": ImageName,
    "rank": np.int32,
    "label": str,
    "score": Score,
    "cosine": float,
    **_VERDICT,
}
_MATRIX_VERDICT: dict[str, type] = {"error": str, "label": str, "status": str, "margin": float}
SET_COLUMN: dict[str, type] = {"set": str}
GROUP_COLUMNS: dict[str, type] = {"group": str, "group_score": Score}
REJECT_COLUMN: dict[str, type] = {"reject_score": float}
_NESTED_COLUMNS: dict[str, type] = {
    "image": ImageName,
    "status": str,
    "margin": float,
    "error": str,
    "predictions": list,
}
_NONE: Mapping[str, type] = MappingProxyType({})


def default_layout(format_name: str) -> LayoutName:
    """The layout of a file where none is named: people look at workbooks, programs read the others."""
    return "wide" if format_name == "xlsx" else "long"


class Layout:
    """Columns with the types of their cells, and the rows of one outcome.

    Args:
        name: `long` (a row per label), `wide` (a row per image), `matrix` (a row per image, a column per
            class) or `nested` (a row per image, all its labels in one cell).
        top_k: labels per image.
        classnames: all classes, in order.
        carried: columns of the user's table, and their types: str, int, float, bool, datetime or date. They
            follow our own; one that is named like another of the columns gets `input_` in front.
        has_sets: whether the classifier makes sets of labels, which a column `set` holds, after `margin`.
        has_groups: whether labels have groups, which columns `group` and `group_score` hold, after these.
        has_rejector: whether the classifier tells images that show none of the labels, whose scores are in
            the last of our own columns, `reject_score`.

    Raises:
        UsageError: a class is named like one of the fixed columns of `matrix`.
    """

    def __init__(
        self,
        name: LayoutName,
        top_k: int,
        classnames: Sequence[str],
        carried: Mapping[str, type] = _NONE,
        has_sets: bool = False,
        has_groups: bool = False,
        has_rejector: bool = False,
    ) -> None:
        self.classnames = tuple(classnames)
        self.top_k = min(top_k, len(classnames))
        self.carried = tuple(carried)
        self.has_sets = has_sets
        self.has_groups = has_groups
        self.has_rejector = has_rejector
        own: dict[str, type]
        self._own_rows: Callable[[Outcome], Iterator[Row]]
        if name == "long":
            own, self._own_rows = LONG_COLUMNS, long_rows
        elif name == "wide":
            own, self._own_rows = self._wide_columns(), self._wide_rows
        elif name == "nested":
            own, self._own_rows = _NESTED_COLUMNS, _nested_rows
        else:
            own, self._own_rows = self._matrix_columns(), self._matrix_rows
        own = {**own, **self._added}
        names = carried_names(self.carried, own)
        self.columns = own | dict(zip(names, carried.values(), strict=True))

    def rows(self, outcome: Outcome) -> Iterator[Row]:
        """The rows of one image, each with the image's cells of the user's table."""
        rows = self._own_rows(outcome)
        if not (self.carried or self._added):
            return rows
        sets: Row = [joined_set(outcome)] if self.has_sets else []
        rejected: Row = [reject_score(outcome)] if self.has_rejector else []
        cells: Row = [outcome.columns.get(name) for name in self.carried]
        groups = group_cells(outcome) if self.has_groups else repeat([])
        return ([*row, *sets, *group, *rejected, *cells] for row, group in zip(rows, groups, strict=False))

    @cached_property
    def _added(self) -> dict[str, type]:
        """The columns that the classifier asks for, after those that there always are."""
        return {
            **(SET_COLUMN if self.has_sets else {}),
            **(GROUP_COLUMNS if self.has_groups else {}),
            **(REJECT_COLUMN if self.has_rejector else {}),
        }

    def _wide_columns(self) -> dict[str, type]:
        columns: dict[str, type] = {"image": ImageName}
        for suffix in ["", *(f"_{rank}" for rank in range(2, self.top_k + 1))]:
            columns |= {f"label{suffix}": str, f"score{suffix}": Score}
        return columns | _VERDICT

    def _wide_rows(self, outcome: Outcome) -> Iterator[Row]:
        cells: Row = []
        if not isinstance(outcome, ImageFailure):
            for prediction in outcome.predictions:
                cells += prediction.label, rounded(prediction.score)
        blanks: list[Cell] = [None] * (2 * self.top_k - len(cells))
        yield [outcome.image, *cells, *blanks, *_verdict(outcome)]

    def _matrix_columns(self) -> dict[str, type]:
        fixed = {"image", *_MATRIX_VERDICT, *self._added}
        taken = fixed & set(self.classnames)
        if taken:
            raise UsageError(
                f"layout matrix: a class cannot be named {min(taken)!r}, as that column is",
                "Choose the layout wide or long.",
            )
        return {"image": ImageName, **dict.fromkeys(self.classnames, Score), **_MATRIX_VERDICT}

    def _matrix_rows(self, outcome: Outcome) -> Iterator[Row]:
        scores: Row = [None] * len(self.classnames)
        label = None
        if not isinstance(outcome, ImageFailure):
            scores, label = [*map(rounded, outcome.scores.tolist())], outcome.predictions[0].label
        error, *verdict = _verdict(outcome)
        yield [outcome.image, *scores, error, label, *verdict]


def long_rows(outcome: Outcome) -> Iterator[Row]:
    """A row per label: the cells of `LONG_COLUMNS`."""
    if isinstance(outcome, ImageFailure):
        yield [outcome.image, None, None, None, None, *_verdict(outcome)]
        return
    error, status, margin = _verdict(outcome)
    for image, rank, label, score, cosine in outcome.predictions:
        yield [image, rank, label, rounded(score), rounded(cosine), error, status, margin]


def _nested_rows(outcome: Outcome) -> Iterator[Row]:
    """One row: the cells of `_NESTED_COLUMNS`."""
    labels: Nested = []
    if not isinstance(outcome, ImageFailure):
        groups = outcome.groups or repeat(None, len(outcome.predictions))
        labels = [_nested_label(*pair) for pair in zip(outcome.predictions, groups, strict=True)]
    error, status, margin = _verdict(outcome)
    yield [outcome.image, status, margin, error, labels]


def _nested_label(one: Prediction, group: LabelGroup | None) -> dict[str, Value]:
    cells: dict[str, Value] = {"label": one.label, "score": rounded(one.score), "cosine": rounded(one.cosine)}
    return cells | {"group": group.name, "group_score": rounded(group.score)} if group else cells


def carried_names(carried: Sequence[str], own: Collection[str]) -> list[str]:
    """What columns of the user's table are called beside ours: `input_` sets apart what has one name."""
    taken = {*own, *carried}
    names = []
    for column in carried:
        name = column
        if column in own:
            while name in taken:
                name = f"input_{name}"
            taken.add(name)
        names.append(name)
    return names


def joined_set(outcome: Outcome) -> str | None:
    """The cell of `set`: the labels that are probable enough, best first; empty where none is."""
    if isinstance(outcome, ImageFailure) or outcome.label_set is None:
        return None
    return SEPARATOR.join(outcome.label_set)


def group_cells(outcome: Outcome) -> Iterator[Row]:
    """The cells of `group` and `group_score` for each label of an image, best first; empty for a failure."""
    if isinstance(outcome, ImageFailure):
        yield [None, None]
        return
    for group in outcome.groups or repeat(None, len(outcome.predictions)):
        yield [None, None] if group is None else [group.name, rounded(group.score)]


def reject_score(outcome: Outcome) -> float | None:
    """The cell of `reject_score`; empty for an image that could not be read."""
    if isinstance(outcome, ImageFailure) or outcome.reject_score is None:
        return None
    return rounded(outcome.reject_score)


def _verdict(outcome: Outcome) -> tuple[str | None, str, float | None]:
    """The cells of `error`, `status` and `margin`."""
    if isinstance(outcome, ImageFailure):
        return outcome.reason, outcome.status, None
    return None, outcome.status, None if outcome.margin is None else rounded(outcome.margin)


def rounded(value: float) -> float:
    """Six significant digits: what float32 holds for certain."""
    return float(f"{value:.6g}")
