"""Class lists, templates and embeddings made to hang, to fill the memory or to end the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PEAK_MEGABYTES

from clipcli.errors import ClipcliWarning, PromptError
from clipcli.prompts.class_lists import load_classes, parse_labels
from clipcli.prompts.templates import build_prompts, load_templates
from clipcli.prompts.text_files import MAX_BYTES, MAX_TEXT

DEEP = 100_000


def refusal(function: Callable[[str], object], path: Path) -> str:
    """The message of the error, which must come at once."""
    start = time.perf_counter()
    with pytest.raises(PromptError) as error:
        function(str(path))
    assert time.perf_counter() - start < 10
    assert len(error.value.message) < len(str(path)) + 200
    assert error.value.message.startswith(str(path))
    return error.value.message.removeprefix(str(path))


def load_prompts(path: str) -> object:
    return build_prompts(load_classes(path), ["{}"])


def load_template_file(path: str) -> object:
    return load_templates([path])


# --- Nesting and aliases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".json", "[" * DEEP, ": nested too deeply"),
        (".json", "[" * DEEP + "]" * DEEP, ": nested too deeply"),
        (".json", '{"a":' * DEEP, ": nested too deeply"),
        (".json", '{"cat": ' + "[" * 500 + "]" * 500 + "}", ": expected a text, found [[[[[[[...]]]]]]]"),
        (".yaml", "[" * DEEP, ":1: nested too deeply"),
        (".yaml", "- " * DEEP, ":1: nested too deeply"),
        (".yaml", "{a: " * DEEP, ":1: nested too deeply"),
        (".yaml", "? " * DEEP, ":1: nested too deeply"),
        (".yaml", "\n".join(" " * depth + "a:" for depth in range(500)), ":65: nested too deeply"),
    ],
    ids=range(9),
)
def test_deep_nesting_is_refused(suffix: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text(content)
    assert refusal(load_prompts, path) == message


def bomb(line: str, levels: int = 40) -> str:
    """Each level names the one below twice, so that the last stands for 2 ** levels."""
    return "n0: &n0 {a: b}\n" + "\n".join(line.format(n=n, below=n - 1) for n in range(1, levels))


@pytest.mark.parametrize(
    "content",
    [
        bomb("n{n}: &n{n} [*n{below}, *n{below}]"),
        bomb("n{n}: &n{n} {{aliases: *n{below}, prompts: *n{below}}}"),
        bomb("n{n}: &n{n} {{<<: [*n{below}, *n{below}]}}"),
        bomb("? &n{n} [*n{below}, *n{below}]\n: x"),
        "list: &list [" + "x, " * 10_000 + "]\n" + "".join(f"c{n}: *list\n" for n in range(10_000)),
    ],
    ids=["lists", "mappings", "merges", "keys", "one long list"],
)
def test_aliases_that_unfold_to_a_flood_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    assert "aliases expand to too many entries" in refusal(load_prompts, path)


@pytest.mark.parametrize(
    "content", ["cat: &a [*a]\n", "&a [*a]\n", "cat: &a {aliases: *a}\n", "? &a [*a]\n: x\n", "cat: *b\n"]
)
def test_aliases_of_themselves_and_of_nothing_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    refusal(load_prompts, path)


def test_aliases_as_people_use_them_work(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("crane: &bird {aliases: [heron], context: bird}\ncrow: {<<: *bird, name: raven}\n")
    assert [spec.names for spec in load_classes(str(path))] == [
        ("crane bird", "heron bird"),
        ("raven bird", "heron bird"),
    ]


@pytest.mark.parametrize("tag", ["!!int", "!!float", "!!bool", "!!timestamp", "!!binary", "!!set", "!mine"])
def test_yaml_tags_are_refused(tag: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"cat:\n- {tag} x\n")
    assert refusal(load_prompts, path).startswith(":2: not valid YAML: ")


# --- Size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "suffix"),
    [
        *((load_prompts, suffix) for suffix in (".txt", ".csv", ".json", ".yaml")),
        (load_template_file, ".txt"),
    ],
)
def test_a_file_of_a_gigabyte_is_not_read(
    load: Callable[[str], object], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"c{suffix}"
    path.touch()
    os.truncate(path, 10**9)
    monkeypatch.setattr(Path, "read_text", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert refusal(load, path) == ": too large: 1000 MB, the limit is 256 MB"
    assert MAX_BYTES == 256_000_000


@pytest.mark.parametrize("load", [load_prompts, load_template_file])
def test_a_pipe_or_device_is_not_read(load: Callable[[str], object], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        assert refusal(load, path) == ": not a regular file"


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json", ".yaml"])
def test_a_text_that_no_model_reads_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    for length in (MAX_TEXT, MAX_TEXT + 1):
        label = "x" * length
        text = {".csv": f"label\n{label}\n", ".json": json.dumps([label]), ".yaml": f"- {label}\n"}
        path.write_text(text.get(suffix, label))
        if length == MAX_TEXT:
            assert load_prompts(str(path))
    assert "a text of 4097 characters, the limit is 4096" in refusal(load_prompts, path)


def test_a_template_that_no_model_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("a {}\n" + "x" * MAX_TEXT + "{}")
    assert refusal(load_template_file, path) == ":2: a text of 4098 characters, the limit is 4096"
    with pytest.raises(PromptError, match=r"^templates: a text of 4098 characters"):
        load_templates(["{}" + "x" * MAX_TEXT])


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".txt", b"cat\nd\0og\n"),
        (".txt", "cat\ndog\n".encode("utf-16-le")),
        (".csv", b"label\nd\0og\n"),
        (".json", rb'["d\u0000og"]'),
        (".json", rb'["\ud800"]'),
        (".json", rb'{"cat": {"aliases": ["\udfff"]}}'),
        (".yaml", rb'- "\0"'),
    ],
)
def test_nul_and_half_characters_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_bytes(content)
    assert "not UTF-8 text: " in refusal(load_prompts, path)


def test_half_characters_of_the_command_line_are_refused() -> None:
    with pytest.raises(PromptError, match=r"^label 2: not UTF-8 text"):
        build_prompts(parse_labels("cat,caf\udce9"), ["{}"])


def test_numbers_of_json_are_taken_as_written(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(f"[7, 1.10, 1e999, -0, {'9' * 1000}, NaN]")
    labels = [spec.label for spec in load_classes(str(path))]
    assert labels == ["7", "1.10", "1e999", "-0", "9" * 1000, "NaN"]


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,label,id,Label\n1,cat,2,dog\n")
    assert refusal(load_prompts, path) == ":1: there are two columns named 'label'"


@pytest.mark.parametrize(("suffix", "line"), [(".txt", "\n"), (".csv", " , \n")])
def test_a_flood_of_empty_lines_is_told_in_few_words(suffix: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text("label,name\n" + line * 100_000 + "dog")
    with pytest.warns(ClipcliWarning) as warned:
        assert load_classes(str(path))[-1].label == "dog"
    assert len(warned) == 11
    assert str(warned[-1].message) == f"{path}: 99990 more empty lines left out"


MILLION = """
import sys
from clipcli.prompts.class_lists import load_classes
from clipcli.prompts.templates import build_prompts

prompt_set = build_prompts(load_classes(sys.argv[1]), ["a photo of a {}."])
assert len(prompt_set.classnames) == 1_000_000
assert prompt_set.classnames[123_456] == "label 123456"
assert prompt_set.prompts[-1] == ("a photo of a label 999999.",)
print(peak_megabytes())
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_a_million_labels_take_seconds(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("\n".join(f"label {n}" for n in range(1_000_000)))
    command = [sys.executable, "-c", PEAK_MEGABYTES + MILLION, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 1024
