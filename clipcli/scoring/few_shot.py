"""How a probe grows with the examples of each class: the few-shot curve."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.errors import UsageError
from clipcli.scoring.evaluation import Estimate, Indices
from clipcli.scoring.probe import ProbeOptions, fit
from clipcli.scoring.probe_choice import Task


class FewShot(NamedTuple):
    """The accuracies with some examples a class, on the same images that are in no draw's examples.

    `images` are measured in each draw. The values are means over draws, with the intervals of the means;
    `zero_shot` and `gain`, how much the probe is better, are None if no class has words. `chosen` counts the
    methods of the draws; words alone are None.
    """

    shots: int
    images: int
    zero_shot: Estimate | None
    probe: Estimate
    gain: Estimate | None
    chosen: Counter[str | None]


class Draw(NamedTuple):
    """The accuracies of one draw."""

    zero_shot: float
    probe: float
    method: str | None
    images: int


def few_shot_curve(
    task: Task,
    shots: Sequence[int],
    seeds: int,
    options: ProbeOptions,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[FewShot]:
    """Measure probes of 1, 2, 4, … examples a class (Radford et al. 2021, figure 6).

    A draw shuffles the images of each class. The first ones are the examples, and those after the largest
    number of shots are measured, the same for every number. A class with fewer images keeps its last one to
    be measured; if it has one image only, that is an example.

    Args:
        task: all images, and the words.
        shots: numbers of examples a class, ascending.
        seeds: draws, from seed 0; two at least, for an interval.
        options: how probes are fitted.
        stop: called before each draw.

    Raises:
        UsageError: numbers that cannot be, or no class has two images.
    """
    _check(task, shots, seeds)
    for count in shots:
        draws = []
        for seed in range(seeds):
            stop()
            draws.append(_draw(task, count, shots[-1], seed, options))
        yield _summary(count, draws, task.has_words)


def _check(task: Task, shots: Sequence[int], seeds: int) -> None:
    if not shots or shots[0] < 1 or any(a >= b for a, b in pairwise(shots)):
        raise UsageError("`shots` must be ascending numbers from 1", "Such as 1,2,4,8,16.")
    if seeds < 2:
        raise UsageError(f"`seeds` must be at least 2, not {seeds}: one draw has no interval")
    if np.bincount(task.target).max() < 2:
        raise UsageError("no class has two images, one to learn from and one to measure")


def split(
    target: Indices, shots: int, most: int, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The images to learn from and those to measure, in ascending order.

    Args:
        target: (N,) indices of the true classes.
        shots: examples a class.
        most: the largest number of shots, on which the images to measure depend.
        seed: of the draw.
    """
    shuffled = np.random.default_rng(seed).permutation(len(target))
    learned, measured = [], []
    for index in np.unique(target):
        own = shuffled[target[shuffled] == index]
        kept = min(most, max(len(own) - 1, 1))
        learned.append(own[: min(shots, kept)])
        measured.append(own[kept:])
    return np.sort(np.concatenate(learned)), np.sort(np.concatenate(measured))


def _draw(task: Task, shots: int, most: int, seed: int, options: ProbeOptions) -> Draw:
    learned, measured = split(task.target, shots, most, seed)
    part = Task(task.features[learned], task.target[learned], task.words, task.logit_scale)
    found = fit(part, ProbeOptions(options.method, options.seed + seed))
    features, true = task.features[measured], task.target[measured]
    return Draw(
        float((task.zero_shot(features).argmax(axis=1) == true).mean()),
        float((found.head.logits(features).argmax(axis=1) == true).mean()),
        found.choice.method if found.choice.blend else None,
        len(measured),
    )


def _summary(shots: int, draws: Sequence[Draw], has_words: bool) -> FewShot:
    zero_shot, probe = (np.array([one[column] for one in draws]) for column in (0, 1))
    return FewShot(
        shots,
        draws[0].images,
        _mean(zero_shot, 0) if has_words else None,
        _mean(probe, 0),
        _mean(probe - zero_shot, -1) if has_words else None,
        Counter(one.method for one in draws),
    )


def _mean(values: npt.NDArray[np.float64], least: float) -> Estimate:
    """The mean over draws with its 95 % interval by Student's t, cut at the values that cannot be."""
    from scipy.special import stdtrit

    mean, count = float(values.mean()), len(values)
    reach = float(stdtrit(count - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, max(mean - reach, least), min(mean + reach, 1.0))
