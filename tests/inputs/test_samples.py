"""WebDataset shards: which files are one sample, and what becomes of those beside the image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archive_files import archive, failures, found, items, png, stored, tar_bytes

from clipcli.errors import UsageError
from clipcli.inputs.archives import samples
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem
from clipcli.inputs.truth import ColumnTruth, Labelled
from clipcli.records import ImageFailure

Files = list[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sample(number: int, **texts: str) -> Files:
    """The files of one sample, in the order of their names."""
    files = {"png": png(number), **{suffix: text.encode() for suffix, text in texts.items()}}
    return [(f"x/{number:05}.{suffix}", files[suffix]) for suffix in sorted(files)]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_files_of_one_name_are_columns_of_the_image(suffix: str, tmp_path: Path) -> None:
    files: Files = []
    for number in range(30):
        told = {
            "width": number,
            "license": None,
            "ratio": 0.5,
            "ok": True,
            "tags": ["a", "b"],
            "cls": "other",
        }
        files += sample(number, cls=f"{number}\n", txt=f"a text\nof {number}\r\n", json=json.dumps(told))
    path = archive(tmp_path / f"a{suffix}", files)
    inputs = Inputs((str(path),))
    assert inputs.columns == {
        "cls": int,
        "txt": str,
        "width": int,
        "license": str,
        "ratio": float,
        "ok": bool,
        "tags": str,
    }
    assert list(inputs.columns)[:2] == ["cls", "txt"]
    for number, one in enumerate(items(path)):
        assert one.name == f"{path}!/x/{number:05}.png"
        assert one.read() == png(number)
        assert one.columns == {
            "cls": number,
            "txt": f"a text\nof {number}",
            "width": number,
            "license": None,
            "ratio": 0.5,
            "ok": True,
            "tags": '["a","b"]',
        }
    assert inputs.left_out.suffixes == {}


def test_a_sample_may_have_several_images_or_none_and_lack_texts(tmp_path: Path) -> None:
    files = [("a.left.png", png(1)), ("a.right.png", png(2)), ("a.cls", b"7"), ("a.npy", b"array")]
    files += [("b.cls", b"8"), ("c.png", png(3)), ("folder.d/e.png", png(4)), ("folder.d/e.cls", b"9")]
    archive(tmp_path / "a.tar", files)
    assert [(one.name, one.columns) for one in items("a.tar")] == [
        ("a.tar!/a.left.png", {"cls": 7}),
        ("a.tar!/a.right.png", {"cls": 7}),
        ("a.tar!/c.png", {"cls": None}),
        ("a.tar!/folder.d/e.png", {"cls": 9}),
    ]


def test_a_tar_of_images_has_no_columns(tmp_path: Path) -> None:
    files = [("readme.txt", b"hello"), *((f"frame.{number}.png", png(number)) for number in range(30))]
    archive(tmp_path / "a.tar", [*files, ("z.json", b"{}")])
    inputs = Inputs(("a.tar",))
    assert inputs.columns == {}
    assert len(list(inputs)) == 30
    assert inputs.left_out.suffixes == {".txt": 1, ".json": 1}


def test_an_int_is_one_only_if_all_of_the_first_are(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", sample(0, cls="1") + sample(1, cls="cat"))
    assert Inputs(("a.tar",)).columns == {"cls": str}
    assert [one.columns for one in items("a.tar")] == [{"cls": "1"}, {"cls": "cat"}]
    archive(tmp_path / "b.tar", sample(0, cls="1"))
    both = Inputs(("b.tar", "a.tar"))
    assert both.columns == {"cls": str}
    assert [one.columns["cls"] for one in both] == ["1", "1", "cat"]


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"cls": "cat"}, "cls: 'cat' is not a whole number, as in the first samples"),
        ({"json": '{"w": "wide"}'}, "w: 'wide' is not a whole number, as in the first samples"),
        ({"json": '{"w": 0.5}'}, "w: '0.5' is not a whole number, as in the first samples"),
        ({"json": "{"}, "x/00099.json is not JSON"),
        ({"txt": "x" * 2**20 + "y"}, "txt: too long a text"),
    ],
)
def test_a_cell_of_another_kind_is_a_failure_and_never_another_value(
    texts: dict[str, str], reason: str, tmp_path: Path
) -> None:
    files: Files = []
    for number in range(samples._LOOKED_AT):
        files += sample(number, cls="1", json='{"w": 3}', txt="text")
    archive(tmp_path / "a.tar", [*files, *sample(99, **texts), *sample(100, cls="2")])
    *_, failed, last = found("a.tar")
    assert failed == ImageFailure("a.tar!/x/00099.png", reason, {"cls": None, "txt": None, "w": None})
    assert last.columns == {"cls": 2, "txt": None, "w": None}


def test_a_failure_has_the_columns_of_its_sample(tmp_path: Path) -> None:
    whole = tar_bytes(sample(0, cls="1") + sample(1, cls="2") + sample(2, cls="3"))
    stored(tmp_path / "a.tar", whole[: whole.index(b"x/00002.png") + 600])
    one, two, failed = found("a.tar")
    assert (one.columns, two.columns, failed.columns) == ({"cls": 1}, {"cls": 2}, {"cls": None})
    assert [name for name, _ in failures([failed])] == ["a.tar"]


def test_far_too_many_images_of_one_name_are_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_MOST_IMAGES", 3)
    files = [("a.png", png(1)), ("a.cls", b"1"), *((f"b.{number}.png", png(number)) for number in range(9))]
    archive(tmp_path / "a.tar", files)
    _, failed = found("a.tar")
    assert isinstance(failed, ImageFailure)
    assert failed.reason == "no samples of images: more than 3 files are called 'b'"


def test_columns_are_kept_and_can_be_the_truth(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", sample(0, cls="1", txt="cat") + sample(1, cls="2", txt=" dog "))
    inputs = Inputs(("a.tar",), keep=("txt",))
    assert inputs.columns == {"txt": str}
    assert [one.columns for one in inputs] == [{"txt": "cat"}, {"txt": " dog "}]
    assert inputs.left_out.suffixes == {}
    for column, expected in (("txt", ["cat", "dog"]), ("cls", ["1", "2"])):
        labelled = Labelled(Inputs(("a.tar",), keep=(column,)), ColumnTruth(column))
        assert [one.truth for one in labelled] == expected
    with pytest.raises(UsageError, match=r"a\.tar has no column 'label'"):
        Inputs(("a.tar",), keep=("label",))


def test_samples_of_many_images_beside_other_sources(tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", sample(0, cls="1"))
    archive(tmp_path / "b.zip", [("1.png", png(1))])
    inputs = Inputs(("b.zip", "a.tar"))
    assert inputs.columns == {"cls": int}
    assert [one.columns for one in inputs if not isinstance(one, BytesItem)] == [{}, {"cls": 1}]
