"""Words to prompts: template sets, class lists, and the `PromptSet` that they make together.

A template is a sentence with a placeholder for the class name: `{}`, `{c}`, `{label}` or `<>`;
any other brace is literal. A class list says which classes there are and by which names they go.
"""

from __future__ import annotations

import csv
import difflib
import importlib.util
import io
import json
import re
import reprlib
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from clipcli.errors import ClipcliWarning, PromptError

PLACEHOLDER = re.compile(r"\{\}|\{c\}|\{label\}|<>")
DEFAULT_TEMPLATES = "imagenet7"

_PACKAGED = Path(__file__).parent / "_prompts"  # in a wheel
LIBRARY = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "prompts"
"""Where the shipped template sets and class lists lie."""

_FROM_OPEN_CLIP = {
    "imagenet7": ("SIMPLE_IMAGENET_TEMPLATES", "the seven templates that did best together on ImageNet"),
    "imagenet80": ("OPENAI_IMAGENET_TEMPLATES", "the 80 templates of the CLIP paper for ImageNet"),
}
MAX_BYTES = 256_000_000
"""Larger class and template files are refused before they are read."""

MAX_TEXT = 4096
"""Longer labels, names and templates are refused: models read some 77 tokens, and long words take minutes."""

_SENTENCE_WORDS = 6
_MAX_DEPTH = 64
_MAX_ALIASED = 1_000_000  # nodes that the aliases of a YAML file stand for
_SHOWN_EMPTY = 10
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_CLASS_KEYS = {"name", "aliases", "context", "prompt", "prompts"}


@dataclass(frozen=True)
class PromptSet:
    """The prompts of each class, in class order: `prompts[c]` are the texts for `classnames[c]`."""

    classnames: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of a class list.

    Args:
        label: what the output says.
        name: what the prompts say; the label where empty.
        aliases: further names, averaged into the class.
        context: a word that settles which meaning is meant: crane + bird.
        prompts: sentences used in place of the templates; placeholders in them are filled.
        where: file and line, for messages.
    """

    label: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    context: str = ""
    prompts: tuple[str, ...] = ()
    where: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that prompts are made with, the main one first, context added."""
        names = dict.fromkeys((self.name or self.label, *self.aliases))
        return tuple(f"{name} {self.context}".strip() for name in names)


# --- Templates -----------------------------------------------------------------------------------


def fill(template: str, name: str) -> str:
    """Put a class name into every placeholder of a template."""
    return PLACEHOLDER.sub(lambda _: name, template)


def add_concept(template: str, concept: str) -> str:
    """Add a hint such as "a type of pet" at the end of a template.

    Source: Radford et al. 2021, section 3.1.4: "A photo of a {label}, a type of pet."
    """
    body, stop = (template[:-1], ".") if template.endswith(".") else (template, "")
    return f"{body}, {concept.strip().rstrip('.')}{stop}"


def list_template_sets() -> dict[str, str]:
    """The shipped template sets: name -> one-line description."""
    shipped = {path.stem: _description(path) for path in sorted((LIBRARY / "templates").glob("*.txt"))}
    return shipped | {name: text for name, (_, text) in _FROM_OPEN_CLIP.items()}


def load_templates(references: Sequence[str] = ()) -> tuple[str, ...]:
    """Resolve `--templates` values and join them: each a set's name, a file, or a template.

    Raises:
        PromptError: no such set or file, or a template that is too long or has no placeholder.
    """
    found = [template for reference in references or (DEFAULT_TEMPLATES,) for template in _resolve(reference)]
    return tuple(dict.fromkeys(found))


def _resolve(reference: str) -> tuple[str, ...]:
    if reference in _FROM_OPEN_CLIP:
        return _open_clip_templates(_FROM_OPEN_CLIP[reference][0])
    shipped = LIBRARY / "templates" / f"{reference}.txt"
    if re.fullmatch(r"[\w-]+", reference) and _is_file(shipped):
        return _read_templates(shipped)
    if PLACEHOLDER.search(reference):
        _check_text(reference, "--templates")
        return (reference,)
    if _is_file(Path(reference)):
        return _read_templates(Path(reference))
    _refuse_pipe(Path(reference))
    raise PromptError(*_unknown_templates(reference))


