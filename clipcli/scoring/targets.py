"""What the true labels of images mean as classes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipcli.prompts.label_checks import folded

SEPARATOR = "|"
"""Parts several true labels of one image, and the labels of a set."""


@dataclass(frozen=True)
class Targets:
    """The classes that true labels mean.

    Args:
        classnames: C labels.
        indices: of the classes of each truth, as it is written; a truth that meets no label has none.
        unmatched: true labels that meet no label, each with the nearest one, or with an empty text.
    """

    classnames: tuple[str, ...]
    indices: Mapping[str, tuple[int, ...]]
    unmatched: Mapping[str, str]

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several true labels."""
        return any(len(indices) > 1 for indices in self.indices.values())


def split_truth(truth: str, separator: str | None = SEPARATOR) -> list[str]:
    """The labels of a truth; without a separator it is one label, whatever it holds."""
    parts = truth.split(separator) if separator else [truth]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def labels_of(truths: Iterable[str], separator: str | None = SEPARATOR) -> list[str]:
    """The labels that truths hold, sorted; of those that differ in case, `_` or `-` only, the first one."""
    labels = sorted({label for truth in truths for label in split_truth(truth, separator)})
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(match_key(label), label)
    return list(first.values())


def match_truths(
    truths: Iterable[str], classnames: Sequence[str], separator: str | None = SEPARATOR
) -> Targets:
    """Find the classes that truths mean: by the label itself, else whatever its case, `_` or `-`.

    Args:
        truths: as they are written, each once.
        classnames: C labels.
        separator: parts several labels of one truth; None where a truth is one label.
    """
    exact = {label: index for index, label in reversed(list(enumerate(classnames)))}
    alike = {match_key(label): index for index, label in reversed(list(enumerate(classnames)))}
    found: dict[str, tuple[int, ...]] = {}
    unmatched: dict[str, str] = {}
    for truth in truths:
        indices = {
            label: exact.get(label, alike.get(match_key(label))) for label in split_truth(truth, separator)
        }
        found[truth] = tuple(dict.fromkeys(index for index in indices.values() if index is not None))
        for label in (label for label, index in indices.items() if index is None):
            near = difflib.get_close_matches(match_key(label), alike, 1)
            unmatched[label] = classnames[alike[near[0]]] if near else ""
    return Targets(tuple(classnames), found, unmatched)


def match_key(label: str) -> str:
    """What labels have in common that differ in case, spaces, `_` or `-` only."""
    return folded(label.replace("_", " ").replace("-", " "))
