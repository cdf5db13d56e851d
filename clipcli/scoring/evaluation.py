"""How good a classifier is on images whose labels are known: the figures, and where it is wrong.

Figures that scikit-learn has are its own; the others are those of `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from clipcli.records import Float32Array
from clipcli.scoring.bootstrap import bootstrap_interval
from clipcli.scoring.calibration import expected_calibration_error
from clipcli.scoring.metrics import ranks

Indices: TypeAlias = npt.NDArray[np.integer[Any]]


class Estimate(NamedTuple):
    """A figure, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Ranked(NamedTuple):
    """What the scores of B images say: arrays (B,) of the indices of true and best classes, of the place of
    the true class among all, 0 being the best, and of the score of the best.
    """

    target: Indices
    predicted: Indices
    rank: Indices
    confidence: Float32Array


class ClassFigures(NamedTuple):
    """One class, with `support` images; a figure that divides by zero is 0, as scikit-learn has it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class ClassPrecision(NamedTuple):
    """One class of several that an image may have; None where `support`, its number of images, is 0."""

    label: str
    average_precision: float | None
    support: int


class Confusion(NamedTuple):
    """How many images of a class are taken for another."""

    truth: str
    predicted: str
    images: int


class Doubt(NamedTuple):
    """An image whose true label scores far below another: perhaps the truth is mistaken."""

    image: str
    truth: str
    truth_score: float
    predicted: str
    score: float


class Answers(NamedTuple):
    """Answers of one kind: labels, for which `level` is None, or groups of one level, the outermost being 1.

    `share` of all images have such an answer; of these, it is true for `right`, None if there are none.
    """

    level: int | None
    share: Estimate
    right: Estimate | None


class RolledUp(NamedTuple):
    """Answers that are rolled up to a least score; labels come first in `by_depth`, then the deepest groups.

    `answered` is the share of images that have an answer, which is true for `right` of them.
    """

    least: float
    answered: Estimate
    right: Estimate | None
    by_depth: Sequence[Answers]


class GroupFigures(NamedTuple):
    """How often groups are right: on each level, the outermost first, and where answers are rolled up."""

    levels: Sequence[Estimate]
    rolled_up: RolledUp | None


@dataclass(frozen=True)
class Classification:
    """Figures of images with one true label each.

    Args:
        images: N.
        acc1: share of images whose true label is the best.
        acc5: share of images whose true label is among the best five; None for fewer classes.
        mean_per_class_recall: over the classes that have an image.
        macro_f1: the mean F1 of the classes that are true or predicted for an image.
        ece_equal_mass: expected calibration error in 15 bins of as many images each.
        ece_equal_width: the same in 15 bins of equal width.
        per_class: all C classes, in their order.
        confused: pairs of classes, the most frequent first.
        doubts: images with a truth to check, the most doubtful first.
        groups: of the classes, if they have some.
    """

    images: int
    acc1: Estimate
    acc5: Estimate | None
    mean_per_class_recall: float
    macro_f1: float
    ece_equal_mass: float
    ece_equal_width: float
    per_class: Sequence[ClassFigures]
    confused: Sequence[Confusion]
    doubts: Sequence[Doubt] = ()
    groups: GroupFigures | None = None

    @property
    def chance(self) -> float:
        """The accuracy of guessing among the classes."""
        return 1 / len(self.per_class)


@dataclass(frozen=True)
class MultiLabel:
    """Figures of images with any number of true labels each.

    Args:
        images: N.
        mean_average_precision: over the classes that have an image.
        per_class: all C classes, in their order.
    """

    images: int
    mean_average_precision: float
    per_class: Sequence[ClassPrecision]


Evaluation: TypeAlias = Classification | MultiLabel


def rank_classes(ranked_by: Float32Array, scores: Float32Array, target: Indices) -> Ranked:
    """Rank the classes of B images, and keep 16 bytes of each.

    Args:
        ranked_by: (B, C) cosines or logits, as `Classifier.ranked_by` gives them.
        scores: (B, C), what `confidence` is to be of.
        target: (B,) indices of the true classes.

    Raises:
        ValueError: as in `metrics.ranks`.
    """
    best = ranked_by.argmax(axis=1)
    confidence = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
    small = (array.astype(np.int32) for array in (target, best, ranks(ranked_by, target)))
    return Ranked._make((*small, confidence))


def evaluate_classification(
    classnames: Sequence[str],
    target: Indices,
    predicted: Indices,
    rank: Indices,
    confidence: Float32Array,
    doubts: Sequence[Doubt] = (),
    groups: GroupFigures | None = None,
) -> Classification:
    """The figures of N images with one true label each.

    Args:
        classnames: C labels.
        target: (N,) indices of the true classes.
        predicted: (N,) indices of the best classes.
        rank: (N,) the place of the true class among all, 0 being the best, as `metrics.ranks` gives it.
        confidence: (N,) the probability of the best class.
        doubts: images with a truth to check.
        groups: figures of the groups of classes.

    Raises:
        ValueError: there is no image, or the shapes do not fit.
    """
    from sklearn.metrics import f1_score

    per_class = _per_class(classnames, target, predicted)
    right = rank == 0
    return Classification(
        images=len(target),
        acc1=estimate(right),
        acc5=estimate(rank < 5) if len(classnames) >= 5 else None,
        mean_per_class_recall=float(np.mean([one.recall for one in per_class if one.support])),
        macro_f1=float(f1_score(target, predicted, average="macro", zero_division=0)),
        ece_equal_mass=expected_calibration_error(confidence, right, equal_mass=True),
        ece_equal_width=expected_calibration_error(confidence, right),
        per_class=per_class,
        confused=most_confused(classnames, target, predicted),
        doubts=doubts,
        groups=groups,
    )


def evaluate_multilabel(
    classnames: Sequence[str], scores: Float32Array, targets: Sequence[Sequence[int]]
) -> MultiLabel:
    """Average precision: of each class, over the N images in the order of their scores.

    It is the sum of precision times the growth of recall, by scikit-learn's `average_precision_score`.
    CLIP_benchmark ranks logits as is done here, but counts classes without an image as 0 in the mean.

    Args:
        classnames: C labels.
        scores: (N, C) cosines, which rank as logits do.
        targets: the indices of the true classes of each image.

    Raises:
        ValueError: no image has a true class.
    """
    from sklearn.metrics import average_precision_score

    positive = np.zeros(scores.shape, dtype=np.bool_)  # (N, C)
    for row, indices in zip(positive, targets, strict=True):
        row[list(indices)] = True
    support = positive.sum(axis=0)
    if not support.any():
        raise ValueError("no image has a true class")
    per_class = [
        ClassPrecision(
            label,
            float(average_precision_score(positive[:, index], scores[:, index])) if support[index] else None,
            int(support[index]),
        )
        for index, label in enumerate(classnames)
    ]
    known = [one.average_precision for one in per_class if one.average_precision is not None]
    return MultiLabel(len(scores), float(np.mean(known)), per_class)


def most_confused(classnames: Sequence[str], target: Indices, predicted: Indices) -> list[Confusion]:
    """Pairs of a true class and another that was predicted, the most frequent first; ties in class order.

    Args:
        classnames: C labels.
        target: (N,) indices of the true classes.
        predicted: (N,) indices of the best classes.
    """
    wrong = target != predicted
    pairs = target[wrong].astype(np.int64) * len(classnames) + predicted[wrong]
    distinct, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        Confusion(classnames[pair // len(classnames)], classnames[pair % len(classnames)], count)
        for pair, count in zip(distinct[order].tolist(), counts[order].tolist(), strict=True)
    ]


def estimate(right: npt.NDArray[np.bool_]) -> Estimate:
    """The share of right ones among N images, with its bootstrap interval."""
    return Estimate(float(right.mean()), *bootstrap_interval(right))


def _per_class(classnames: Sequence[str], target: Indices, predicted: Indices) -> list[ClassFigures]:
    from sklearn.metrics import precision_recall_fscore_support

    figures = precision_recall_fscore_support(
        target, predicted, labels=np.arange(len(classnames)), zero_division=0
    )
    columns = (column.tolist() for column in figures)
    return [ClassFigures(*row) for row in zip(classnames, *columns, strict=True)]
