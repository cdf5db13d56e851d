"""Captions of images from tables of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from clipcli.errors import UsageError
from clipcli.inputs.captions import Captions, each_once
from clipcli.inputs.inputs import Inputs
from clipcli.records import ImageFailure


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / name).touch()


ROWS = [("a.png", "A cat,  asleep"), ("b.png", "a dog"), ("a.png", "a cat"), ("a.png", " a cat ")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_an_image_may_have_several_rows(suffix: str) -> None:
    """Captions stay as they are written, but for spaces around them; repeated ones are one."""
    frame = pd.DataFrame(ROWS, columns=["image", "caption"])
    path = f"set/captions.{suffix}"
    write = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
        "xlsx": lambda: frame.to_excel(path, index=False),
    }
    write[suffix]()
    captions = Captions(path)
    assert [image.name for image in captions.images] == ["set/a.png", "set/b.png"]
    assert captions.of("set/a.png") == ("A cat,  asleep", "a cat")
    assert captions.of("set/b.png") == ("a dog",)
    assert captions.of("set/c.png") == ()


def test_json_lines_and_parquet_may_hold_lists() -> None:
    rows = [{"image": "a.png", "captions": ["one", "", "two"]}, {"image": "b.png", "captions": "three"}]
    Path("set/c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pd.DataFrame({"image": ["a.png"], "captions": [["one", "two"]]}).to_parquet("set/c.parquet")
    assert Captions("set/c.jsonl").of("set/a.png") == ("one", "two")
    assert Captions("set/c.jsonl").of("set/b.png") == ("three",)
    assert Captions("set/c.parquet").of("set/a.png") == ("one", "two")


def test_paths_may_start_at_an_input(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    Path("tables/c.csv").write_text("image,caption\na.png,a cat\n")
    for spelling in ("set", "set/", str(tmp_path / "set")):
        captions = Captions("tables/c.csv", [spelling])
        names = [one.name for one in Inputs((spelling,)) if not isinstance(one, ImageFailure)]
        assert [captions.of(name) for name in names] == [("a cat",), ()]


def test_columns_are_found_by_their_names_or_named() -> None:
    Path("c.csv").write_text("Photo,ID,Text\nset/a.png,1,a cat\n")
    assert Captions("c.csv", image_column="Photo").of("set/a.png") == ("a cat",)
    with pytest.raises(UsageError, match="no image column"):
        Captions("c.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "a.png", "words": "a cat"}', "no column of captions"),
        ('{"image": "a.png", "caption": {"en": "a cat"}}', "a caption of a.png is no text"),
        ('{"image": "a.png", "caption": [["a cat"]]}', "a caption of a.png is no text"),
        (
            '{"caption": "a cat", "image": null}\n{"caption": "b", "image": "b.png"}',
            "no image named in line 1",
        ),
    ],
)
def test_tables_that_cannot_serve_are_refused(text: str, message: str) -> None:
    Path("c.jsonl").write_text(text + "\n")
    with pytest.raises(UsageError, match=message):
        Captions("c.jsonl")


def test_an_image_that_is_named_twice_counts_once() -> None:
    found = each_once(Inputs(("set/a.png", "set", "./set/../set/b.png")))
    assert [one.name for one in found if not isinstance(one, ImageFailure)] == ["set/a.png", "set/b.png"]
