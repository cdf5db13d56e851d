"""Whatever a class list, template or embeddings file holds: the right result, or an error that names it."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from clipcli.errors import ClipcliWarning, PromptError, UsageError
from clipcli.prompts.class_lists import ClassSpec, load_classes, parse_labels
from clipcli.prompts.templates import PLACEHOLDER, build_prompts, fill, load_templates
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.classifier_file import load_classifier, save_classifier

SUFFIXES = (".txt", ".csv", ".json", ".yaml")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], Path]:
    """Write a file of this suffix over the last one."""
    folder = tmp_path_factory.mktemp("fuzz")

    def write(suffix: str, content: bytes) -> Path:
        path = folder / f"c{suffix}"
        path.write_bytes(content)
        return path

    return write


def read(path: Path) -> list[ClassSpec]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClipcliWarning)
        return load_classes(str(path))


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")
WORDS = ["{}", "{label}", "<>", "no", "null", "1.10", "0x1F", "2020-01-02", "<<", "---", "cat", "\U0001f9c0"]
PIECES = st.sampled_from([*",;:|#\"'{}[]<>-~&*!%@`=\\ \t\x0c\x85\u00a0\u2028\ufeff", *WORDS])
TEXTS = st.lists(CHARACTERS | PIECES, min_size=1, max_size=12).map(lambda parts: "".join(parts).strip())
NAMES = TEXTS.filter(bool)
ONE_LINE = NAMES.filter(lambda text: "\n" not in text)


def unique(names: SearchStrategy[str], most: int = 8) -> SearchStrategy[list[str]]:
    return st.lists(names, min_size=1, max_size=most, unique=True)


# --- What is written is read ---------------------------------------------------------------------


@given(
    labels=unique(ONE_LINE.filter(lambda text: ":" not in text and text[0] not in "#\ufeff")),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    ends=st.booleans(),
    mark=st.booleans(),
)
def test_lines(store: Any, labels: list[str], newline: str, ends: bool, mark: bool) -> None:
    text = newline.join(labels) + newline * ends
    path = store(".txt", text.encode("utf-8-sig" if mark else "utf-8"))
    assert read(path) == [ClassSpec(label, where=f"{path}:{n}") for n, label in enumerate(labels, 1)]


@given(label=ONE_LINE, aliases=unique(ONE_LINE.filter(lambda text: "," not in text)))
def test_aliases_of_a_line(store: Any, label: str, aliases: list[str]) -> None:
    assume(":" not in label and label[0] not in "#\ufeff")
    (spec,) = read(store(".txt", f"{label}: {', '.join(aliases)}".encode()))
    assert (spec.label, spec.aliases) == (label, tuple(aliases))


def without(marks: str) -> SearchStrategy[str]:
    return NAMES.filter(lambda text: not set(text) & set(marks))


SPECS = st.lists(
    st.builds(
        ClassSpec,
        label=NAMES,
        name=st.just("") | NAMES,
        aliases=st.lists(without("|;"), max_size=3).map(tuple),
        context=st.just("") | NAMES,
        prompts=st.lists(without("|"), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda spec: spec.label,
)


def without_places(specs: list[ClassSpec]) -> list[ClassSpec]:
    return [replace(spec, where="") for spec in specs]


@given(specs=SPECS, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_tables(store: Any, specs: list[ClassSpec], quoting: int) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["context", "Label", "name", "prompts", "aliases", "id"])
    for number, spec in enumerate(specs):
        row = [spec.context, spec.label, spec.name, "|".join(spec.prompts), ";".join(spec.aliases), number]
        writer.writerow(row)
    assert without_places(read(store(".csv", stream.getvalue().encode()))) == specs


def as_json(content: Any, plain: bool) -> bytes:
    return json.dumps(content, ensure_ascii=plain).encode()


def as_yaml(content: Any, plain: bool) -> bytes:
    folds = set(str(content)) & set("\\")  # as repr shows line ends that YAML would fold
    return yaml.safe_dump(content, allow_unicode=not plain and not folds, sort_keys=False).encode()


WRITERS = st.sampled_from([(".json", as_json), (".yaml", as_yaml)])


@given(labels=unique(NAMES), writer=WRITERS, plain=st.booleans())
def test_lists(store: Any, labels: list[str], writer: Any, plain: bool) -> None:
    suffix, write = writer
    assert [spec.label for spec in read(store(suffix, write(labels, plain)))] == labels


@given(specs=SPECS, writer=WRITERS, plain=st.booleans())
def test_mappings(store: Any, specs: list[ClassSpec], writer: Any, plain: bool) -> None:
    suffix, write = writer
    content = {
        spec.label: {
            "name": spec.name,
            "aliases": list(spec.aliases),
            "context": spec.context or None,
            "prompts": list(spec.prompts),
        }
        for spec in specs
    }
    assert without_places(read(store(suffix, write(content, plain)))) == specs


@given(text=st.text(alphabet=st.sampled_from("ab ,\t\n") | CHARACTERS, max_size=40))
def test_labels_of_the_command_line(text: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ClipcliWarning)
        try:
            labels = [spec.label for spec in parse_labels(text)]
        except PromptError as error:  # a list with another separator, or a file that is here
            is_list = "," not in text and "separated by commas" in error.message
            assert is_list or ("this is a file" in error.message and Path(text.strip()).is_file())
            return
    parts = text.split(",")
    assert labels == [part.strip() for part in parts if part.strip()]
    empty = [one for one in warned if "is empty" in str(one.message)]
    assert len(labels) + len(empty) == len(parts)
    assert len(warned) - len(empty) <= 1


# --- Any bytes -----------------------------------------------------------------------------------

# fmt: off
GRAMMAR = {
    ".txt": ["cat", "dog", ":", ",", "#", "\n", "\r", " ", "\n\n", "\ufeff", "\u2028"],
    ".csv": ["label", "name", "aliases", "prompt", "cat", ",", '"', '""', "\n", "\r\n", "|", ";", " "],
    ".json": [
        "[", "]", "{", "}", ":", ",", '"cat"', '"dog"', '"aliases"', '"prompts"', '"A cat sits."', "7",
        "null", "true", "1e999", "NaN", '"\\ud800"', '"\\u0000"', '"', "\\", "9" * 5000, "\n",
    ],
    ".yaml": [
        "- ", "? ", ": ", "cat", "dog", "&a ", "*a", "&b ", "*b", "<<: ", "{", "}", "[", "]", ", ", "\n",
        "  ", "!!int ", "!!python/name:os.system ", "!!binary ", "!!set ", "!!omap ", "!!timestamp ", "!",
        "!!null ", "| ", "> ", "'", '"', "\\", "%TAG ! x", "%YAML 1.1", "---", "...", "#", "~", "@", "`",
        "=", "\t", "7", "aliases: ", "prompts: ", "name: ", "\\ud800", "\\x00", "\u2028", "\x07",
    ],
}
# fmt: on


def contents(suffix: str) -> SearchStrategy[bytes]:
    """Bytes, and texts made of what means something in the format."""
    words = st.lists(st.sampled_from(GRAMMAR[suffix]), max_size=30).map("".join)
    damaged = st.tuples(words, st.binary(max_size=3), words).map(
        lambda parts: parts[0].encode() + parts[1] + parts[2].encode()
    )
    return words.map(str.encode) | damaged | st.binary(max_size=60)


FILES = st.sampled_from(SUFFIXES).flatmap(lambda suffix: st.tuples(st.just(suffix), contents(suffix)))


@given(file=FILES)
@example(file=(".yaml", b"cat: !!int x"))
@example(file=(".yaml", b"? &a [*a]\n: x"))
@example(file=(".json", b"[" + b"9" * 5000 + b"]"))
@example(file=(".json", b"[" * 100_000))
@example(file=(".txt", b"c\0a\0t\0"))
def test_any_class_file(store: Any, file: tuple[str, bytes]) -> None:
    path = store(*file)
    try:
        specs = read(path)
        prompt_set = build_prompts(specs, ["a {}.", "the {}"])
    except PromptError as error:
        assert str(path) in error.message
        assert len(error.message) < len(str(path)) + 400
        return
    assert prompt_set.classnames == tuple(spec.label for spec in specs)
    assert all(label and label == label.strip() for label in prompt_set.classnames)
    assert all(prompts and all(text.strip() for text in prompts) for prompts in prompt_set.prompts)
    prompt_set.classnames[0].encode()
    if file[0] == ".txt":
        lines = file[1].decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        kept = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert list(prompt_set.classnames) == [line.partition(":")[0].strip() for line in kept]


TEMPLATES = st.lists(PIECES | CHARACTERS | st.just("a photo of a {}"), max_size=10).map("".join)


@given(template=TEMPLATES, name=TEXTS)
def test_fill_changes_placeholders_only(template: str, name: str) -> None:
    rest = PLACEHOLDER.split(template)
    assert fill(template, name) == name.join(rest)
    assert len(rest) == 1 + sum(template.count(mark) for mark in ("{}", "{c}", "{label}", "<>"))


@given(
    content=contents(".txt") | st.lists(TEMPLATES, max_size=6).map(lambda lines: "\n".join(lines).encode())
)
def test_any_template_file(store: Any, content: bytes) -> None:
    path = store(".txt", content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipcliWarning)
            templates = load_templates([str(path)])
    except PromptError as error:
        assert str(path) in error.message
        return
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if not line.lstrip().startswith("#")]
    assert list(templates) == list(dict.fromkeys(filter(None, lines)))
    assert all(PLACEHOLDER.search(template) for template in templates)


@given(specs=SPECS, templates=unique(TEMPLATES.filter(PLACEHOLDER.search), 4))
def test_every_name_goes_through_every_template(specs: list[ClassSpec], templates: list[str]) -> None:
    prompt_set = build_prompts(specs, templates)
    assert prompt_set.classnames == tuple(spec.label for spec in specs)
    for spec, prompts in zip(specs, prompt_set.prompts, strict=True):
        expected = {fill(text, name) for name in spec.names for text in spec.prompts or templates}
        assert len(prompts) == len(expected)
        assert set(prompts) == expected


# --- Class embeddings ----------------------------------------------------------------------------

CLASSIFIER = Classifier(
    classnames=("cat", "dog"),
    class_embeddings=np.array([[0.6, 0.8, 0.0], [0.0, -1.0, 0.0]], np.float32),
    logit_scale=100.0,
    logit_bias=None,
    activation="softmax",
    fingerprint="abc",
    provenance={"model": "nano"},
    prompts=(("a cat",), ("a dog",)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def loaded_or_refused(path: Path) -> Classifier | None:
    try:
        loaded = load_classifier(path)
    except UsageError as error:
        assert str(path) in error.message
        return None
    assert loaded.class_embeddings.shape[0] == len(loaded.classnames)
    assert loaded.class_embeddings.dtype == np.float32
    assert np.isfinite(loaded.class_embeddings).all()
    assert np.isfinite(loaded.logit_scale)
    assert loaded.logit_bias is None or np.isfinite(loaded.logit_bias)
    assert all(isinstance(text, str) for text in (*loaded.classnames, *sum(loaded.prompts, ())))
    return loaded


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "c.safetensors"
    save_classifier(CLASSIFIER, path)
    return path.read_bytes()


@given(data=st.data())
def test_damaged_embeddings(store: Any, saved: bytes, data: st.DataObject) -> None:
    content = bytearray(saved)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    loaded = loaded_or_refused(store(".safetensors", bytes(content[:cut])))
    assert cut == len(content) or loaded is None


@given(content=st.binary(max_size=80))
def test_any_bytes_are_no_embeddings(store: Any, content: bytes) -> None:
    assert loaded_or_refused(store(".safetensors", content)) is None


FIELDS = ["classnames", "prompts", "logit_scale", "logit_bias", "activation", "fingerprint", "provenance"]


@given(field=st.sampled_from(FIELDS), value=JSON)
@example(field="classnames", value="ab")
@example(field="logit_scale", value=10**400)
@example(field="logit_scale", value=float("nan"))
@example(field="fingerprint", value=None)
@example(field="prompts", value=["ab", "cd"])
def test_any_metadata(store: Any, saved: bytes, field: str, value: Any) -> None:
    length = int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["clipcli"]) | {field: value}
    header["__metadata__"]["clipcli"] = json.dumps(metadata)
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + saved[8 + length :]
    loaded = loaded_or_refused(store(".safetensors", content))
    if loaded is not None and field in ("classnames", "activation", "fingerprint"):
        assert json.loads(json.dumps(getattr(loaded, field))) == value


@pytest.mark.parametrize("kind", ["BF16", "F16", "F64", "I32", "U8", "F8_E4M3", "BOOL"])
def test_embeddings_of_another_type_are_refused(store: Any, saved: bytes, kind: str) -> None:
    path = store(".safetensors", saved.replace(b'"F32"', f'"{kind}"'.encode()).replace(b"[2,3]", b"[2,3]"))
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)


def test_deep_metadata_is_refused(store: Any, saved: bytes) -> None:
    header = {"__metadata__": {"clipcli": "[" * 100_000}}
    text = json.dumps(header).encode()
    path = store(".safetensors", len(text).to_bytes(8, "little") + text)
    with pytest.raises(UsageError, match="is damaged"):
        load_classifier(path)
