"""Class embeddings that cannot tell images apart: of words that a model does not know, or nearly equal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence, Set

import numpy as np

from clipcli.errors import ClipcliWarning
from clipcli.prompts.label_checks import folded, some_pairs
from clipcli.prompts.templates import PromptSet
from clipcli.records import Float32Array

# Cosine. In nano all unknown words have more, and "737-700" and "777-300"; "707-320" and "737-200" 0.9991.
_NEARLY_EQUAL = 0.9995
_MOST_CLASSES = 5000  # that are compared, each with each: half a second
_ROWS = 512
_SHOWN = 5


def warn_of_unknown(labels: Sequence[str], model: str) -> None:
    """Tell labels of whose names a model knows no token."""
    if labels:
        others = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        shown = ", ".join(map(repr, labels[:_SHOWN]))
        told = f"{model} knows no part of {shown}{others}"
        _warn(f"{told}: their scores mean nothing; check the spelling, or use another model")


def warn_of_nearly_equal(prompt_set: PromptSet, embeddings: Float32Array, told: Set[str], model: str) -> None:
    """Tell labels whose class embeddings (C, D) are nearly equal though their prompts differ.

    Args:
        prompt_set: the C classes.
        embeddings: unit norm.
        told: labels of which something has been told already.
        model: its name.
    """
    labels, prompts = prompt_set.classnames, prompt_set.prompts
    pairs = [
        (labels[one], labels[other])
        for one, other in _nearly_equal(embeddings)
        if prompts[one] != prompts[other]
        and told.isdisjoint((labels[one], labels[other]))
        and folded(labels[one]) != folded(labels[other])
    ]
    if pairs:
        _warn(f"to {model} these labels are nearly the same: {some_pairs(pairs)}; say what sets them apart")


def _nearly_equal(embeddings: Float32Array) -> Iterator[tuple[int, int]]:
    """Pairs of rows, the earlier one first."""
    if len(embeddings) > _MOST_CLASSES:
        return
    for start in range(0, len(embeddings), _ROWS):
        cosines = embeddings[start : start + _ROWS] @ embeddings[start:].T  # (rows, C - start)
        above = np.triu(cosines, 1) > _NEARLY_EQUAL
        for one, other in np.argwhere(above).tolist():
            yield start + one, start + other


def _warn(message: str) -> None:
    warnings.warn(message, ClipcliWarning, stacklevel=4)
