"""How queries are written: weights, images, files of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipcli.errors import UsageError
from clipcli.scoring.queries import Query, image_term, minus_term, queries_of, read_texts, text_term


@pytest.mark.parametrize(
    ("written", "weight", "text"),
    [
        ("a red car", 1, "a red car"),
        ("2:a red car", 2, "a red car"),
        ("0.5: a red car", 0.5, "a red car"),
        (".5:x", 0.5, "x"),
        ("12:30 on a clock", 1, "12:30 on a clock"),
        ("ratio 2:a", 1, "ratio 2:a"),
        ("2:3:a", 1, "2:3:a"),
    ],
)
def test_weights(written: str, weight: float, text: str) -> None:
    assert text_term(written)[1:3] == (weight, text)
    assert minus_term(written)[1:3] == (-weight, text)


@pytest.mark.parametrize("written", ["", "  ", "2:", "0:a cat"])
def test_texts_that_say_nothing_are_refused(written: str) -> None:
    with pytest.raises(UsageError):
        text_term(written)


def test_a_minus_is_an_image_if_there_is_such_a_file(tmp_path: Path) -> None:
    path = tmp_path / "car.png"
    path.touch()
    assert minus_term(str(path)).image == str(path)
    assert minus_term(f"2:{path}")[1:] == (-2, None, str(path))
    with pytest.raises(UsageError, match="no such image"):
        minus_term(str(tmp_path / "cat.png"))


def test_an_address_is_an_image() -> None:
    assert image_term("2:https://example.org/a.jpg")[1:] == (2, None, "https://example.org/a.jpg")
    assert minus_term("s3://bucket/a")[1:] == (-1, None, "s3://bucket/a")
    signed = image_term("https://example.org/a.jpg?token=geheim")
    assert signed.name == "https://example.org/a.jpg?token=***"
    assert signed.image == "https://example.org/a.jpg?token=geheim"


def test_a_query_is_called_by_its_terms() -> None:
    assert (
        Query((text_term("2:a car"), text_term("night"), minus_term("snow"))).name == "2:a car + night - snow"
    )
    assert Query((minus_term("snow"),)).name == "- snow"


def test_terms_are_added_to_each_line_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_text("# comment\na cat\n2:a dog\n")
    made = queries_of(read_texts(str(path)), [minus_term("snow")])
    assert [query.name for query in made] == ["a cat - snow", "2:a dog - snow"]
    path.write_text("# comment\n")
    with pytest.raises(UsageError, match="no texts"):
        read_texts(str(path))
