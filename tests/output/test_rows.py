"""Layouts: which rows an outcome has, and how columns of the user's table stand beside ours."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from clipcli.choices import LayoutName
from clipcli.errors import UsageError
from clipcli.output.rows import Layout, carried_names
from clipcli.records import ImageFailure, ImagePredictions, LabelGroup, Prediction

PREDICTIONS = (Prediction("a.jpg", 1, "dog", 0.75, 0.5), Prediction("a.jpg", 2, "cat", 0.25, 0.125))
COLUMNS = {"sku": "A-1", "made": date(2024, 5, 1), "not kept": 1}
SCORED = ImagePredictions("a.jpg", PREDICTIONS, np.array([0.25, 0.75], np.float32), COLUMNS, margin=0.5)
FAILED = ImageFailure("b.jpg", "no such file", {"sku": "A-2"})
PLAIN = ImageFailure("c.jpg", "no such file")
CARRIED = {"sku": str, "made": date}
VERDICT = ["error", "label", "status", "margin"]
OWN: dict[LayoutName, list[list[Any]]] = {
    "long": [
        ["a.jpg", 1, "dog", 0.75, 0.5, None, "ok", 0.5],
        ["a.jpg", 2, "cat", 0.25, 0.125, None, "ok", 0.5],
        ["b.jpg", None, None, None, None, "no such file", "error", None],
        ["c.jpg", None, None, None, None, "no such file", "error", None],
    ],
    "wide": [
        ["a.jpg", "dog", 0.75, "cat", 0.25, None, "ok", 0.5],
        ["b.jpg", None, None, None, None, "no such file", "error", None],
        ["c.jpg", None, None, None, None, "no such file", "error", None],
    ],
    "matrix": [
        ["a.jpg", 0.25, 0.75, None, "dog", "ok", 0.5],
        ["b.jpg", None, None, "no such file", None, "error", None],
        ["c.jpg", None, None, "no such file", None, "error", None],
    ],
}
CELLS = {"a.jpg": ["A-1", date(2024, 5, 1)], "b.jpg": ["A-2", None], "c.jpg": [None, None]}


@pytest.mark.parametrize("name", OWN)
def test_carried_columns_follow_ours_in_order_on_every_row(name: LayoutName) -> None:
    plain, layout = Layout(name, 2, ("cat", "dog")), Layout(name, 2, ("cat", "dog"), CARRIED)
    assert list(layout.columns.items()) == [*plain.columns.items(), *CARRIED.items()]
    outcomes = (SCORED, FAILED, PLAIN)
    assert [row for outcome in outcomes for row in plain.rows(outcome)] == OWN[name]
    rows = [row for outcome in outcomes for row in layout.rows(outcome)]
    assert rows == [[*own, *CELLS[own[0]]] for own in OWN[name]]


@pytest.mark.parametrize("name", OWN)
def test_sets_of_labels_follow_the_margin_on_every_row(name: LayoutName) -> None:
    layout = Layout(name, 2, ("cat", "dog"), {**CARRIED, "set": str}, has_sets=True)
    assert list(layout.columns)[-4:] == ["set", "sku", "made", "input_set"]
    assert layout.columns["set"] is str
    several, empty = (SCORED._replace(label_set=labels) for labels in (("dog", "cat"), ()))
    for outcome, cell in ((several, "dog|cat"), (empty, ""), (FAILED, None)):
        plain = list(Layout(name, 2, ("cat", "dog")).rows(outcome))
        cells = CELLS[outcome.image]
        assert list(layout.rows(outcome)) == [[*row, cell, *cells, None] for row in plain]


GROUPED = {
    "long": [["x|y", 0.875], [None, None]],
    "wide": [["x|y", 0.875]],
    "matrix": [["x|y", 0.875]],
    "nested": [["x|y", 0.875]],
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_follow_sets_and_each_label_has_its_own(name: LayoutName) -> None:
    layout = Layout(name, 2, ("cat", "dog"), {**CARRIED, "group": str}, has_sets=True, has_groups=True)
    assert list(layout.columns)[-6:] == ["set", "group", "group_score", "sku", "made", "input_group"]
    grouped = SCORED._replace(groups=(LabelGroup("x|y", 0.875), None), label_set=("dog",))
    cells = [row[-6:] for row in layout.rows(grouped)]
    assert cells == [["dog", *group, "A-1", date(2024, 5, 1), None] for group in GROUPED[name]]
    assert [row[-6:] for row in layout.rows(FAILED)] == [[None, None, None, "A-2", None, None]]
    assert [row[-5:-3] for row in layout.rows(SCORED)] == [[None, None]] * len(GROUPED[name])


def test_a_class_cannot_be_named_as_the_column_of_groups() -> None:
    with pytest.raises(UsageError, match="a class cannot be named 'group'"):
        Layout("matrix", 2, ("group", "dog"), has_groups=True)


def test_a_class_cannot_be_named_as_the_column_of_sets() -> None:
    with pytest.raises(UsageError, match="a class cannot be named 'set'"):
        Layout("matrix", 2, ("set", "dog"), has_sets=True)
    assert list(Layout("matrix", 2, ("set", "dog")).columns)[:3] == ["image", "set", "dog"]


@pytest.mark.parametrize(
    ("name", "carried", "expected"),
    [
        ("long", ["rank", "sku", "image"], ["input_rank", "sku", "input_image"]),
        ("long", ["label_2", "cat"], ["label_2", "cat"]),
        ("wide", ["label_2", "rank"], ["input_label_2", "rank"]),
        ("matrix", ["cat", "rank"], ["input_cat", "rank"]),
        ("matrix", ["label", "status"], ["input_label", "input_status"]),
        ("wide", ["status", "margin"], ["input_status", "input_margin"]),
        ("long", ["image", "input_image"], ["input_input_image", "input_image"]),
        ("long", ["input_image", "image"], ["input_image", "input_input_image"]),
        ("long", ["Image"], ["Image"]),
    ],
)
def test_a_column_named_like_one_of_ours_is_prefixed(
    name: LayoutName, carried: list[str], expected: list[str]
) -> None:
    layout = Layout(name, 2, ("cat", "dog"), dict.fromkeys(carried, str))
    own = Layout(name, 2, ("cat", "dog")).columns
    assert list(layout.columns) == [*own, *expected]
    (row,) = layout.rows(ImageFailure("a.jpg", "no", {column: column.upper() for column in carried}))
    assert row[len(own) :] == [column.upper() for column in carried]


def test_a_prefixed_column_meets_a_class_of_that_name() -> None:
    layout = Layout("matrix", 1, ("cat", "input_cat"), {"cat": str})
    assert list(layout.columns) == ["image", "cat", "input_cat", *VERDICT, "input_input_cat"]


@pytest.mark.parametrize("name", OWN)
def test_what_abstains_keeps_its_labels_and_is_marked(name: LayoutName) -> None:
    layout = Layout(name, 2, ("cat", "dog"))
    status = list(layout.columns).index("status")
    certain, unknown = list(layout.rows(SCORED)), list(layout.rows(SCORED._replace(status="unknown")))
    assert {row[status] for row in certain} == {"ok"}
    assert {row[status] for row in unknown} == {"unknown"}
    for rows in (certain, unknown):
        for row in rows:
            del row[status]
    assert unknown == certain


def test_the_margin_of_one_class_is_empty_and_others_have_six_digits() -> None:
    layout = Layout("wide", 1, ("cat",))
    assert [row[-1] for row in layout.rows(SCORED._replace(margin=None))] == [None]
    assert [row[-1] for row in layout.rows(SCORED._replace(margin=1 / 3))] == [0.333333]


def test_names_are_unique_whatever_they_are() -> None:
    carried = ["a", "input_a", "input_input_a", "b"]
    assert carried_names(carried, {"a", "input_a"}) == [
        "input_input_input_a",
        "input_input_input_input_a",
        "input_input_a",
        "b",
    ]
