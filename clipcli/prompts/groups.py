"""Groups of classes: which groups each class lies in, from what a class list says of it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from clipcli.errors import PromptError
from clipcli.prompts.class_lists import ClassSpec
from clipcli.prompts.label_checks import folded
from clipcli.prompts.nested import LEVELS
from clipcli.prompts.text_files import SHORT, warn

Parents: TypeAlias = tuple[tuple[str, ...], ...]
"""Of each class the groups that it lies in, the outermost first; none for a class without a group."""

_NEARLY_EQUAL = 0.8  # as difflib measures it: one letter of five


def parents_of(specs: Sequence[ClassSpec]) -> Parents | None:
    """The groups of each class; None if no class has one.

    What one class says of a group holds for the others: with `living thing|animal` for cat, the group
    `animal` of dog lies in `living thing` too. A group may be called like a class, which then belongs to it.

    Raises:
        PromptError: a group lies in two others, or in itself, or its name is that of another but for case.
    """
    if not any(spec.parents for spec in specs):
        return None
    above = _above(specs)
    groups = list(dict.fromkeys(name for spec in specs for name in spec.parents))
    _refuse_twins(groups)
    _warn_of_misspelt(Counter(spec.parents[-1] for spec in specs if spec.parents), groups)
    return tuple(_path(spec, above) for spec in specs)


def _above(specs: Iterable[ClassSpec]) -> dict[str, str]:
    """The group right above each class and each group that lies in one."""
    above: dict[str, str] = {}
    for spec in specs:
        for parent, name in pairwise((*spec.parents, spec.label)):
            if LEVELS in parent:
                message = f"the name of a group cannot hold {LEVELS}: {SHORT.repr(parent)}"
                raise PromptError(f"{spec.where or 'labels'}: {message}", "Rename it.")
            if (other := above.setdefault(name, parent)) != parent:
                both = f"{SHORT.repr(name)} lies in {SHORT.repr(parent)} here, and in {SHORT.repr(other)}"
                raise PromptError(f"{spec.where or 'labels'}: {both} elsewhere", "A group has one place.")
    return above


def _path(spec: ClassSpec, above: Mapping[str, str]) -> tuple[str, ...]:
    path = [spec.label]
    while path[0] in above:
        parent = above[path[0]]
        if parent in path:
            circle = ", ".join(map(SHORT.repr, [parent, *path[: path.index(parent) + 1]]))
            raise PromptError(f"{spec.where or 'labels'}: a group that lies in itself: {circle}")
        path.insert(0, parent)
    return tuple(path[:-1])


def _refuse_twins(groups: Iterable[str]) -> None:
    first: dict[str, str] = {}
    for name in groups:
        if (other := first.setdefault(folded(name), name)) != name:
            message = f"the groups {SHORT.repr(other)} and {SHORT.repr(name)} differ only in case or spaces"
            raise PromptError(message, "Write them alike.")


def _warn_of_misspelt(classes: Counter[str], groups: Sequence[str]) -> None:
    """Tell groups of one class that are called nearly like a group of several."""
    large = [name for name in groups if classes[name] > 1]
    for name, near in _near_names((name for name in groups if classes[name] == 1), large):
        warn(f"the group {SHORT.repr(name)} has one class only: is it meant to be {SHORT.repr(near)}?")


def _near_names(names: Iterable[str], others: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if near := difflib.get_close_matches(name, others, 1, _NEARLY_EQUAL):
            yield name, near[0]
