"""Groups of classes: how probable each is, and the deepest level on which an image is told for sure.

Classes lie in groups and these in others: cat in animal, animal in living thing. Softmax makes classes
exclude each other, so that the probability of a group is the sum of those of its classes. Scores of other
kinds do not add up: there, a group is as probable as the best of its classes.

An image has the group of its best class, as in CHiLS, which classifies by several classes in the place of
each coarse one and maps the best to its parent (Novack et al. 2023, abstract). What the authors do besides,
to weigh each class by the score of its parent, is not done here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcli.choices import Activation
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.prompts.groups import Parents
from clipcli.prompts.nested import LEVELS
from clipcli.records import Float32Array, ImagePredictions, LabelGroup, Prediction
from clipcli.scoring.ranking import Ranking


@dataclass(frozen=True)
class Groups:
    """G groups of C classes.

    Args:
        paths: of each group, the groups that it lies in, the outermost first, and its own name.
        members: of each group, the indices of its classes, however deep they lie in it. A class with the name
            of a group is one of them.
        above: (C,) the group right above each class, -1 for none.
    """

    paths: tuple[tuple[str, ...], ...]
    members: tuple[npt.NDArray[np.intp], ...]
    above: tuple[int, ...]

    @classmethod
    def of(cls, classnames: Sequence[str], parents: Parents) -> Groups:
        """The groups of classes, those that hold others before these, in class order."""
        paths = dict.fromkeys(path[:depth] for path in parents for depth in range(1, len(path) + 1))
        number = {path: index for index, path in enumerate(paths)}
        members: list[list[int]] = [[] for _ in paths]
        for index, (label, path) in enumerate(zip(classnames, parents, strict=True)):
            home = (*path, label)
            for depth in range(1, len(home) + 1):
                if (group := number.get(home[:depth])) is not None:
                    members[group].append(index)
        arrays = tuple(np.array(indices, dtype=np.intp) for indices in members)
        return cls(tuple(paths), arrays, tuple(number.get(path, -1) for path in parents))

    def outer(self, group: int) -> int:
        """The group that a group lies in; -1 for none."""
        outer = self.paths[group][:-1]
        return self.paths.index(outer) if outer else -1


def group_scores(scores: Float32Array, groups: Groups, adds_up: bool) -> Float32Array:
    """The scores of groups: p(group) = Σ p(class) over its classes, or the maximum of them -> (N, G).

    They are added in class order, so that a sum does not depend on how many images there are.

    Args:
        scores: (N, C) of the classes.
        groups: G of them.
        adds_up: whether the scores are those of a softmax.
    """
    if adds_up:
        sums = [np.cumsum(scores[:, of], axis=1, dtype=np.float64)[:, -1] for of in groups.members]
        return np.minimum(np.stack(sums, axis=1), 1).astype(np.float32)
    return np.stack([scores[:, of].max(axis=1) for of in groups.members], axis=1)


def deepest_sure(scores: Float32Array, groups: Groups, least: float) -> npt.NDArray[np.intp]:
    """The deepest group of each image with at least this score -> (N,); -1 where there is none.

    Of several on one level it is the one with the highest score, then the first one.

    Args:
        scores: (N, G) of the groups.
        groups: G of them.
        least: as `--roll-up` has it.
    """
    levels = np.array([len(path) for path in groups.paths])  # (G,)
    is_sure = scores >= np.float32(least)
    deepest = np.where(is_sure, levels, 0).max(axis=1, keepdims=True)  # (N, 1)
    best = np.where(is_sure & (levels == deepest), scores, -np.inf).argmax(axis=1)
    return np.where(is_sure.any(axis=1), best, -1)


# --- Predictions ---------------------------------------------------------------------------------


def check_roll_up(ranking: Ranking, parents: Parents | None) -> None:
    """Refuse to roll up classes that have no groups.

    Raises:
        UsageError: they have none.
    """
    if ranking.roll_up is not None and not parents:
        raise UsageError(
            "`roll_up` needs groups of labels, and there are none",
            "Give the class list a column `parent`, or nest it in YAML.",
        )


def warn_of_no_sums(ranking: Ranking, activation: Activation) -> None:
    """Tell that rolling up finds nothing surer where a group has the score of its best label."""
    kind = ranking.kind(activation)
    if ranking.roll_up is not None and kind != "softmax":
        warnings.warn(
            f"the scores are {kind}, which do not add up: a group is as sure as its best label, so that"
            " `roll_up` hardly finds a group where no label is sure. Softmax scores do add up",
            ClipcliWarning,
            stacklevel=3,
        )


def in_groups(
    found: Sequence[ImagePredictions],
    classnames: Sequence[str],
    groups: Groups,
    cosines: Float32Array,
    ranking: Ranking,
    activation: Activation,
) -> list[ImagePredictions]:
    """Predictions with the group of each label and, if asked for, rolled up.

    Args:
        found: of N images, with their (C,) scores.
        classnames: C labels.
        groups: of these.
        cosines: (N, C).
        ranking: which scores they are, and whether to roll up.
        activation: of the model.
    """
    adds_up = ranking.kind(activation) == "softmax"
    scores = group_scores(np.stack([one.scores for one in found]), groups, adds_up)
    above = dict(zip(classnames, groups.above, strict=True))
    told = [
        one._replace(groups=tuple(_group(groups, above[label.label], row) for label in one.predictions))
        for one, row in zip(found, scores, strict=True)
    ]
    if ranking.roll_up is None:
        return told
    answers = deepest_sure(scores, groups, ranking.least).tolist()
    rows = zip(told, answers, scores, cosines, strict=True)
    return [_rolled_up(one, groups, ranking.least, *row) for one, *row in rows]


def _group(groups: Groups, group: int, scores: npt.NDArray[Any]) -> LabelGroup | None:
    """A group with its score; None for -1."""
    return None if group < 0 else LabelGroup(LEVELS.join(groups.paths[group]), float(scores[group]))


def _rolled_up(
    one: ImagePredictions,
    groups: Groups,
    least: float,
    answer: int,
    scores: npt.NDArray[Any],
    cosines: npt.NDArray[Any],
) -> ImagePredictions:
    """The answer for one image: its best label if that is sure, else the group, else `unknown`.

    A group stands before the ranked labels, as one of `top_k`, with the highest cosine of its classes.
    """
    if one.status == "ok" and one.predictions[0].score >= np.float32(least):
        return one
    if answer < 0:
        return one._replace(status="unknown")
    name, count = groups.paths[answer][-1], len(one.predictions)
    cosine = float(cosines[groups.members[answer]].max())
    first = Prediction(one.image, 1, name, float(scores[answer]), cosine)
    pairs = zip(one.predictions, one.groups, strict=True)
    others = [(label, group) for label, group in pairs if label.label != name][: count - 1]
    return one._replace(
        predictions=(first, *(label._replace(rank=rank) for rank, (label, _) in enumerate(others, 2))),
        groups=(_group(groups, groups.outer(answer), scores), *(group for _, group in others)),
        status="ok",
    )
