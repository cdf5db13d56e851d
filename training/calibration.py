"""How well the model is calibrated, and the logit scale at which its scores are as sure as they are right.

A scale that was learned on the training images is too sure of images in styles never seen, and the text tower
is changed after the scale was learned. So one number is fitted at the end (temperature scaling, Guo et al.
2017); it changes no ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from clipcli import build_classifier
from clipcli.scoring.calibration import expected_calibration_error, fit_temperature, log_softmax
from clipcli.scoring.metrics import Scores
from training.captions import ENSEMBLE
from training.evaluate import Task, image_features

_SCALES = (5, 100)  # up to CLIP's own limit


def cosines_of(encoder: Any, task: Task) -> Scores:
    """The cosines of a task's images and classes, as `clipcli classify` has them by default -> (N, C)."""
    return build_classifier(encoder, task.classnames, ENSEMBLE).cosines(image_features(encoder, task.images))


def calibrated_scale(encoder: Any, task: Task) -> float:
    """The scale whose probabilities fit a task best."""
    least, most = _SCALES
    return 1 / fit_temperature(cosines_of(encoder, task), task.labels, (1 / most, 1 / least))


class Calibration(NamedTuple):
    """How sure the best scores are, how often they are right, and how far the two are apart.

    Args:
        score: the mean score of the best label.
        right: the share of images whose best label is the right one.
        error: the expected calibration error over ten bins of equal width.
    """

    score: float
    right: float
    error: float


def calibration(cosines: Scores, labels: Sequence[int], scale: float) -> Calibration:
    """How a scale is calibrated on images with (N, C) cosines and N labels."""
    probs = np.exp(log_softmax(cosines * scale))
    score, right = probs.max(axis=1), probs.argmax(axis=1) == np.asarray(labels)
    error = expected_calibration_error(score, right, bins=10)
    return Calibration(float(score.mean()), float(right.mean()), error)


def calibrations(encoder: Any, tasks: Iterable[Task], scales: Mapping[str, float]) -> dict[str, Any]:
    """How each scale is calibrated on tasks, as JSON can hold it."""
    rows = []
    for task in tasks:
        cosines = cosines_of(encoder, task)
        found = {name: calibration(cosines, task.labels, scale)._asdict() for name, scale in scales.items()}
        rows.append({"task": task.name, "pictures": len(task.labels), **found})
    return {"scales": dict(scales), "tasks": rows}
