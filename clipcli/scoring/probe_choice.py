"""Which probe, and how much of it: chosen by cross-validation over the examples, against words alone.

A probe is blended with the words' own classifier, as in Wang et al. 2024 (ICLR):

    logits = logit_scale · features @ texts.T + α · (features @ W.T + b)        (N, C)

α is 0 for words alone, and infinite for the examples alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clipcli.choices import ProbeMethod
from clipcli.scoring.calibration import negative_log_likelihood
from clipcli.scoring.classifier import Float64Array
from clipcli.scoring.evaluation import Indices
from clipcli.scoring.folds import folds_of
from clipcli.scoring.gda import gda
from clipcli.scoring.linear_head import Examples, LinearHead
from clipcli.scoring.linear_probe import linear_probe
from clipcli.scoring.metrics import wilson_interval
from clipcli.scoring.prototype import prototype
from clipcli.scoring.stand_ins import completed

FOLDS = 5
ONLY_EXAMPLES = math.inf
BLENDS = (*(10 ** (power / 2) for power in range(-6, 5)), ONLY_EXAMPLES)
"""The values of α that are tried: from 0.001 to 100, two a decade, and the examples alone."""
CERTAIN = 2.0
"""Standard errors by which a probe must be better than words alone, some 95 %."""
LIKELY = 1.0
"""The same where there is less to lose: the one-standard-error rule (Breiman et al. 1984, section 3.4.3)."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Task:
    """What a probe is fitted to.

    Args:
        features: (N, D) float64, unit norm.
        target: (N,) indices of the true classes.
        words: (C, D) float64, unit norm; NaN in the rows of classes without words.
        logit_scale: of the model, already exponentiated.
    """

    features: Float64Array
    target: Indices
    words: Float64Array
    logit_scale: float

    @property
    def has_words(self) -> bool:
        """Whether any class has words."""
        return not np.isnan(self.words).all()

    def zero_shot(self, features: Float64Array) -> Float64Array:
        """(N, D) -> (N, C) logits of words alone; -inf for classes without words."""
        logits = self.logit_scale * (features @ self.words.T)
        return np.where(np.isnan(logits), -np.inf, logits)

    def words_right(self) -> npt.NDArray[np.bool_]:
        """Which examples words alone label as they are -> (N,)."""
        return np.asarray(self.zero_shot(self.features).argmax(axis=1) == self.target)

    def part(self, chosen: npt.NDArray[np.bool_]) -> Task:
        """The same with some of the images."""
        return Task(self.features[chosen], self.target[chosen], self.words, self.logit_scale)


class Heads(NamedTuple):
    """The words' classifier, None if there are no words, and the probes that could be fitted."""

    base: LinearHead | None
    probes: Mapping[ProbeMethod, LinearHead]

    def blended(self, method: ProbeMethod, blend: float) -> LinearHead:
        """Words and a probe in one head."""
        if self.base is None or blend == ONLY_EXAMPLES:
            return self.probes[method]
        return self.base.plus(self.probes[method].scaled(blend))


class Choice(NamedTuple):
    """A method and its α."""

    method: ProbeMethod
    blend: float


class Validated(NamedTuple):
    """Logits (M, C) of the images that were held out, by what was fitted to the others; true classes (M,).

    `base` is None where there are no words. `zero_shot` (M,) is where words alone are right.
    """

    target: Indices
    zero_shot: npt.NDArray[np.bool_]
    base: Float64Array | None
    probes: Mapping[ProbeMethod, Float64Array]

    def logits(self, choice: Choice) -> Float64Array:
        """Those of a blend."""
        if self.base is None or choice.blend == ONLY_EXAMPLES:
            return self.probes[choice.method]
        return self.base + choice.blend * self.probes[choice.method]

    def right(self, choice: Choice) -> npt.NDArray[np.bool_]:
        """Which images a blend labels as they are -> (M,)."""
        return np.asarray(self.logits(choice).argmax(axis=1) == self.target)


def fit_heads(task: Task, methods: Sequence[ProbeMethod], strength: float) -> Heads:
    """The words' classifier and the probes.

    Args:
        task: the examples and the words.
        methods: of the probes.
        strength: λ of logistic regression.
    """
    examples, texts = completed(task.features, task.target, task.words)
    base = None if texts is None else LinearHead(task.logit_scale * texts, np.zeros(len(texts)))
    found = {method: _fitted(method, examples, task.logit_scale, strength) for method in methods}
    return Heads(base, {method: head for method, head in found.items() if head is not None})


