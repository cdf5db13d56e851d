"""Class lists: labels, the shipped lists, and files of every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from open_clip.zero_shot_metadata import (
    IMAGENET_CLASSNAMES,
)

from clipcli.errors import ClipcliWarning, PromptError
from clipcli.prompts.class_lists import ClassSpec, check_classes, list_class_lists, load_classes, parse_labels
from clipcli.prompts.templates import (
    build_prompts,
)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# --- Labels and the shipped lists ----------------------------------------------------------------


def test_labels_are_separated_by_commas() -> None:
    specs = parse_labels(" cat, big dog ,ünïcode")
    assert [spec.label for spec in specs] == ["cat", "big dog", "ünïcode"]
    assert specs[1].where == "label 2"


def test_empty_labels_are_reported_and_left_out() -> None:
    with pytest.warns(ClipcliWarning) as warned:
        specs = parse_labels("cat,,dog, ")
    assert [spec.label for spec in specs] == ["cat", "dog"]
    assert [str(warning.message) for warning in warned] == [
        "label 2 is empty and was left out",
        "label 4 is empty and was left out",
    ]
    assert specs[1].where == "label 3"


SIZES = {
    **{"animals": 50, "caltech101": 102, "cifar10": 10, "cifar100": 100, "coco": 80, "country211": 211},
    **{"documents": 40, "dtd": 47, "eurosat": 10, "everyday-objects": 60, "fashion-mnist": 10, "fer2013": 7},
    **{"fgvc-aircraft": 100, "flowers102": 102, "food101": 101, "gtsrb": 43, "imagenet": 1000, "mnist": 10},
    **{"oxford-pets": 37, "pascal-voc": 20, "photo-or-not": 18, "resisc45": 45, "rooms": 24, "stl10": 10},
    **{"stanford-cars": 196, "sun397": 397, "ucf101": 101, "weather": 18},
}


def test_the_class_library_is_complete() -> None:
    assert set(list_class_lists()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_shipped_class_lists_are_sound(name: str) -> None:
    specs = load_classes(name)
    check_classes(specs)
    assert len(specs) == SIZES[name]
    assert all(text == " ".join(text.split()) for spec in specs for text in spec.names)
    assert len({spec.label.lower() for spec in specs}) == len(specs)
    assert list_class_lists()[name]


@pytest.mark.parametrize(
    ("name", "position", "label"),
    [
        ("cifar10", 9, "truck"),
        ("stl10", 1, "bird"),
        ("mnist", 7, "seven"),
        ("oxford-pets", 0, "Abyssinian"),
        ("food101", 100, "waffles"),
        ("imagenet", 0, "tench"),
        ("imagenet", 999, "toilet paper"),
    ],
)
def test_shipped_class_lists_are_in_the_datasets_order(name: str, position: int, label: str) -> None:
    spec = load_classes(name)[position]
    assert label.lower() in [text.lower() for text in spec.names]


def test_imagenet_keeps_two_classes_of_one_name_apart() -> None:
    specs = load_classes("imagenet")
    labels = [spec.label for spec in specs]
    assert len(set(labels)) == 1000
    assert [spec.names for spec in specs] == [(name,) for name in IMAGENET_CLASSNAMES]
    first, second = (labels.index(label) for label in ("missile", "missile (2)"))
    prompt_set = build_prompts(specs, ["a photo of a {}."])
    assert prompt_set.prompts[first] == prompt_set.prompts[second] == ("a photo of a missile.",)
    assert (first, second) == (657, 744)


# --- Text files ----------------------------------------------------------------------------------


def test_a_text_file_holds_a_label_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", "# things\ncat\n  big dog  \ntie: necktie, bow tie,\n#no\nünï, x\n")
    assert load_classes(path) == [
        ClassSpec("cat", where=f"{path}:2"),
        ClassSpec("big dog", where=f"{path}:3"),
        ClassSpec("tie", aliases=("necktie", "bow tie"), where=f"{path}:4"),
        ClassSpec("ünï, x", where=f"{path}:6"),
    ]


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfcat\r\ndog\r\n", b"cat\ndog", b"cat\ndog\n\n\n", b"cat\rdog\r"]
)
def test_marks_and_line_ends_of_other_systems(content: bytes, tmp_path: Path) -> None:
    assert [spec.label for spec in load_classes(write(tmp_path / "c.txt", content))] == ["cat", "dog"]


def test_a_label_may_hold_any_character_but_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "c.txt", "a\u2028b\nc\x0cd\n")
    assert [(spec.label, spec.where[-1]) for spec in load_classes(path)] == [
        ("a\u2028b", "1"),
        ("c\x0cd", "2"),
    ]


@pytest.mark.parametrize(
    ("suffix", "content", "lines"),
    [
        (".txt", "cat\n\n  \ndog\n\n", [2, 3]),
        (".txt", "\ncat\ndog", [1]),
        (".csv", "label,name\ncat,\n\n , \ndog,\n\n", [3, 4]),
    ],
)
def test_an_empty_line_is_reported(suffix: str, content: str, lines: list[int], tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}", content)
    with pytest.warns(ClipcliWarning) as warned:
        specs = load_classes(path)
    assert [spec.label for spec in specs] == ["cat", "dog"]
    assert [str(warning.message) for warning in warned] == [f"{path}:{n}: empty line left out" for n in lines]


# --- Tables --------------------------------------------------------------------------------------


def test_a_table_holds_a_class_a_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "id, Label ,name,aliases,context,prompt\n"
        '7,n01,crane,"heron|stork; egret",bird,\n'
        '8,"cat, big",,,,"a {}; sitting.|the {}."\n'
        '9,"two\nlines"\n',
    )
    assert load_classes(path) == [
        ClassSpec("n01", "crane", ("heron", "stork", "egret"), "bird", (), f"{path}:2"),
        ClassSpec("cat, big", prompts=("a {}; sitting.", "the {}."), where=f"{path}:3"),
        ClassSpec("two\nlines", where=f"{path}:5"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,aliases\ncat,\n", "1: no column named 'label'"),
        ("label;name\ncat;x\n", "1: no column named 'label'"),
        ("", "1: no column named 'label'"),
        ("label,name\ncat,x\n,y\n", "3: a class without a label"),
        ("label,name\ncat,x,y\n", "2: more cells than columns"),
        ('label,name\ncat,"x\ndog,y\n', "3: not valid CSV: unexpected end of data"),
        ('label\n"cat"s\n', "2: not valid CSV: "),
        ("label\n" + "x" * 140_000, "2: not valid CSV: field larger than field limit"),
    ],
)
def test_a_malformed_table_is_named_by_line(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", content)
    with pytest.raises(PromptError) as error:
        load_classes(path)
    assert error.value.message.startswith(f"{path}:{message}")


# --- JSON and YAML -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".json", '["cat", "big dog", 7]'),
        (".yaml", "- cat\n- big dog\n- 7\n"),
        (".yml", "[cat, big dog, '7']"),
        (".JSON", '{"cat": null, "big dog": "", "7": null}'),
        (".yaml", "cat:\nbig dog: ~\n7: null\n"),
    ],
)
def test_a_list_of_labels(suffix: str, content: str, tmp_path: Path) -> None:
    specs = load_classes(write(tmp_path / f"c{suffix}", content))
    assert [spec.names for spec in specs] == [("cat",), ("big dog",), ("7",)]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (
            ".json",
            '{"n01": "crane", "tie": ["necktie", "bow tie"], "cat": ["A cat sits.", "Cats have fur."]}',
        ),
        (".yaml", "n01: crane\ntie: [necktie, bow tie]\ncat:\n- A cat sits.\n- Cats have fur.\n"),
    ],
)
def test_a_mapping_to_a_name_aliases_or_sentences(suffix: str, content: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}", content)
    assert load_classes(path) == [
        ClassSpec("n01", name="crane", where=path),
        ClassSpec("tie", aliases=("necktie", "bow tie"), where=path),
        ClassSpec("cat", prompts=("A cat sits.", "Cats have fur."), where=path),
    ]


@pytest.mark.parametrize(
    ("items", "are_prompts"),
    [
        (["necktie", "bow tie"], False),
        (["a long tie that is worn with shirts"], True),
        (["What a tie!", "Is it a tie?"], True),
        (["A tie.", "necktie"], False),
        (["", "", "necktie"], False),
        ([], False),
    ],
)
def test_lists_of_sentences_are_prompts(items: list[str], are_prompts: bool, tmp_path: Path) -> None:
    (spec,) = load_classes(write(tmp_path / "c.json", json.dumps({"tie": items})))
    kept = tuple(filter(None, items))
    assert (spec.prompts, spec.aliases) == ((kept, ()) if are_prompts else ((), kept))


def test_a_mapping_of_everything(tmp_path: Path) -> None:
    content = """
