"""True labels and the classes that they mean."""

from __future__ import annotations

import pytest

from clipcli.scoring.targets import labels_of, match_truths, split_truth

LABELS = ("light bulb", "T-shirt", "cat")


@pytest.mark.parametrize(
    ("truth", "label"),
    [
        ("light_bulb", "light bulb"),
        ("Light-Bulb", "light bulb"),
        ("LIGHT  bulb", "light bulb"),
        ("t_shirt", "T-shirt"),
        ("t shirt", "T-shirt"),
        ("Cat", "cat"),
    ],
)
def test_labels_meet_whatever_their_case_and_dashes(truth: str, label: str) -> None:
    targets = match_truths([truth], LABELS)
    assert targets.indices == {truth: (LABELS.index(label),)}
    assert targets.unmatched == {}


def test_what_meets_none_is_told_with_the_nearest_label() -> None:
    targets = match_truths(["lightbulbs", "zebra", "cat"], LABELS)
    assert targets.indices == {"lightbulbs": (), "zebra": (), "cat": (2,)}
    assert targets.unmatched == {"lightbulbs": "light bulb", "zebra": ""}


def test_a_label_itself_comes_before_one_that_is_alike() -> None:
    assert match_truths(["a_b", "a-b", "A b"], ["a b", "a_b", "a-b"]).indices == {
        "a_b": (1,),
        "a-b": (2,),
        "A b": (0,),
    }


def test_several_labels_of_one_image() -> None:
    targets = match_truths(["cat | Light_Bulb|zebra", "cat|CAT"], LABELS)
    assert targets.indices == {"cat | Light_Bulb|zebra": (2, 0), "cat|CAT": (2,)}
    assert targets.unmatched == {"zebra": ""}
    assert targets.is_multilabel
    assert not match_truths(["cat|CAT"], LABELS).is_multilabel


def test_without_a_separator_a_truth_is_one_label() -> None:
    assert split_truth("cat|dog", None) == ["cat|dog"]
    assert match_truths(["cat|dog"], ["cat|dog"], None).indices == {"cat|dog": (0,)}


def test_labels_of_truths_are_sorted_and_each_is_there_once() -> None:
    assert labels_of(["dog|cat", "Dog", "light_bulb", "light bulb", " "]) == ["Dog", "cat", "light bulb"]
