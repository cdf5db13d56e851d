"""True labels: of folders, of a table of labels, of a column."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from archive_files import archive

from clipcli.errors import UsageError
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import FileItem
from clipcli.inputs.reading import Reading
from clipcli.inputs.truth import ColumnTruth, FolderTruth, Labelled, TableTruth, truth_column_of
from clipcli.records import ImageFailure


def tree(folder: Path, *paths: str) -> Path:
    """Empty files below a folder."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def truths(inputs: list[str]) -> dict[str, str | None]:
    """The class of each image that is found below the inputs."""
    found = list(Labelled(Inputs(tuple(inputs)), FolderTruth(inputs)))
    assert not any(isinstance(item, ImageFailure) for item in found)
    return {item.name: item.truth for item in found if not isinstance(item, ImageFailure)}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- Folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["set", "set/", "set//", "./set", "ABSOLUTE"])
def test_subfolders_are_classes_however_the_folder_is_spelled(spelling: str, tmp_path: Path) -> None:
    tree(tmp_path / "set", "cat/1.png", "cat/2020/may/2.png", "light_bulb/3.png", "loose.png")
    spelling = str(tmp_path / "set") if spelling == "ABSOLUTE" else spelling
    found = {os.path.relpath(name, "set"): truth for name, truth in truths([spelling]).items()}
    assert found == {
        "cat/1.png": "cat",
        "cat/2020/may/2.png": "cat",
        "light_bulb/3.png": "light_bulb",
        "loose.png": None,
    }


def test_the_working_directory_is_a_folder_like_others(tmp_path: Path) -> None:
    tree(tmp_path, "cat/1.png", "dog/2.png")
    assert list(truths(["."]).values()) == ["cat", "dog"]


def test_each_of_several_folders_is_a_class(tmp_path: Path) -> None:
    tree(tmp_path / "set", "cat/1.png", "cat/.hidden/x", "dog/2.png")
    assert truths(["set/cat", "set/dog/"]) == {"set/cat/1.png": "cat", "set/dog/2.png": "dog"}


def test_files_and_globs_have_the_folder_that_they_lie_in(tmp_path: Path) -> None:
    tree(tmp_path / "set", "cat/1.png", "dog/deep/2.png", "3.png")
    assert list(truths(["set/*/*.png", "set/dog/deep/2.png", "set/3.png"]).values()) == ["cat", "deep", "set"]
    (tmp_path / "top.png").touch()
    assert list(truths(["top.png"]).values()) == [tmp_path.name]


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    tree(tmp_path / "set", "caf\udce9/1.png", "tea/2.png")
    assert list(truths(["set"]).values()) == ["caf\\xe9", "tea"]


# --- Tables --------------------------------------------------------------------------------------


def test_paths_may_start_at_the_table_the_working_directory_or_an_input(tmp_path: Path) -> None:
    tree(tmp_path, "set/a.png", "set/sub/b.png", "c.png", "labels/here.png")
    lines = ["image,label", "a.png,cat", "sub/b.png,dog", "c.png,fish", "here.png,sun"]
    (tmp_path / "labels" / "labels.csv").write_text("\n".join(lines))
    truth = TableTruth("labels/labels.csv", inputs=["set/"])
    names = ["set/a.png", str(tmp_path / "set/sub/b.png"), "./set/../c.png", "labels/here.png", "other.png"]
    assert [truth(FileItem(name)) for name in names] == ["cat", None, "fish", "sun", None]
    absolute = TableTruth("labels/labels.csv", inputs=[str(tmp_path / "set")])
    assert absolute(FileItem(names[1])) == "dog"


def test_a_table_beside_its_images_names_them(tmp_path: Path) -> None:
    tree(tmp_path, "set/a.png", "set/b.png")
    (tmp_path / "set" / "labels.tsv").write_text("file\tLabel\na.png\tcat|dog\nb.png\t\n")
    truth = TableTruth("set/labels.tsv")
    assert (truth.column, truth(FileItem("set/a.png")), truth(FileItem("set/b.png"))) == (
        "Label",
        "cat|dog",
        None,
    )


def test_a_correction_is_read_by_its_label(tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text("image,label,was\na.png,cat,dog\n")
    assert TableTruth("corrections.csv")(FileItem("a.png")) == "cat"


def test_two_labels_of_an_image_are_refused_and_one_given_twice_is_not(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na.png,cat\n./a.png,cat\n")
    assert TableTruth("labels.csv")(FileItem("a.png")) == "cat"
    (tmp_path / "labels.csv").write_text("image,label\na.png,cat\n./a.png,dog\n")
    with pytest.raises(UsageError, match="two labels, 'cat' and 'dog'"):
        TableTruth("labels.csv")


def test_a_row_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na.png,cat,dog\n")
    with pytest.raises(UsageError, match=r"labels\.csv: line 2: not 2 columns but 3 cells"):
        TableTruth("labels.csv")


def test_the_column_of_labels_is_found_or_asked_for(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,kind,Class\na.png,animal,cat\n")
    assert truth_column_of("labels.csv") == "Class"
    assert TableTruth("labels.csv", "kind")(FileItem("a.png")) == "animal"
    with pytest.raises(UsageError, match="has no column 'kinds'"):
        TableTruth("labels.csv", "kinds")
    (tmp_path / "labels.csv").write_text("image,kind\na.png,animal\n")
    with pytest.raises(UsageError, match="no column of labels") as caught:
        TableTruth("labels.csv")
    assert "kind" in caught.value.hint


def test_a_column_of_the_images_own_table() -> None:
    truth = ColumnTruth("kind")
    cells = [{"kind": "cat "}, {"kind": None}, {"kind": "  "}, {}, {"kind": 7}]
    assert [truth(FileItem("a.png", columns)) for columns in cells] == ["cat", None, None, None, "7"]


# --- Archives ------------------------------------------------------------------------------------


def test_the_class_of_a_member_is_its_folder_in_the_archive(tmp_path: Path) -> None:
    members = [("cat/1.png", b""), ("animals/cat/deep/2.png", b""), ("3.png", b"")]
    archive(tmp_path / "scans.zip", members)
    expected = {"cat/1.png": "cat", "animals/cat/deep/2.png": "deep", "3.png": None}
    assert truths(["scans.zip"]) == {f"scans.zip!/{name}": truth for name, truth in expected.items()}


def test_the_class_of_an_archive_in_a_class_folder_is_that_folder(tmp_path: Path) -> None:
    tree(tmp_path, "set/cat/x", "set/y")
    archive(tmp_path / "set/cat/scans.tar", [("dog/1.png", b""), ("2.png", b"")])
    archive(tmp_path / "set/scans.tar", [("dog/3.png", b""), ("4.png", b"")])
    images = Labelled(Inputs(("set",), reading=Reading(archives=True)), FolderTruth(["set"]))
    assert [one.truth for one in images] == ["cat", "cat", "dog", None]


def test_the_class_of_an_archive_in_the_split_of_a_dataset_is_the_folder_below(tmp_path: Path) -> None:
    tree(tmp_path, "set/train/cat/x", "set/test/x")
    archive(tmp_path / "set/train/cat/scans.tar", [("dog/1.png", b"")])
    archive(tmp_path / "set/train/scans.tar", [("dog/2.png", b""), ("3.png", b"")])
    images = Labelled(Inputs(("set",), reading=Reading(archives=True)), FolderTruth(["set"]))
    assert [one.truth for one in images] == ["cat", "dog", None]
