"""Layouts: which rows an outcome has, and how columns of the user's table stand beside ours."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from clipcli.choices import LayoutName
from clipcli.output.rows import Layout, carried_names
from clipcli.records import ImageFailure, ImagePredictions, Prediction

PREDICTIONS = (Prediction("a.jpg", 1, "dog", 0.75, 0.5), Prediction("a.jpg", 2, "cat", 0.25, 0.125))
COLUMNS = {"sku": "A-1", "made": date(2024, 5, 1), "not kept": 1}
SCORED = ImagePredictions("a.jpg", PREDICTIONS, np.array([0.25, 0.75], np.float32), COLUMNS)
FAILED = ImageFailure("b.jpg", "no such file", {"sku": "A-2"})
PLAIN = ImageFailure("c.jpg", "no such file")
CARRIED = {"sku": str, "made": date}
OWN: dict[LayoutName, list[list[Any]]] = {
    "long": [
        ["a.jpg", 1, "dog", 0.75, 0.5, None],
        ["a.jpg", 2, "cat", 0.25, 0.125, None],
        ["b.jpg", None, None, None, None, "no such file"],
        ["c.jpg", None, None, None, None, "no such file"],
    ],
    "wide": [
        ["a.jpg", "dog", 0.75, "cat", 0.25, None],
        ["b.jpg", None, None, None, None, "no such file"],
        ["c.jpg", None, None, None, None, "no such file"],
    ],
    "matrix": [
        ["a.jpg", 0.25, 0.75, None],
        ["b.jpg", None, None, "no such file"],
        ["c.jpg", None, None, "no such file"],
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


@pytest.mark.parametrize(
    ("name", "carried", "expected"),
    [
        ("long", ["rank", "sku", "image"], ["input_rank", "sku", "input_image"]),
        ("long", ["label_2", "cat"], ["label_2", "cat"]),
        ("wide", ["label_2", "rank"], ["input_label_2", "rank"]),
        ("matrix", ["cat", "label"], ["input_cat", "label"]),
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
    assert list(layout.columns) == ["image", "cat", "input_cat", "error", "input_input_cat"]


def test_names_are_unique_whatever_they_are() -> None:
    carried = ["a", "input_a", "input_input_a", "b"]
    assert carried_names(carried, {"a", "input_a"}) == [
        "input_input_input_a",
        "input_input_input_input_a",
        "input_input_a",
        "b",
    ]
