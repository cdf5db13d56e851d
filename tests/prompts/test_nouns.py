"""The nouns of WordNet that may be negative labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipcli.prompts.nouns import NOUNS, nouns_beside

ALL = nouns_beside([])


def test_the_list_is_small_and_has_its_licence_beside_it() -> None:
    assert NOUNS.stat().st_size < 300_000
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in (NOUNS.parent / "LICENSE").read_text()
    assert len(ALL) == len(set(ALL))
    assert len(ALL) > 15_000
    assert all(word == word.lower() and len(word.split()) <= 2 for word in ALL)
    assert {"hyena", "screwdriver", "oak", "wild dog"} <= set(ALL)
    assert not {"teacher", "Paris", "jury"} & set(ALL)  # a person, a proper noun, a group


@pytest.mark.parametrize(
    ("name", "dropped", "kept"),
    [
        ("hyena", {"hyena", "striped hyena", "aardwolf"}, {"fox", "wild dog"}),
        ("Hyenas", {"hyena", "striped hyena"}, {"fox"}),
        ("hyaena", {"hyena", "striped hyena"}, {"fox"}),  # another word of the sense
        ("laughing_hyena", {"spotted hyena"}, {"hyena", "striped hyena"}),
        ("my spotty hyena", {"hyena", "aardwolf"}, {"fox"}),  # by its last word
        ("tool", {"screwdriver", "hammer", "chisel"}, {"hyena", "banana"}),
        ("crane", {"whooping crane", "davit"}, {"stork"}),  # the bird and the machine
        ("blorb", set(), {"hyena", "tool"}),
    ],
)
def test_nouns_that_are_a_label_or_a_kind_of_it_are_left_out(
    name: str, dropped: set[str], kept: set[str]
) -> None:
    assert dropped <= set(ALL)
    found = set(nouns_beside([name]))
    assert not dropped & found
    assert kept <= found


def test_all_names_count_and_the_order_stays() -> None:
    found = nouns_beside(["hyena", "banana"])
    kept = set(found)
    assert found == [word for word in ALL if word in kept]
    assert not {"aardwolf", "banana"} & kept


def test_the_list_is_where_the_package_is() -> None:
    assert NOUNS.is_relative_to(Path(__file__).parents[2] / "clipcli")