def _fitted(
    method: ProbeMethod, examples: Examples, logit_scale: float, strength: float
) -> LinearHead | None:
    if method == "gda":
        return gda(examples)
    if method == "linear":
        return linear_probe(examples, strength)
    return prototype(examples, logit_scale)


def cross_validate(
    task: Task, methods: Sequence[ProbeMethod], strength: float, seed: int
) -> Validated | None:
    """The logits of each image by what is fitted without it; None where no class has two images.

    Args:
        task: the examples and the words.
        methods: of the probes; one that cannot be fitted without some images is left out.
        strength: λ of logistic regression.
        seed: of the folds.
    """
    folds = folds_of(task.target, FOLDS, seed)
    held_out = folds >= 0
    if not held_out.any():
        return None
    rows = [np.flatnonzero(folds == fold) for fold in range(FOLDS) if (folds == fold).any()]
    fitted = [fit_heads(task.part(folds != folds[some[0]]), methods, strength) for some in rows]
    order = np.concatenate(rows)  # (M,)

    def joined(heads: Sequence[LinearHead]) -> Float64Array:
        blocks = [head.logits(task.features[some]) for head, some in zip(heads, rows, strict=True)]
        return np.concatenate(blocks)

    bases = [heads.base for heads in fitted if heads.base is not None]
    common = [method for method in methods if all(method in heads.probes for heads in fitted)]
    target = task.target[order]
    return Validated(
        target,
        task.zero_shot(task.features[order]).argmax(axis=1) == target,
        joined(bases) if bases else None,
        {method: joined([heads.probes[method] for heads in fitted]) for method in common},
    )


# --- Choosing ------------------------------------------------------------------------------------


def best_blend(validated: Validated, method: ProbeMethod) -> Choice:
    """The α with the best accuracy on images held out; of equally accurate ones the likeliest."""
    blends = BLENDS if validated.base is not None else (ONLY_EXAMPLES,)
    return max((Choice(method, blend) for blend in blends), key=lambda one: _merit(validated, one))


def _merit(validated: Validated, choice: Choice) -> tuple[int, float]:
    logits = validated.logits(choice)
    return int(validated.right(choice).sum()), -negative_log_likelihood(logits, validated.target)


def best_of(validated: Validated, methods: Sequence[ProbeMethod]) -> Choice:
    """The best method with its α, of those that were validated."""
    choices = [best_blend(validated, method) for method in methods if method in validated.probes]
    return max(choices, key=lambda one: _merit(validated, one))


def is_better(validated: Validated, choice: Choice, errors: float) -> bool:
    """Whether images held out tell that a probe is better than words alone.

    It is if the difference of the accuracies, paired by image, is above so many of its standard errors.
    """
    if validated.base is None:
        return True
    gain = validated.right(choice).astype(np.float64) - validated.zero_shot  # (M,) -1, 0 or 1
    return _exceeds(gain, 0, errors)


def errors_needed(task: Task) -> float:
    """By how many standard errors a probe must be better than words alone.

    There is much to lose where words label more than half of the examples right, by more than one standard
    error: one half is what to expect of an accuracy of which nothing is known.
    """
    return CERTAIN if _exceeds(task.words_right().astype(np.float64), 0.5, LIKELY) else LIKELY


def words_mostly_fail(task: Task) -> bool:
    """Whether words alone label more than half of the examples wrong, by more than one standard error.

    That is all that is known where no image can be held out.
    """
    return not task.has_words or _exceeds((~task.words_right()).astype(np.float64), 0.5, LIKELY)


def _exceeds(values: Float64Array, least: float, errors: float) -> bool:
    """Whether the mean of (M,) values is above a number by more than so many of its standard errors.

    A single image more is exactly one of them, and rounding must not decide of it.
    """
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return bool(values.mean() - least > errors * error * (1 + _ROUNDING))


def cautious_blend(task: Task) -> float:
    """The α where images do not tell it: the share of them that words certainly get wrong.

    It is the lower end of Wilson's interval of the zero-shot error: nearly 0 where words are mostly right,
    and more, the more they fail.
    """
    if not task.has_words:
        return ONLY_EXAMPLES
    right = task.words_right()
    return wilson_interval(1 - float(right.mean()), len(right))[0]
