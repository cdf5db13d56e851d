"""Class lists: the classes to choose from, and the names of each."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clipcli.errors import PromptError
from clipcli.prompts.label_checks import (
    is_shipped,
    refuse_list_as_label,
    refuse_repeated,
    separator_in,
    warn_of_list_in_a_line,
    warn_of_lists,
    warn_of_table,
    warn_of_twins,
)
from clipcli.prompts.nested import CLASS_KEYS, LEVELS, entries
from clipcli.prompts.text_files import (
    LIBRARY,
    MAX_TEXT,
    SHORT,
    EmptyLines,
    check_text,
    content_lines,
    description,
    is_file,
    open_clip_metadata,
    read_text,
    refuse_pipe,
    warn,
)

_SENTENCE_WORDS = 6


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """One class of a class list.

    Args:
        label: what the output shows.
        name: what the prompts call the class; if empty, the label.
        aliases: further names, whose prompts are averaged into the class.
        context: a word that settles which meaning of the name is meant, such as bird for crane.
        prompts: sentences to use in place of the templates; placeholders in them are filled in.
        where: file and line of the class, for error messages.
        parents: the groups that the class lies in, the outermost first.
        min_score: below this probability, an image of which the class is the best one is `unknown`.
    """

    label: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    context: str = ""
    prompts: tuple[str, ...] = ()
    where: str = ""
    parents: tuple[str, ...] = ()
    min_score: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names to make prompts with, each followed by the context; the main name comes first."""
        names = dict.fromkeys((self.name or self.label, *self.aliases))
        return tuple(f"{name} {self.context}".strip() for name in names)


def list_class_lists() -> dict[str, str]:
    """The class lists that come with the package: name -> one-line description."""
    shipped = {path.stem: description(path) for path in sorted((LIBRARY / "classes").glob("*.txt"))}
    return shipped | {"imagenet": "ImageNet-1k, 1000 classes, with open_clip's curated names"}


def parse_labels(text: str) -> list[ClassSpec]:
    """Labels separated by commas. Empty ones are left out, with a warning.

    Raises:
        PromptError: there is no comma, and the text is the name of a file or has another separator.
    """
    if "," not in text:
        refuse_list_as_label(text.strip())
    return single_labels(text.split(","))


def single_labels(texts: Sequence[str]) -> list[ClassSpec]:
    """Labels that are given one by one. Empty ones are left out, with a warning; so are told those that
    look like a list.
    """
    specs = []
    for number, text in enumerate(texts, 1):
        if text.strip():
            specs.append(ClassSpec(text.strip(), where=f"label {number}"))
        else:
            warn(f"label {number} is empty and was left out")
    warn_of_lists([spec.label for spec in specs])
    return specs


