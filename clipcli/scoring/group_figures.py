"""How often groups of labels are right: on each level, and where answers are rolled up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clipcli.records import Float32Array
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import Answers, Estimate, GroupFigures, Indices, RolledUp, estimate
from clipcli.scoring.groups import Groups, deepest_sure, group_scores

UNKNOWN = -1
"""The answer where neither a label nor a group is sure."""


def answers(classifier: Classifier, best: Indices, scores: Float32Array, least: float) -> Indices:
    """What `classify` answers where it rolls up: the class, C + the group, or `UNKNOWN` -> (N,).

    As in `groups.in_groups`; a rejector is not asked.

    Args:
        classifier: C classes, with groups.
        best: (N,) indices of the best classes.
        scores: (N, C).
        least: the score that an answer must have.
    """
    groups = _groups_of(classifier)
    confidence = np.take_along_axis(scores, best[:, None].astype(np.intp), axis=1)[:, 0]
    is_sure = ~classifier.is_unsure(best, confidence) & (confidence >= np.float32(least))
    adds_up = classifier.activation == "softmax"
    found = deepest_sure(group_scores(scores, groups, adds_up), groups, least)
    above = np.where(found < 0, UNKNOWN, scores.shape[1] + found)
    return np.where(is_sure, best, above).astype(np.int32)


def group_figures(
    classifier: Classifier,
    target: Indices,
    predicted: Indices,
    rolled_up: tuple[float, Indices] | None = None,
) -> GroupFigures:
    """The figures of N images with one true label each.

    Args:
        classifier: C classes, with groups.
        target: (N,) indices of the true classes.
        predicted: (N,) indices of the best classes.
        rolled_up: the least score of an answer, and the (N,) answers, if labels are rolled up.
    """
    groups = _groups_of(classifier)
    homes = [
        (*path, label) for path, label in zip(classifier.parents or (), classifier.classnames, strict=True)
    ]
    depth = max(map(len, groups.paths))
    levels = [_on_level(homes, level, target, predicted) for level in range(1, depth + 1)]
    return GroupFigures(levels, _rolled_up(groups, len(homes), target, *rolled_up) if rolled_up else None)


def _groups_of(classifier: Classifier) -> Groups:
    if classifier.groups is None:
        raise ValueError("the classes have no groups")
    return classifier.groups


def _on_level(homes: Sequence[tuple[str, ...]], level: int, target: Indices, predicted: Indices) -> Estimate:
    """The share of images whose best class lies in the same group of a level as the true one.

    A class that lies in no group of that level stands for itself.
    """
    number = {path: index for index, path in enumerate(dict.fromkeys(home[:level] for home in homes))}
    of_class = np.array([number[home[:level]] for home in homes])  # (C,)
    return estimate(of_class[target] == of_class[predicted])


def _rolled_up(groups: Groups, classes: int, target: Indices, least: float, answers: Indices) -> RolledUp:
    is_right = _holds(groups, classes)[answers, target] & (answers != UNKNOWN)
    levels = np.array([0] * classes + [len(path) for path in groups.paths])  # 0 for a label
    level = np.where(answers == UNKNOWN, -1, levels[answers])  # (N,)
    depths = [0, *sorted(set(levels[classes:].tolist()), reverse=True)]
    by_depth = [Answers(depth or None, *_of_some(level == depth, is_right)) for depth in depths]
    return RolledUp(least, *_of_some(answers != UNKNOWN, is_right), by_depth)


def _holds(groups: Groups, classes: int) -> npt.NDArray[np.bool_]:
    """Which answers are true of which classes -> (C + G, C): a label of itself, a group of all in it."""
    holds = np.zeros((classes + len(groups.members), classes), dtype=np.bool_)
    holds[:classes] = np.eye(classes, dtype=np.bool_)
    for group, members in enumerate(groups.members):
        holds[classes + group, members] = True
    return holds


def _of_some(
    some: npt.NDArray[np.bool_], is_right: npt.NDArray[np.bool_]
) -> tuple[Estimate, Estimate | None]:
    """The share of some images among all, and that of right ones among these."""
    return estimate(some), estimate(is_right[some]) if some.any() else None
