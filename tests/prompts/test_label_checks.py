"""Labels that are hardly meant as they stand are told: lists taken for one label, and twins."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path

import pytest

from clipcli.errors import ClipcliWarning, PromptError
from clipcli.prompts.class_lists import list_class_lists, load_classes, parse_labels, single_labels
from clipcli.prompts.label_checks import folded
from clipcli.prompts.templates import build_prompts


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- `labels` ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cat;dog", "semicolons"),
        ("cat; dog;", "semicolons"),
        ("cat|dog", "vertical bars"),
        ("cat\tdog", "tabs"),
        ("cat\ndog\n", "line breaks"),
        ("cat，dog", "full-width commas"),
        ("cat、dog", "ideographic commas"),
        ("cat；dog", "full-width semicolons"),
        ("cat،dog", "Arabic commas"),
    ],
)
def test_a_list_with_another_separator_is_refused(text: str, what: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_labels(text)
    assert f"has {what}, but labels are separated by commas" in caught.value.message
    assert caught.value.hint.startswith("Use `labels` 'cat,dog', or `label` ")


@pytest.mark.parametrize(
    "text", ["cat", "big dog", "C++", "rock 'n' roll", ";", "|", "cat;", "catalogue.txt", "AC/DC"]
)
def test_one_label_is_one_label(text: str) -> None:
    assert [spec.label for spec in parse_labels(text)] == [text]


def test_a_separator_beside_commas_is_told() -> None:
    with pytest.warns(
        ClipcliWarning, match="'dog;bird' is taken as one label; for several, use `labels` 'dog,bird'"
    ):
        assert [spec.label for spec in parse_labels("cat, dog;bird")] == ["cat", "dog;bird"]


@pytest.mark.parametrize("name", ["classes.txt", "my classes.csv", "classes.yaml", "labels.list"])
def test_a_file_is_no_label(name: str) -> None:
    Path(name).write_text("cat\ndog\n")
    with pytest.raises(PromptError, match="this is a file") as caught:
        parse_labels(f" {name} ")
    assert caught.value.hint == f"Use `classes` {name}."
    with pytest.warns(ClipcliWarning, match="for the labels in this file, use `classes`"):
        assert [spec.label for spec in single_labels([name])] == [name]


def test_a_folder_or_file_without_a_suffix_may_be_named_like_a_label() -> None:
    Path("cat").mkdir()
    Path("dog").touch()
    for label in ("cat", "dog"):
        assert parse_labels(label)[0].label == label


def test_the_name_of_a_class_list_is_told() -> None:
    with pytest.warns(ClipcliWarning, match="for the class list of this name, use `classes` cifar10"):
        assert [spec.label for spec in parse_labels("cifar10")] == ["cifar10"]
    assert len(parse_labels("weather, cifar10")) == 2


def test_labels_as_a_class_list_are_told_where_they_belong() -> None:
    with pytest.raises(PromptError) as caught:
        load_classes("cat,dog")
    assert caught.value.hint.endswith("Labels themselves go into `labels` 'cat,dog'.")


# --- `label` -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["dog, brown"], "'dog, brown' is taken as one label; for several, use `labels` 'dog,brown'"),
        (["cat", "dog, brown", "a;b"], "'dog, brown' (and 1 more) is taken as one label"),
        (["cat\tdog"], "is taken as one label; for several, use `labels` 'cat,dog'"),
    ],
)
def test_a_label_that_may_be_a_list_stays_one_and_is_told_once(labels: list[str], message: str) -> None:
    with pytest.warns(ClipcliWarning) as warned:
        assert [spec.label for spec in single_labels(labels)] == labels
    assert len(warned) == 1
    assert message in str(warned[0].message)


def test_an_empty_label_is_told() -> None:
    with pytest.warns(ClipcliWarning, match="^label 2 is empty and was left out$"):
        assert len(single_labels(["cat", " "])) == 1


# --- Class files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["cat,dog,bird", "cat; dog", "cat\tdog", "cat|dog\n", "# all\ncat、dog\n"])
def test_a_file_with_all_labels_in_a_line_is_told(line: str) -> None:
    Path("c.txt").write_text(line)
    with pytest.warns(
        ClipcliWarning, match="is taken as one label; for several, write one per line"
    ) as warned:
        assert len(load_classes("c.txt")) == 1
    assert len(warned) == 1


@pytest.mark.parametrize(
    "text", ["cat: kitty, tomcat", "dog, brown\ncat\n", "dog, brown\ncat, black\n", "cat"]
)
def test_files_that_are_as_they_should_be(text: str) -> None:
    Path("c.txt").write_text(text)
    load_classes("c.txt")


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_a_table_that_is_named_as_a_text_is_told(separator: str) -> None:
    Path("c.txt").write_text(f"n01{separator}tench\nn02{separator}goldfish\n")
    with pytest.warns(ClipcliWarning, match="if this is a table, name it .csv"):
        assert len(load_classes("c.txt")) == 2


def test_a_table_separated_by_tabs_is_read() -> None:
    Path("c.tsv").write_text("id\tlabel\taliases\n1\tdog, brown\tpuppy|hound\n")
    (spec,) = load_classes("c.tsv")
    assert (spec.label, spec.aliases) == ("dog, brown", ("puppy", "hound"))


# --- Twins ---------------------------------------------------------------------------------------

NFC = "caf\u00e9"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "Cat"),
        ("STRASSE", "straße"),
        (NFC, NFD),
        ("cat", "ｃａｔ"),
        ("cat", "cat."),
        ("big cat", "big  cat"),
        ("big cat", "big\u00a0cat"),
        ("cat", "c\u200bat"),
        ("cat", "cat\ufe0f"),
        ("ﬁsh", "fish"),
    ],
)
def test_twins_are_told_in_every_way_to_name_them(first: str, second: str) -> None:
    for specs in (parse_labels(f"{first},{second}"), single_labels([first, second])):
        with pytest.warns(ClipcliWarning, match="differ only in case, Unicode form") as warned:
            build_prompts(specs, ["{}"])
        assert len(warned) == 1
    assert folded(first) == folded(second)


def test_twins_that_look_alike_are_shown_as_escapes() -> None:
    with pytest.warns(ClipcliWarning, match=r"'caf\\xe9' and 'cafe\\u0301'"):
        build_prompts(single_labels([NFC, NFD]), ["{}"])


def test_many_twins_are_told_in_one_sentence() -> None:
    labels = [f"label {number}" for number in range(20)]
    with pytest.warns(ClipcliWarning, match="and 17 more pairs") as warned:
        build_prompts(single_labels([*labels, *(label.upper() for label in labels)]), ["{}"])
    assert len(warned) == 1


@pytest.mark.parametrize(
    "labels", [["cat", "cats"], ["C", "C++", "C#"], ["cote", "côte"], ["2", "3"], [".", ".."], ["a-b", "a b"]]
)
def test_different_labels_are_no_twins(labels: list[str]) -> None:
    build_prompts(single_labels(labels), ["{}"])


def test_no_list_that_comes_with_the_package_has_twins() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in list_class_lists():
            build_prompts(load_classes(name), ["{}"])
