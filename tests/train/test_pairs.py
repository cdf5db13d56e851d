"""Pictures with captions: tables, folders, and errors that name file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from clipcli.errors import UsageError
from clipcli.records import ImageFailure
from clipcli.train.pairs import Caption, Pair, Pairs, read_pairs


def captions(*texts: str) -> tuple[Caption, ...]:
    return tuple(map(Caption, texts))


def test_repeated_rows_are_captions_of_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        'image,caption\na.png,"a cat, asleep"\nb.png,a dog\na.png,  a   pet \na.png,a pet\n', encoding="utf-8"
    )
    assert read_pairs(path) == Pairs(
        (
            Pair(str(tmp_path / "a.png"), captions("a cat, asleep", "a pet")),
            Pair(str(tmp_path / "b.png"), captions("a dog")),
        )
    )


def test_paths_start_at_the_folder_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("image,caption\nx/../b/a.png,one\nb/a.png,two\n/elsewhere/c.png,three\n")
    images = [pair.image for pair in read_pairs(path).pairs]
    assert images == [str(tmp_path / "b" / "a.png"), "/elsewhere/c.png"]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")


def write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize(("suffix", "write"), [("jsonl", write_jsonl), ("parquet", write_parquet)])
def test_a_list_holds_several_captions(
    suffix: str, write: Callable[[Path, list[dict[str, object]]], None], tmp_path: Path
) -> None:
    path = tmp_path / f"pairs.{suffix}"
    write(
        path,
        [
            {"filepath": "a.png", "captions": ["one", "two", "one"]},
            {"filepath": "b.png", "captions": ["three"]},
        ],
    )
    assert [pair.captions for pair in read_pairs(path).pairs] == [captions("one", "two"), captions("three")]


def test_a_concept_belongs_to_the_captions_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("image\ttitle\tconcept\na.png\ta tabby\tcat\na.png\ta pet\t\n")
    (pair,) = read_pairs(path).pairs
    assert pair.captions == (Caption("a tabby", "cat"), Caption("a pet"))


def test_a_concept_may_be_a_number_and_the_number_0(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "pairs.jsonl",
        [{"image": f"{n}.png", "caption": "x", "concept": n} for n in (0, 1, None)],
    )
    found = read_pairs(tmp_path / "pairs.jsonl").pairs
    assert [pair.captions[0].concept for pair in found] == ["0", "1", ""]


def test_a_folder_has_texts_beside_pictures(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.jpg", "c.png", "d.png"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("one\n\n  two  words \none\n")
    (tmp_path / "sub" / "b.txt").write_text("\ufeffthree", encoding="utf-8")
    (tmp_path / "d.txt").write_text("\n")
    found = read_pairs(tmp_path)
    assert found.pairs == (
        Pair(str(tmp_path / "a.png"), captions("one", "two words")),
        Pair(str(tmp_path / "sub" / "b.jpg"), captions("three")),
    )
    reason = "no caption: no .txt beside it, or an empty one"
    assert found.failures == tuple(ImageFailure(str(tmp_path / name), reason) for name in ("c.png", "d.png"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", "image,caption\na.png,one\nb.png,\n", "pairs.csv, line 3: no caption"),
        ("pairs.csv", 'image,caption\na.png,"one\ntwo"\n ,x\n', "pairs.csv, line 4: no image"),
        ("pairs.csv", "image,label\na.png,one\n", "pairs.csv, line 2: no column `caption`"),
        ("pairs.csv", "caption\none\n", "pairs.csv, line 2: no column `image`"),
        ("pairs.csv", "image,caption\na.png,one, two\n", "pairs.csv, line 2: not 2 columns"),
        ("pairs.csv", "image,caption\na.png\n", "pairs.csv, line 2: not 2 columns"),
        ("pairs.csv", "image,caption\n", "pairs.csv holds no pairs"),
        ("pairs.csv", b"image,caption\na.png,\xff\n", "pairs.csv: not UTF-8 text"),
        (
            "pairs.jsonl",
            '{"image": "a.png", "caption": "half a \\ud83d"}\n',
            "pairs.jsonl, line 1: half a character",
        ),
        (
            "pairs.jsonl",
            '{"image": "a.png", "caption": "one"}\n\n{"image"\n',
            "pairs.jsonl, line 3: not JSON",
        ),
        ("pairs.jsonl", "[1]\n", "pairs.jsonl, line 1: not an object"),
        ("pairs.jsonl", '{"image": 3, "caption": "one"}\n', "pairs.jsonl, line 1: no image"),
        ("pairs.jsonl", '{"image": "a.png", "caption": ["one", 2]}\n', "pairs.jsonl, line 1: no caption"),
        ("pairs.jsonl", '{"image": "a.png", "caption": []}\n', "pairs.jsonl, line 1: no caption"),
        ("pairs.parquet", b"PAR1 and no more", "pairs.parquet is not a Parquet file"),
        ("pairs.txt", "a.png one", "pairs.txt is neither a folder nor one of .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_errors_name_file_and_row(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_pairs(path)
    assert message in caught.value.message


def test_a_row_of_parquet_is_named(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "pairs.parquet",
        [{"image": "a.png", "caption": "one"}, {"image": "b.png", "caption": None}],
    )
    with pytest.raises(UsageError, match=r"pairs\.parquet, row 2: no caption"):
        read_pairs(tmp_path / "pairs.parquet")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: No such file"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "a.png").touch()
    with pytest.raises(UsageError, match=r"no image in .* has a caption"):
        read_pairs(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"a\.txt: not UTF-8 text"):
        read_pairs(tmp_path)