def _unknown_templates(reference: str) -> tuple[str, str]:
    if " " in reference:
        return f"template without a placeholder: {reference!r}", "Write {} where the class name belongs."
    near = difflib.get_close_matches(reference, list_template_sets(), 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"no template set or file named {reference!r}", f"{hint}`clipcli templates list` shows the sets."


def _read_templates(path: Path) -> tuple[str, ...]:
    templates = []
    for number, line in _content_lines(_read_text(path), str(path)):
        _check_text(line, f"{path}:{number}")
        if not PLACEHOLDER.search(line):
            raise PromptError(
                f"{path}:{number}: template without a placeholder: {_SHORT.repr(line)}",
                "Write {} where the class name belongs.",
            )
        templates.append(line)
    if not templates:
        raise PromptError(f"{path}: no templates in this file")
    return tuple(templates)


def _open_clip_templates(attribute: str) -> tuple[str, ...]:
    functions: Iterable[Callable[[str], str]] = getattr(_open_clip_metadata(), attribute)
    return tuple(function("{}") for function in functions)


def _open_clip_metadata() -> ModuleType:
    """`open_clip.zero_shot_metadata`, loaded by itself: importing all of open_clip takes seconds."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.origin is not None
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Class lists ---------------------------------------------------------------------------------


def list_class_lists() -> dict[str, str]:
    """The shipped class lists: name -> one-line description."""
    shipped = {path.stem: _description(path) for path in sorted((LIBRARY / "classes").glob("*.txt"))}
    return shipped | {"imagenet": "ImageNet-1k, 1000 classes, with open_clip's curated names"}


def parse_labels(text: str) -> list[ClassSpec]:
    """The value of `--labels`: labels separated by commas; empty ones are reported and left out."""
    specs = []
    for number, part in enumerate(text.split(","), 1):
        if part.strip():
            specs.append(ClassSpec(part.strip(), where=f"--labels, label {number}"))
        else:
            _warn(f"--labels: label {number} is empty and was left out")
    return specs


def load_classes(reference: str) -> list[ClassSpec]:
    """Read a class list: the name of a shipped one, or a .txt, .csv, .json, .yaml file.

    Raises:
        PromptError: no such list, unreadable, malformed (with its line where there is one) or empty.
    """
    if reference == "imagenet":
        return _imagenet_classes()
    shipped = LIBRARY / "classes" / f"{reference}.txt"
    path = shipped if re.fullmatch(r"[\w-]+", reference) and _is_file(shipped) else Path(reference)
    if not _is_file(path):
        _refuse_pipe(path)
        near = difflib.get_close_matches(reference, list_class_lists(), 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise PromptError(
            f"no class list or file named {reference!r}", f"{hint}`clipcli classes list` shows the lists."
        )
    readers = {".csv": _read_csv, ".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml}
    specs = readers.get(path.suffix.lower(), _read_lines)(_read_text(path), str(path))
    if not specs:
        raise PromptError(f"{path}: no classes in this file")
    return specs


def check_classes(specs: Sequence[ClassSpec]) -> None:
    """Refuse an empty list, texts that no model can read, and labels that stand twice, naming both places.

    Raises:
        PromptError: any of these.
    """
    if not specs:
        raise PromptError("no labels given", 'Use --labels "cat,dog", --label or --classes FILE.')
    for spec in specs:
        for text in (spec.label, spec.name, spec.context, *spec.aliases, *spec.prompts):
            _check_text(text, spec.where or "labels")
    _refuse_repeated((spec.label, spec.where) for spec in specs)


def _refuse_repeated(labels: Iterable[tuple[str, str]]) -> None:
    """Each label comes with its place: a file and line, a file, or nothing."""
    first: dict[str, str] = {}
    for label, where in labels:
        if label in first:
            hint = f"First in {first[label]}." if first[label] not in ("", where) else ""
            raise PromptError(f"{where or 'labels'}: label {_SHORT.repr(label)} stands twice", hint)
        first[label] = where


def _check_text(text: str, where: str) -> None:
    """Every text that goes to a model and into the output passes here."""
    if len(text) > MAX_TEXT:
        raise PromptError(f"{where}: a text of {len(text)} characters, the limit is {MAX_TEXT}")
    if "\0" in text or (not text.isascii() and _LONE_SURROGATE.search(text)):
        raise PromptError(f"{where}: not UTF-8 text: {_SHORT.repr(text)}", "Save the file as UTF-8.")


def _read_lines(text: str, where: str) -> list[ClassSpec]:
    """.txt: a label a line; `label: alias, alias`."""
    specs = []
    for number, line in _content_lines(text, where):
        label, _, aliases = line.partition(":")
        if not label.strip():
            raise PromptError(f"{where}:{number}: no label before the colon")
        specs.append(ClassSpec(label.strip(), aliases=_split(aliases), where=f"{where}:{number}"))
    return specs


def _read_csv(text: str, where: str) -> list[ClassSpec]:
    """.csv: columns label, and any of name, aliases, context, prompt; several values parted by `|` or `;`."""
    rows = csv.reader(io.StringIO(text.rstrip("\n")), strict=True)
    try:
        columns = [column.strip().lower() for column in next(rows, ())]
        _check_columns(columns, f"{where}:1")
        specs, empty = [], _EmptyLines(where)
        for cells in rows:
            if spec := _csv_spec(columns, cells, f"{where}:{rows.line_num}"):
                specs.append(spec)
            else:
                empty.add(rows.line_num)
    except csv.Error as error:
        raise PromptError(f"{where}:{rows.line_num}: not valid CSV: {error}") from None
    empty.report_others()
    return specs


def _check_columns(columns: list[str], where: str) -> None:
    if "label" not in columns:
        found = ", ".join(filter(None, columns))[:MAX_TEXT] or "nothing"
        raise PromptError(f"{where}: no column named 'label'", f"Found: {found}.")
    for key in sorted({"label", *_CLASS_KEYS}):
        if columns.count(key) > 1:
            raise PromptError(f"{where}: column {key!r} stands twice")


def _csv_spec(columns: list[str], cells: list[str], where: str) -> ClassSpec | None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise PromptError(f"{where}: more cells than columns", "Put a cell that holds a comma in quotes.")
    known = {key: cell for key, cell in zip(columns, cells, strict=False) if key in {"label", *_CLASS_KEYS}}
    if not any(cell.strip() for cell in known.values()):
        return None
    return _spec(known.get("label"), known, where)


def _read_json(text: str, where: str) -> list[ClassSpec]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated((key, where) for key, _ in pairs)
        return dict(pairs)

    try:
        content = json.loads(  # numbers as they are written: 1.10 is a label
            text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str
        )
    except json.JSONDecodeError as error:
        raise PromptError(f"{where}:{error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise PromptError(f"{where}: nested too deeply") from None
    return _from_content(content, where)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where it was built


class _TextLoader(_Loader):  # type: ignore[misc]
    """Scalars as they are written, but null: `no`, `1.10` and `010` are labels, no boolean and no numbers."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_TextLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.endswith((":null", ":str", ":seq", ":map"))
}