def load_classes(reference: str) -> list[ClassSpec]:
    """Read a class list: one that comes with the package, by its name, or a .txt, .csv, .json or .yaml file.

    Raises:
        PromptError: there is no such list, or it is unreadable, malformed or empty.
    """
    if reference == "imagenet":
        return _imagenet_classes()
    shipped = LIBRARY / "classes" / f"{reference}.txt"
    path = shipped if is_shipped(reference) else Path(reference)
    if not is_file(path):
        refuse_pipe(path)
        raise PromptError(f"no class list or file named {reference!r}", _unknown_list_hint(reference))
    readers = {".csv": _read_csv, ".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml}
    readers[".tsv"] = partial(_read_csv, delimiter="\t")
    specs = readers.get(path.suffix.lower(), _read_lines)(read_text(path), str(path))
    if not specs:
        raise PromptError(f"{path}: no classes in this file")
    return specs


def _unknown_list_hint(reference: str) -> str:
    near = difflib.get_close_matches(reference, list_class_lists(), 1)
    guess = f"Did you mean {near[0]}? " if near else ""
    hint = f"{guess}`clipcli classes list` shows the lists."
    if separator_in(reference):
        hint += f" Labels themselves go into `labels` {SHORT.repr(reference)}."
    return hint


def check_classes(specs: Sequence[ClassSpec]) -> None:
    """Check that a class list can be used.

    Raises:
        PromptError: it is empty, a text is too long or not valid Unicode, or a label is given twice.
    """
    if not specs:
        raise PromptError("no labels given", 'Use `labels` "cat,dog", `label` or `classes` FILE.')
    for spec in specs:
        for text in (spec.label, spec.name, spec.context, *spec.aliases, *spec.prompts, *spec.parents):
            check_text(text, spec.where or "labels")
    refuse_repeated((spec.label, spec.where) for spec in specs)
    warn_of_twins(spec.label for spec in specs)


def _read_lines(text: str, where: str) -> list[ClassSpec]:
    """Text: one label per line, or `label: alias, alias`."""
    specs = []
    for number, line in content_lines(text, where):
        label, _, aliases = line.partition(":")
        if not label.strip():
            raise PromptError(f"{where}:{number}: no label before the colon")
        specs.append(ClassSpec(label.strip(), aliases=_split(aliases), where=f"{where}:{number}"))
    if len(specs) == 1 and not specs[0].aliases:
        warn_of_list_in_a_line(specs[0].label, specs[0].where)
    warn_of_table([spec.label for spec in specs], where)
    return specs


def _read_csv(text: str, where: str, delimiter: str = ",") -> list[ClassSpec]:
    """CSV: a column label, and perhaps those of `CLASS_KEYS`; `|` or `;` separates values."""
    rows = csv.reader(io.StringIO(text.rstrip("\n")), strict=True, delimiter=delimiter)
    try:
        columns = [column.strip().lower() for column in next(rows, ())]
        _check_columns(columns, f"{where}:1")
        specs, empty = [], EmptyLines(where)
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
        hint = f"Found: {found}. The first line must name the columns, separated by commas (in .tsv by tabs)."
        raise PromptError(f"{where}: no column named 'label'", hint)
    for key in sorted({"label", *CLASS_KEYS}):
        if columns.count(key) > 1:
            raise PromptError(f"{where}: there are two columns named {key!r}")


def _csv_spec(columns: list[str], cells: list[str], where: str) -> ClassSpec | None:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise PromptError(f"{where}: more cells than columns", "Quote a cell that contains a comma.")
    known = {key: cell for key, cell in zip(columns, cells, strict=False) if key in {"label", *CLASS_KEYS}}
    if not any(cell.strip() for cell in known.values()):
        return None
    return _spec(known.get("label"), known, where)


def _read_json(text: str, where: str) -> list[ClassSpec]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        refuse_repeated((key, where) for key, _ in pairs)
        return dict(pairs)

    try:
        content = json.loads(  # numbers stay as they are written: 1.10 is a label
            text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str
        )
    except json.JSONDecodeError as error:
        raise PromptError(f"{where}:{error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise PromptError(f"{where}: nested too deeply") from None
    return _from_content(content, where)


def _read_yaml(text: str, where: str) -> list[ClassSpec]:
    from clipcli.prompts.yaml_file import load_yaml

    return _from_content(load_yaml(text, where), where)


def _from_content(content: Any, where: str) -> list[ClassSpec]:
    """JSON and YAML: a list of labels, or a mapping from label to name, aliases, sentences or an object, or
    from group to such a mapping.
    """
    if isinstance(content, list):
        return [_spec(label, {}, where) for label in content]
    if isinstance(content, dict):
        return [
            _spec(label, _fields(value, label, parents, where), where)
            for label, value, parents in entries(content, where)
        ]
    raise PromptError(f"{where}: expected a list of labels or a mapping from label to names")


def _fields(value: Any, label: Any, parents: tuple[str, ...], where: str) -> dict[str, Any]:
    if isinstance(value, list):
        fields: dict[str, Any] = {"prompts" if _are_sentences(value) else "aliases": value}
    else:
        fields = value if isinstance(value, dict) else {"name": value}
    if parents and fields.get("parent"):
        message = f"class {SHORT.repr(label)} has a parent, and lies in the group {SHORT.repr(parents[-1])}"
        raise PromptError(f"{where}: {message}", "Leave the key `parent` out.")
    return fields | {"parent": list(parents)} if parents else fields


def _are_sentences(items: list[Any]) -> bool:
    """Whether a list holds prompts, as CuPL writes them, and not aliases: most items read like sentences."""
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
        parents=_texts(fields.get("parent"), where, separators=LEVELS),
        min_score=_probability(_text(fields.get("min_score"), where), where),
    )


def _probability(text: str, where: str) -> float | None:
    """The number of a cell `min_score`; None for an empty one."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number <= 1:
        return number
    hint = f"{text} percent is {number / 100:g}." if 1 < number <= 100 else ""
    raise PromptError(f"{where}: min_score must be a number from 0 to 1, not {SHORT.repr(text)}", hint)


def _text(value: Any, where: str) -> str:
    """The text of a value, or an empty one for null; refuses any other type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PromptError(f"{where}: expected a text, found {SHORT.repr(value)}")
    return value.strip()


def _texts(value: Any, where: str, separators: str) -> tuple[str, ...]:
    """The texts of a list, or of one string with separators."""
    if isinstance(value, str):
        value = re.split(f"[{re.escape(separators)}]", value)
    items = value if isinstance(value, list) else [value]
    return tuple(text for item in items if (text := _text(item, where)))


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(alias for part in aliases.split(",") if (alias := part.strip()))


def _imagenet_classes() -> list[ClassSpec]:
    """open_clip's list has two names twice (missile, sunglasses); the second label gets a number."""
    specs: dict[str, ClassSpec] = {}
    for name in open_clip_metadata().IMAGENET_CLASSNAMES:
        label = f"{name} (2)" if name in specs else name
        specs[label] = ClassSpec(label, name=name)
    return list(specs.values())
