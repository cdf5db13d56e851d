"""Mappings in mappings: the classes of a JSON or YAML class list, each with the groups that it lies in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clipcli.errors import PromptError
from clipcli.prompts.text_files import SHORT

CLASS_KEYS = frozenset({"name", "aliases", "context", "prompt", "prompts", "parent", "min_score"})
"""What can be said of a class, in the columns of a table or the keys of a mapping."""

LEVELS = "|"
"""Separates the groups that a class lies in, the outermost first: `living thing|animal`."""

_KNOWN = "Known: name, aliases, context, prompts, parent, min_score."
_NOT_CLASSES = (*CLASS_KEYS, "label")
_NEARLY_EQUAL = 0.8  # as difflib measures it: `alias` and `aliases`
_MAX_DEPTH = 64


class Entry(NamedTuple):
    """A class of a mapping: its label, what is said of it, and the groups that it lies in."""

    label: Any
    value: Any
    parents: tuple[str, ...]


def entries(content: Mapping[Any, Any], where: str, parents: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The classes of a mapping from label to what is said of it, or from group to another such mapping.

    Args:
        content: as JSON or YAML has it.
        where: the file, for error messages.
        parents: the groups that the mapping lies in.

    Raises:
        PromptError: a mapping that is neither a class nor a group, a group without a name, or one too deep,
            as is one that YAML names in itself.
    """
    if len(parents) > _MAX_DEPTH:
        raise PromptError(f"{where}: nested too deeply")
    for label, value in content.items():
        if not _is_group(value, label, where):
            yield Entry(label, value, parents)
            continue
        if not isinstance(label, str) or not label.strip():
            raise PromptError(f"{where}: a group without a name")
        yield from entries(value, where, (*parents, label.strip()))


def _is_group(value: Any, label: Any, where: str) -> bool:
    """Whether a value holds classes, and not what is said of one; one that does both is refused."""
    if not isinstance(value, dict) or not value or value.keys() <= CLASS_KEYS:
        return False
    strange = sorted(map(str, value.keys() - CLASS_KEYS))
    misspelt = [key for key in strange if difflib.get_close_matches(key, _NOT_CLASSES, 1, _NEARLY_EQUAL)]
    if misspelt or len(strange) < len(value):
        key = (misspelt or strange)[0]
        hint = f"{_KNOWN} A class with such a name needs a CSV with a column `parent`."
        raise PromptError(f"{where}: class {SHORT.repr(label)}: unknown key {SHORT.repr(key)}", hint)
    return True
