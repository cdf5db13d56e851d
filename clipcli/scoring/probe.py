"""A classifier from a few examples of each class, blended with words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from clipcli.choices import ProbeChoice, ProbeMethod
from clipcli.errors import UsageError
from clipcli.scoring.blas import one_thread
from clipcli.scoring.calibration import TEMPERATURES, fit_temperature
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.evaluation import Estimate, estimate
from clipcli.scoring.linear_head import LinearHead, normalised
from clipcli.scoring.linear_probe import UNSWEPT, sweep
from clipcli.scoring.probe_choice import (
    LIKELY,
    Choice,
    Heads,
    Task,
    Validated,
    best_blend,
    best_of,
    cautious_blend,
    cross_validate,
    errors_needed,
    fit_heads,
    is_better,
    words_mostly_fail,
)
from clipcli.scoring.stand_ins import completed

METHODS: tuple[ProbeMethod, ...] = get_args(ProbeMethod)

Reason: TypeAlias = Literal["validated", "cautious", "words"]
"""Why a probe was chosen: it is better on examples held out; they do not certainly tell, so that it has
little weight; or nothing tells that it would be better than words alone, which are kept.
"""


@dataclass(frozen=True)
class ProbeOptions:
    """How a probe is fitted.

    Args:
        method: `auto` takes what does best on examples held out.
        seed: of the folds.

    Raises:
        UsageError: no such method, or a seed below 0.
    """

    method: ProbeChoice = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(ProbeChoice):
            raise UsageError(
                f"no such method: {self.method!r}", f"Use one of {', '.join(get_args(ProbeChoice))}."
            )
        if self.seed < 0:
            raise UsageError(f"`seed` must be at least 0, not {self.seed}")

    @property
    def methods(self) -> tuple[ProbeMethod, ...]:
        """Those to try."""
        return METHODS if self.method == "auto" else (self.method,)


class Tried(NamedTuple):
    """A classifier that was tried: words alone (`method` is None), or a probe with its α.

    `validated` is the accuracy on examples by what was fitted without them, None if none can be held out;
    `fitted` that on the examples it was fitted to.
    """

    method: ProbeMethod | None
    blend: float
    validated: Estimate | None
    fitted: float


@dataclass(frozen=True)
class ProbeReport:
    """What was tried, and what was chosen.

    Args:
        examples: N images.
        validated_on: how many of them were held out, in turns.
        without_words: labels that have examples only.
        without_examples: labels that have words only.
        zero_shot: words alone; None if no label has words.
        tried: each method with its best blend.
        chosen: one of the above, or a method with a cautious blend.
        reason: why.
        strength: λ of logistic regression; None if it was not tried.
    """

    examples: int
    validated_on: int
    without_words: tuple[str, ...]
    without_examples: tuple[str, ...]
    zero_shot: Tried | None
    tried: Sequence[Tried]
    chosen: Tried
    reason: Reason
    strength: float | None


class Fit(NamedTuple):
    """A head that was chosen, of all that were fitted."""

    head: LinearHead
    choice: Choice
    reason: Reason
    heads: Heads
    validated: Validated | None
    strength: float | None


def fit(task: Task, options: ProbeOptions) -> Fit:
    """Choose a probe and its blend, and fit it to all examples.

    By cross-validation in 5 folds. With `auto`, a probe must be better than words alone by two standard
    errors on images held out, or by one where words do not mostly succeed. Where none is, the prototype with
    the weight of `cautious_blend` must be better by one; and where no class has two examples, so that nothing
    can be held out, it is used if words mostly fail. Otherwise words alone are.

    A method that is named is used as validated, or with that weight where nothing can be held out. But what
    is worse than words alone, on images held out or on the examples themselves, never is.

    Raises:
        UsageError: GDA, and no class has two examples.
    """
    import sklearn.linear_model  # noqa: F401 (whose BLAS is to be loaded by now)

    with one_thread():
        return _fit(task, options)


def _fit(task: Task, options: ProbeOptions) -> Fit:
    strength = _strength(task, options) if "linear" in options.methods else None
    heads = fit_heads(task, options.methods, strength or UNSWEPT)
    if not heads.probes:
        hint = "Give more examples, or use the method prototype."
        raise UsageError("the method gda needs two different examples of a class at least", hint)
    validated = cross_validate(task, tuple(heads.probes), strength or UNSWEPT, options.seed)
    if validated is not None and not validated.probes:
        validated = None
    choice, reason = _choose(task, validated, options, tuple(heads.probes))
    if task.has_words and not _is_worth_it(task, heads, validated, choice):
        choice, reason = Choice(choice.method, 0.0), "words"
    return Fit(_calibrated(heads, validated, choice), choice, reason, heads, validated, strength)


def _strength(task: Task, options: ProbeOptions) -> float:
    return sweep(completed(task.features, task.target, task.words).examples, options.seed)


def _choose(
    task: Task, validated: Validated | None, options: ProbeOptions, methods: Sequence[ProbeMethod]
) -> tuple[Choice, Reason]:
    is_auto = options.method == "auto"
    if validated is not None:
        best = best_of(validated, methods)
        if not is_auto or is_better(validated, best, errors_needed(task)):
            return best, "validated"
    cautious = Choice("prototype" if "prototype" in methods else methods[0], cautious_blend(task))
    if validated is None:
        is_used = not is_auto or words_mostly_fail(task)
    else:
        is_used = is_better(validated, cautious, LIKELY)
    return (cautious, "cautious") if is_used else (Choice(cautious.method, 0.0), "words")


def _is_worth_it(task: Task, heads: Heads, validated: Validated | None, choice: Choice) -> bool:
    """Whether at least as many examples are labelled as they are as by words alone; of those held out, and
    of all.
    """
    if validated is not None and validated.right(choice).sum() < validated.zero_shot.sum():
        return False
    fitted = heads.blended(*choice).logits(task.features).argmax(axis=1) == task.target
    return bool(fitted.sum() >= task.words_right().sum())


def _calibrated(heads: Heads, validated: Validated | None, choice: Choice) -> LinearHead:
    """The head with the temperature that fits images held out best.

    They do not tell it if all of them are right: the lowest that is tried is the best then.
    """
    head = heads.blended(*choice)
    if validated is None or not choice.blend:
        return head
    temperature = fit_temperature(validated.logits(choice), validated.target)
    return head if temperature == TEMPERATURES[0] else head.scaled(1 / temperature)


# --- The classifier ------------------------------------------------------------------------------


def probe_of(words: Classifier, task: Task, found: Fit, options: ProbeOptions) -> Classifier:
    """The classifier of a head that was chosen.

    Its class embeddings are those of the words; of a class without words, the mean of its examples. Where
    words alone were chosen and all classes have them, it is the words' own classifier.

    Args:
        words: the C classes; the embeddings of those without words are not used.
        task: what the head was fitted to.
        found: the head.
        options: how it was fitted.
    """
    told = {**words.provenance, "probe": _told(task, found, options)}
    if not found.choice.blend and not np.isnan(task.words).any():
        return replace(words, provenance=told)
    head = centred(found.head)
    return replace(
        words,
        class_embeddings=_embeddings(task),
        weights=head.weights.astype(np.float32),
        bias=head.bias.astype(np.float32),
        logit_bias=None,
        activation="softmax",
        provenance=told,
    )


def centred(head: LinearHead) -> LinearHead:
    """The head with the same softmax whose logits have a mean of 0, so that float32 keeps their digits."""
    return LinearHead(head.weights - head.weights.mean(axis=0), head.bias - head.bias.mean())


def _embeddings(task: Task) -> npt.NDArray[np.float32]:
    embeddings = task.words.copy()
    for index in np.flatnonzero(np.isnan(embeddings[:, 0])):
        embeddings[index] = normalised(task.features[task.target == index].mean(axis=0)[None])[0]
    return embeddings.astype(np.float32)


def _told(task: Task, found: Fit, options: ProbeOptions) -> dict[str, Any]:
    method, blend = found.choice
    return {
        "method": method if blend else None,
        "blend": blend if math.isfinite(blend) else None,
        "reason": found.reason,
        "examples": len(task.target),
        "strength": found.strength,
        "asked_for": options.method,
        "seed": options.seed,
    }


# --- Figures -------------------------------------------------------------------------------------


def report_of(classnames: Sequence[str], task: Task, found: Fit) -> ProbeReport:
    """What was tried, and how it does.

    Args:
        classnames: C labels.
        task: what the probe was fitted to.
        found: the probe.
    """
    validated = found.validated
    best = [best_blend(validated, one) for one in validated.probes] if validated else []
    count = np.bincount(task.target, minlength=len(classnames))
    zero_shot = _zero_shot(task, validated) if task.has_words else None
    chosen = _tried(task, found, found.choice)
    return ProbeReport(
        examples=len(task.target),
        validated_on=len(validated.target) if validated else 0,
        without_words=tuple(compress(classnames, np.isnan(task.words[:, 0]))),
        without_examples=tuple(compress(classnames, count == 0)),
        zero_shot=zero_shot,
        tried=[_tried(task, found, one) for one in best],
        chosen=zero_shot if found.reason == "words" and zero_shot else chosen,
        reason=found.reason,
        strength=found.strength,
    )


def _zero_shot(task: Task, validated: Validated | None) -> Tried:
    right = task.words_right()
    return Tried(None, 0.0, estimate(validated.zero_shot) if validated else None, float(right.mean()))


def _tried(task: Task, found: Fit, choice: Choice) -> Tried:
    logits = found.heads.blended(*choice).logits(task.features)
    held_out = found.validated.right(choice) if found.validated else None
    return Tried(
        choice.method,
        choice.blend,
        None if held_out is None else estimate(held_out),
        float((logits.argmax(axis=1) == task.target).mean()),
    )
