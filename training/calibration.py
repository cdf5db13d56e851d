"""The logit scale at which scores are as sure as they are right: temperature scaling (Guo et al. 2017).

A scale that was learned on the training pictures is too sure of pictures in styles never seen, and the text
tower was moved after it was learned. One number is fitted here, which changes no ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from training.captions import ENSEMBLE
from training.evaluate import Task, class_embeddings, picture_features

Cosines = npt.NDArray[np.floating[Any]]  # (N, C)
_SCALES = np.exp(np.linspace(np.log(5), np.log(100), 300))  # up to CLIP's own limit


def cosines_of(encoder: Any, task: Task) -> Cosines:
    """The cosines of a task's pictures and classes, as `clipcli classify` makes them by default -> (N, C)."""
    names = class_embeddings(encoder, task.classnames, ENSEMBLE)
    return picture_features(encoder, task.pictures) @ names.T


def calibrated_scale(cosines: Cosines, labels: Sequence[int]) -> float:
    """The scale of the least negative log-likelihood of the right labels (section 4.2 there)."""
    losses = [_log_loss(cosines * scale, labels) for scale in _SCALES]
    return float(_SCALES[int(np.argmin(losses))])


class Calibration(NamedTuple):
    """How sure the best scores are, how often they are right, and how far both are apart (section 2 there).

    Args:
        score: the mean score of the best label.
        right: how often it is the right one.
        error: the expected calibration error over ten bins.
    """

    score: float
    right: float
    error: float


def calibration(cosines: Cosines, labels: Sequence[int], scale: float) -> Calibration:
    """How a scale is calibrated on pictures with (N, C) cosines and N labels."""
    probabilities = np.exp(_log_softmax(cosines * scale))
    score = probabilities.max(1)
    right = probabilities.argmax(1) == np.asarray(labels)
    bins = np.minimum((score * 10).astype(int), 9)
    gaps = [abs(score[bins == b].sum() - right[bins == b].sum()) for b in range(10)]
    return Calibration(float(score.mean()), float(right.mean()), float(sum(gaps) / len(score)))


def calibrations(encoder: Any, tasks: Iterable[Task], scales: Mapping[str, float]) -> dict[str, Any]:
    """How each scale is calibrated on tasks, as JSON can hold it."""
    rows = []
    for task in tasks:
        cosines = cosines_of(encoder, task)
        found = {name: calibration(cosines, task.labels, scale)._asdict() for name, scale in scales.items()}
        rows.append({"task": task.name, "pictures": len(task.labels), **found})
    return {"scales": dict(scales), "tasks": rows}


def _log_softmax(logits: Cosines) -> Cosines:
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def _log_loss(logits: Cosines, labels: Sequence[int]) -> float:
    return float(-_log_softmax(logits)[np.arange(len(logits)), list(labels)].mean())
