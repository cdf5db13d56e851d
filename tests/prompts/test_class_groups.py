"""Groups and thresholds in class lists: a column `parent`, nested YAML, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from clipcli.errors import ClipcliWarning, PromptError
from clipcli.prompts.class_lists import ClassSpec, load_classes
from clipcli.prompts.groups import Parents, parents_of
from clipcli.prompts.templates import build_prompts


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def groups(path: str) -> Parents | None:
    return build_prompts(load_classes(path), ["{}"]).parents


TREE = (("life", "beast"), ("life", "beast"), ("life",), ())
TREES = {
    "paths.csv": "label,parent\ncat,life|beast\ndog,life | beast\noak,life\nrock,\n",
    "once.csv": "label,parent\ncat,life|beast\ndog,beast\noak,life\nrock,\n",
    "tabs.tsv": "label\tparent\ncat\tlife|beast\ndog\tbeast\noak\tlife\nrock\t\n",
    "keys.json": '{"cat": {"parent": "life|beast"}, "dog": {"parent": ["life", "beast"]}, '
    '"oak": {"parent": "life"}, "rock": null}',
    "nested.json": '{"life": {"beast": {"cat": ["kitty"], "dog": null}, "oak": "oak tree"}, "rock": null}',
    "nested.yaml": "life:\n  beast:\n    cat: [kitty]\n    dog:\n  oak: {name: oak tree}\nrock:\n",
    "keys.yml": "cat: {parent: life|beast}\ndog: {parent: beast}\nlife:\n  oak:\nrock:\n",
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_of_groups(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, TREES[name])
    assert [spec.label for spec in load_classes(path)] == ["cat", "dog", "oak", "rock"]
    assert groups(path) == TREE


def test_nested_classes_keep_what_is_said_of_them(tmp_path: Path) -> None:
    text = "life:\n  cat: [kitty]\n  crane: {context: bird, min_score: 0.7}\n  oak: oak tree\n"
    path = write(tmp_path / "c.yaml", text)
    assert load_classes(path) == [
        ClassSpec("cat", aliases=("kitty",), where=path, parents=("life",)),
        ClassSpec("crane", context="bird", where=path, parents=("life",), min_score=0.7),
        ClassSpec("oak", name="oak tree", where=path, parents=("life",)),
    ]


def test_without_parents_there_are_no_groups(tmp_path: Path) -> None:
    assert groups(write(tmp_path / "c.csv", "label,parent\ncat,\ndog,\n")) is None
    assert groups(write(tmp_path / "c.yaml", "cat: {}\ndog: {context: x}\n")) is None


def test_a_group_may_be_a_class_too(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "label,parent\ncat,beast\nbeast,life\ndog,beast\n")
    assert groups(path) == (("life", "beast"), ("life",), ("life", "beast"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat,cat\n", "2: a group that lies in itself: 'cat', 'cat'"),
        ("a,b\nb,a\n", "2: a group that lies in itself: 'a', 'b', 'a'"),
        ("cat,x|y|x\n", "2: a group that lies in itself: 'x', 'y', 'x'"),
        ("cat,x|y\ndog,y|x\n", "2: a group that lies in itself: "),
        ("cat,life|beast\ndog,zoo|beast\n", "3: 'beast' lies in 'zoo' here, and in 'life' elsewhere"),
        ("cat,beast\nbeast,life\ndog,zoo|beast\n", "4: 'beast' lies in 'zoo' here, and in 'life' elsewhere"),
    ],
)
def test_what_is_no_tree_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", f"label,parent\n{content}")
    with pytest.raises(PromptError) as error:
        groups(path)
    assert error.value.message.startswith(f"{path}:{message}")


def test_groups_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="the groups 'Beast' and 'beast' differ only in case or spaces"):
        groups(write(tmp_path / "c.csv", "label,parent\ncat,Beast\ndog,beast\n"))


def test_a_group_that_is_hardly_meant_is_told(tmp_path: Path) -> None:
    rows = "label,parent\ncat,animal\ndog,animal\noak,plant\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups(write(tmp_path / "c.csv", rows))
    with pytest.warns(
        ClipcliWarning, match="the group 'animl' has one class only: is it meant to be 'animal'"
    ):
        groups(write(tmp_path / "d.csv", rows + "hen,animl\n"))


def test_a_name_with_the_separator_of_levels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"the name of a group cannot hold \|: 'a\|b'"):
        groups(write(tmp_path / "c.yaml", "a|b:\n  cat:\n"))
    assert parents_of([ClassSpec("a|b", parents=("x",))]) == (("x",),), "a label may"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.yaml", "crane: {contxt: bird}\n", "class 'crane': unknown key 'contxt'"),
        ("c.yaml", "crane: {context: bird, colour: red}\n", "class 'crane': unknown key 'colour'"),
        ("c.json", '{"x": {"cat": null, "name": "y"}}', "class 'x': unknown key 'cat'"),
        (
            "c.yaml",
            "life:\n  cat: {parent: beast}\n",
            "class 'cat' has a parent, and lies in the group 'life'",
        ),
        ("c.yaml", "'':\n  cat:\n", "a group without a name"),
        ("c.yaml", "life:\n  cat:\n  dog:\n  cat: x\n", "label 'cat' is given twice"),
        ("c.json", '{"life": {"cat": 1, "cat": 2}}', "label 'cat' is given twice"),
        ("c.yaml", "life:\n  cat:\nzoo:\n  cat:\n", "label 'cat' is given twice"),
        ("c.yaml", "a: &a\n  b: *a\n", "nested too deeply"),
        ("c.yaml", "a: &a\n  b: *a\n  c: *a\n", "nested too deeply"),
        ("c.json", '{"a":' * 66 + "1" + "}" * 66, "nested too deeply"),
    ],
)
def test_malformed_nesting_is_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(PromptError) as error:
        groups(path)
    assert error.value.message.startswith(path)
    assert message in error.value.message


# --- Thresholds ----------------------------------------------------------------------------------


def test_a_class_has_its_own_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "label,min_score\ncat,0.6\ndog,\noak, 1\n")
    prompts = build_prompts(load_classes(path), ["{}"])
    assert prompts.min_scores == (0.6, None, 1.0)
    plain = write(tmp_path / "d.csv", "label,min_score\ncat,\ndog,\n")
    assert build_prompts(load_classes(plain), ["{}"]).min_scores is None


@pytest.mark.parametrize(
    ("cell", "hint"), [("60", "60 percent is 0.6."), ("-0.1", ""), ("high", ""), ("nan", ""), ("0.6 %", "")]
)
def test_a_threshold_that_no_probability_reaches_is_refused(cell: str, hint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", f"label,min_score\ncat,{cell}\n")
    with pytest.raises(PromptError) as error:
        load_classes(path)
    assert error.value.message == f"{path}:2: min_score must be a number from 0 to 1, not {cell!r}"
    assert error.value.hint == hint