n01:
  name: crane
  aliases: [heron, stork]
  context: bird
n02:
  aliases: lift | hoist
  prompts: ["a {} lifts; it works.", on a site]
n03: {prompt: "one {}.|two {}.", aliases: 3}
"""
    path = write(tmp_path / "c.yaml", content)
    assert load_classes(path) == [
        ClassSpec("n01", "crane", ("heron", "stork"), "bird", (), path),
        ClassSpec("n02", "", ("lift", "hoist"), "", ("a {} lifts; it works.", "on a site"), path),
        ClassSpec("n03", "", ("3",), "", ("one {}.", "two {}."), path),
    ]


def test_yaml_scalars_are_taken_as_written(tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", "- no\n- on\n- 1.10\n- 010\n- 1e3\n- 2020-01-02\n- 0x1F\n- 12:30\n")
    labels = [spec.label for spec in load_classes(path)]
    assert labels == ["no", "on", "1.10", "010", "1e3", "2020-01-02", "0x1F", "12:30"]


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".json", '{"cat":\n 1,\n}', ":3: not valid JSON: "),
        (".json", "", ":1: not valid JSON: "),
        (".json", "7", ": expected a list of labels or a mapping"),
        (".json", "[]", ": no classes in this file"),
        (".json", '["cat", null]', ": a class without a label"),
        (".json", '[" "]', ": a class without a label"),
        (".json", '[{"label": "cat"}]', ": expected a text, found {'label': 'cat'}"),
        (".json", '{"cat": true}', ": expected a text, found True"),
        (".json", '{"cat": {"aliases": {"x": 1}}}', ": expected a text, found {'x': '1'}"),
        (".json", '{"cat": {"alias": ["x"]}}', ": class 'cat': unknown key 'alias'"),
        (".json", '{"cat": {"label": "dog"}}', ": class 'cat': unknown key 'label'"),
        (".json", '{"cat": 1, "cat": 2}', ": label 'cat' is given twice"),
        (".yaml", "cat: a\ndog: [b\n", ":3: not valid YAML: "),
        (".yaml", "cat: a\n\tdog: b\n", ":2: not valid YAML: "),
        (".yaml", "cat: a\ndog: \x07\n", ":2: not valid YAML: "),
        (".yaml", "? [a, b]\n: x\n", ":1: not valid YAML: "),
        (".yaml", "", ": expected a list of labels or a mapping"),
        (".yaml", "- cat\n-\n", ": a class without a label"),
    ],
)
def test_malformed_json_and_yaml(suffix: str, content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}", content)
    with pytest.raises(PromptError) as error:
        load_classes(path)
    assert error.value.message.startswith(f"{path}{message}")


@pytest.mark.parametrize(
    "content",
    [
        "cat: !!python/object/apply:os.mkdir [{}]\n",
        "- !!python/object/apply:os.mkdir [{}]\n",
        "!!python/object/apply:os.mkdir [{}]\n",
        "cat: !!python/name:os.system\n",
    ],
)
def test_yaml_tags_are_refused_not_run(content: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(PromptError, match="not valid YAML"):
        load_classes(write(tmp_path / "c.yaml", content.replace("{}", str(made))))
    assert not made.exists()


# --- Any class file ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json", ".yaml"])
def test_a_file_that_is_not_utf8_is_named_by_line(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}", "label\ncat\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(PromptError) as error:
        load_classes(path)
    assert error.value.message == f"{path}:3: not UTF-8 text"


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_a_file_without_classes_is_an_error(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"c{suffix}", "#label\n" if suffix == ".txt" else "label\n")
    with pytest.raises(PromptError, match="no classes in this file"):
        load_classes(path)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("cifar", "Did you mean cifar10?"),
        ("imagnet", "Did you mean imagenet?"),
        ("missing.txt", "`clipcli classes list`"),
        ("cat,dog" * 99, "`clipcli"),
    ],
)
def test_an_unknown_class_list_suggests_a_near_name(reference: str, hint: str) -> None:
    with pytest.raises(PromptError) as error:
        load_classes(reference)
    assert error.value.message == f"no class list or file named {reference!r}"
    assert error.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("suffix", "content", "places"),
    [
        (".txt", "cat\ndog\ncat: kitty\n", (3, 1)),
        (".csv", 'label\n"cat"\ndog\ncat\n', (4, 2)),
        (".yaml", "cat: a\ndog: b\ncat: c\n", (3, 1)),
        (".yaml", "- dog\n- cat\n- cat\n", (3, 2)),
    ],
)
def test_a_repeated_label_names_both_lines(
    suffix: str, content: str, places: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / f"c{suffix}", content)
    with pytest.raises(PromptError) as error:
        build_prompts(load_classes(path), ["{}"])
    assert error.value.message == f"{path}:{places[0]}: label 'cat' is given twice"
    assert error.value.hint == f"It is first given in {path}:{places[1]}."


def test_a_repeated_label_of_the_command_line_names_both_places() -> None:
    with pytest.raises(PromptError, match=r"^label 3: label 'cat' is given twice$") as error:
        check_classes(parse_labels("cat,dog,cat"))
    assert error.value.hint == "It is first given in label 1."


def test_a_repeated_label_of_the_python_api_needs_no_place() -> None:
    with pytest.raises(PromptError, match=r"^labels: label 'cat' is given twice$") as error:
        check_classes([ClassSpec("cat"), ClassSpec("cat")])
    assert error.value.hint == ""


def test_labels_that_differ_in_case_are_two() -> None:
    with pytest.warns(ClipcliWarning, match="differ only in case"):
        assert build_prompts(parse_labels("cat,Cat"), ["{}"]).classnames == ("cat", "Cat")


def test_no_label_is_an_error() -> None:
    with pytest.raises(PromptError, match="no labels given"):
        build_prompts([], ["{}"])
