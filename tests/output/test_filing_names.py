"""Labels become names of folders that every system accepts, and that stay apart on all of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipcli.output.filing.names import FAILED, UNKNOWN, FolderNames, cut, key, numbered, safe_name

RESERVED = ["con", "prn", "aux", "nul", "conin$", "com1", "lpt9", "com¹"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("cat", "cat"),
        ("a cat on a mat, at night", "a cat on a mat, at night"),
        ("Straße 日本 🐈", "Straße 日本 🐈"),
        ("../x", "_._x"),
        ("..", "__"),
        (".", "_"),
        (".git", "_git"),
        ("a/b", "a_b"),
        ("/etc/passwd", "_etc_passwd"),
        (r"a\b", "a_b"),
        ("C:", "C_"),
        ('<>:"|?*', "_______"),
        ("a\nb\x00c\x7f", "a_b_c_"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("Aux .b", "Aux_ .b"),
        ("LPT³", "LPT³_"),
        ("Console", "Console"),
        ("cat. .", "cat_"),
        ("  cat  ", "cat"),
        ("   ", "_"),
        ("", "_"),
        ("e\u0301", "é"),
        ("half \ud83d", "half _"),
    ],
)
def test_what_some_system_could_not_have_is_replaced(label: str, name: str) -> None:
    assert safe_name(label) == name


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("x" * 300, "x" * 255),
        ("é" * 200, "é" * 127),
        ("🐈" * 100, "🐈" * 63),
        ("x" * 254 + "e\u0301", "x" * 254),  # the letter is not parted from its accent
        ("x" * 251 + "👩\u200d👧", "x" * 251),  # nor one from what it is joined with
        ("x" * 254 + "  y", "x" * 254),
    ],
)
def test_a_long_text_is_cut_between_characters(text: str, left: str) -> None:
    assert cut(text, 255) == left


@given(st.text(max_size=400) | st.sampled_from(RESERVED).flatmap(lambda one: st.just(f" .{one}. ")))
def test_every_label_gets_a_name_that_every_system_accepts(label: str) -> None:
    name = safe_name(label)
    assert 0 < len(name.encode("utf-8")) <= 255
    assert not set(name) & set('<>:"/\\|?*') and name.isprintable() | all(ord(c) >= 32 for c in name)
    assert name[0] not in ". " and name[-1] not in ". "
    assert name.partition(".")[0].rstrip(" ").lower() not in RESERVED
    assert safe_name(name) == name


@given(st.lists(st.text(alphabet="aAéÉe\u0301/:_ .K\u212a", max_size=6), unique=True, max_size=12))
def test_no_two_labels_share_a_folder_on_any_system(labels: list[str]) -> None:
    folders = FolderNames(["a", UNKNOWN.upper()])
    names = [folders(label) for label in labels]
    assert len({key(name) for name in names} | {"a", UNKNOWN, FAILED}) == len(labels) + 3
    assert [folders(label) for label in labels] == names
    assert folders.names == dict(zip(labels, names, strict=True))


def test_a_name_of_an_earlier_run_is_kept() -> None:
    folders = FolderNames()
    folders.keep("cat", "cat (2)")
    assert [folders("Cat"), folders("cat"), folders("CAT")] == ["Cat", "cat (2)", "CAT (3)"]


def test_numbers_come_before_the_suffix_and_fit() -> None:
    names = numbered("a" * 300, ".jpg")
    first, second = next(names), next(names)
    assert (first, second) == ("a" * 251 + ".jpg", "a" * 247 + " (2).jpg")
    odd = os.fsdecode(b"\xff" * 300)
    assert all(len(os.fsencode(next(numbered(odd, end)))) <= 255 for end in ("", ".jpg"))