def _read_yaml(text: str, where: str) -> list[ClassSpec]:
    try:
        _check_yaml(text, where)
        loader = _TextLoader(text)
        node = loader.get_single_node()
        _refuse_repeated((key.value, f"{where}:{key.start_mark.line + 1}") for key in _label_nodes(node))
        content = None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        raise PromptError(f"{where}:{line}: not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PromptError(f"{where}:{line}: not valid YAML: {str(error.problem)[:MAX_TEXT]}") from None
    return _from_content(content, where)


def _check_yaml(text: str, where: str) -> None:
    """Refuse deep nesting, on which composing ends the process, and aliases that unfold to a flood."""
    open_: list[tuple[str | None, int]] = []  # anchors of the collections around, and nodes before each
    sizes: dict[str | None, int] = {}
    nodes = aliased = 0
    event: Any
    for event in yaml.parse(text, Loader=_TextLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            aliased += sizes.get(event.anchor, 1)
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.pop(event.anchor, None)
                open_.append((event.anchor, nodes))
        if len(open_) > _MAX_DEPTH or aliased > _MAX_ALIASED:
            reason = "nested too deeply" if len(open_) > _MAX_DEPTH else "aliases stand for too much"
            raise PromptError(f"{where}:{event.start_mark.line + 1}: {reason}")


def _label_nodes(node: yaml.Node | None) -> list[yaml.ScalarNode]:
    if isinstance(node, yaml.MappingNode):
        labels = [key for key, _ in node.value]
    else:
        labels = node.value if isinstance(node, yaml.SequenceNode) else []
    return [label for label in labels if isinstance(label, yaml.ScalarNode)]


def _from_content(content: Any, where: str) -> list[ClassSpec]:
    """.json and .yaml: a list of labels, or label -> name | aliases | sentences | {name, aliases, ...}."""
    if isinstance(content, list):
        return [_spec(label, {}, where) for label in content]
    if isinstance(content, dict):
        return [_spec(label, _fields(value, label, where), where) for label, value in content.items()]
    raise PromptError(f"{where}: expected a list of labels or a mapping from label to names")


def _fields(value: Any, label: Any, where: str) -> dict[str, Any]:
    if isinstance(value, list):
        return {"prompts" if _are_sentences(value) else "aliases": value}
    if not isinstance(value, dict):
        return {"name": value}
    unknown = sorted(map(str, set(value) - _CLASS_KEYS))
    if unknown:
        raise PromptError(
            f"{where}: class {_SHORT.repr(label)}: unknown key {_SHORT.repr(unknown[0])}",
            "Known: name, aliases, context, prompts.",
        )
    return value


def _are_sentences(items: list[Any]) -> bool:
    """CuPL-style lists hold sentences, other lists hold aliases: most items end in a stop or are long."""
    sentences = [
        text
        for text in items
        if isinstance(text, str)
        and (text.rstrip().endswith((".", "!", "?")) or len(text.split()) >= _SENTENCE_WORDS)
    ]
    return len(sentences) * 2 > len(items)


def _spec(label: Any, fields: dict[str, Any], where: str) -> ClassSpec:
    text = _text(label, where)
    if not text:
        raise PromptError(f"{where}: a class without a label")
    return ClassSpec(
        label=text,
        name=_text(fields.get("name"), where),
        aliases=_texts(fields.get("aliases"), where, separators="|;"),
        context=_text(fields.get("context"), where),
        prompts=_texts(fields.get("prompts") or fields.get("prompt"), where, separators="|"),
        where=where,
    )


def _text(value: Any, where: str) -> str:
    """A text or nothing; anything else stands where no text was expected."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PromptError(f"{where}: expected a text, found {_SHORT.repr(value)}")
    return value.strip()


def _texts(value: Any, where: str, separators: str) -> tuple[str, ...]:
    """A list of texts, or one string that is parted at the separators."""
    if isinstance(value, str):
        value = re.split(f"[{re.escape(separators)}]", value)
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items if (text := _text(item, where)))


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(alias for part in aliases.split(",") if (alias := part.strip()))


def _imagenet_classes() -> list[ClassSpec]:
    """Two names stand twice in open_clip's list (missile, sunglasses); the second label gets a number."""
    specs: dict[str, ClassSpec] = {}
    for name in _open_clip_metadata().IMAGENET_CLASSNAMES:
        label = f"{name} (2)" if name in specs else name
        specs[label] = ClassSpec(label, name=name)
    return list(specs.values())


# --- Both together -------------------------------------------------------------------------------


def build_prompts(specs: Sequence[ClassSpec], templates: Sequence[str], concept: str = "") -> PromptSet:
    """Every name of every class through every template.

    Args:
        specs: the classes, in order.
        templates: each with a placeholder.
        concept: a hint added to every template, such as "a type of pet".

    Raises:
        PromptError: no class, or a label that stands twice.
    """
    check_classes(specs)
    hinted = [add_concept(template, concept) for template in templates] if concept.strip() else templates
    prompts = [
        tuple(dict.fromkeys(fill(text, name) for name in spec.names for text in spec.prompts or hinted))
        for spec in specs
    ]
    return PromptSet(tuple(spec.label for spec in specs), tuple(prompts))


# --- Text files ----------------------------------------------------------------------------------


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a list of labels in place of a file's name may be too long for one
        return False


def _refuse_pipe(path: Path) -> None:
    """Say of a pipe or device that it is none of the files that are read: reading one may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISDIR(mode):
        raise PromptError(f"{path}: not a regular file", "Write the list to a file first.")


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            limit = f"the limit is {MAX_BYTES / 1e6:.0f} MB"
            raise PromptError(f"{path}: too large: {size / 1e6:.0f} MB, {limit}")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise PromptError(f"{path}:{line}: not UTF-8 text", "Save the file as UTF-8.") from None
    except OSError as error:
        raise PromptError(f"{path}: {error.strerror}") from None


def _content_lines(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments; empty lines between others are reported."""
    lines = text.split("\n")  # `splitlines` would part labels at rarer characters too
    while lines and not lines[-1].strip():
        lines.pop()
    empty = _EmptyLines(where)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            empty.add(number)
        elif not line.lstrip().startswith("#"):
            yield number, line.strip()
    empty.report_others()


class _EmptyLines:
    """Reports empty lines: the first ones by their numbers, the others by how many they are."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def add(self, number: int) -> None:
        self.count += 1
        if self.count <= _SHOWN_EMPTY:
            _warn(f"{self.where}:{number}: empty line left out")

    def report_others(self) -> None:
        if self.count > _SHOWN_EMPTY:
            _warn(f"{self.where}: {self.count - _SHOWN_EMPTY} more empty lines left out")


def _description(path: Path) -> str:
    first = _read_text(path).partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _warn(message: str) -> None:
    warnings.warn(message, ClipcliWarning, stacklevel=2)
