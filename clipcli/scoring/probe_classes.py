"""The classes of words and of examples together, and what a probe of them is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from clipcli.errors import UsageError
from clipcli.prompts.groups import Parents
from clipcli.records import Encoder, Float32Array
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.linear_head import normalised
from clipcli.scoring.probe_choice import Task
from clipcli.scoring.targets import labels_of, match_key, match_truths


def probe_task(
    encoder: Encoder, image_features: Float32Array, truths: Sequence[str], words: Classifier | None
) -> tuple[Classifier, Task]:
    """The classes of words and examples, and what a probe of them is fitted to; as in `fit_probe`."""
    if len(truths) != len(image_features) or not len(truths):
        raise UsageError(f"{len(truths)} true labels for the features of {len(image_features)} images")
    if words is not None:
        words.check_encoder(encoder)
        check_words(words)
    classes, has_words, target = with_examples(words or _wordless(encoder, image_features), truths)
    return classes, task_of(classes, has_words, image_features, target)


def _wordless(encoder: Encoder, image_features: Float32Array) -> Classifier:
    """A classifier without a class."""
    return Classifier(
        classnames=(),
        class_embeddings=np.empty((0, image_features.shape[1]), dtype=np.float32),
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
        fingerprint=encoder.fingerprint,
        provenance=encoder.provenance(),
    )


def check_words(words: Classifier) -> None:
    """Refuse a classifier of words that says more than a probe could keep.

    Raises:
        UsageError: it is fitted, weighted, or has a prior or rejector; or thresholds for scores of another
            kind than a probe's.
    """
    reasons = {
        "is fitted already": words.is_fitted or words.weights is not None,
        "has a prior, or weighted templates": words.bias is not None or words.class_scales is not None,
        "rejects images": words.rejector is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            message = f"a probe is made from plain words, and their classifier {reason}"
            raise UsageError(message, "Use the one that it was made from.")
    if words.thresholds is not None and words.activation != "softmax":
        raise UsageError(
            f"thresholds in min_score are for {words.activation} scores, and those of a probe are softmax",
            "Leave the thresholds out of the class list.",
        )


def with_examples(words: Classifier, truths: Sequence[str]) -> tuple[Classifier, list[bool], list[int]]:
    """Add a class for each true label that is none of the words'.

    It has no threshold. Where the words have groups, a class that is called like a group is in it.

    Args:
        words: any number of classes, each with its words.
        truths: N true labels; case, `_` and `-` do not matter.

    Returns:
        the classifier with C classes, whose new embeddings say nothing; which of them have words; and the N
        indices of the true classes.
    """
    unmatched = match_truths(dict.fromkeys(truths), words.classnames, separator=None).unmatched
    homes = _homes(labels_of(unmatched, separator=None), words.parents or ())
    new = [home[-1] for home in homes]
    classnames = (*words.classnames, *new)
    found = match_truths(dict.fromkeys(truths), classnames, separator=None)
    silent = np.zeros((len(new), words.class_embeddings.shape[1]), dtype=np.float32)
    unlimited = np.full(len(new), np.nan, dtype=np.float32)
    added = replace(
        words,
        classnames=classnames,
        class_embeddings=np.concatenate([words.class_embeddings, silent]),
        prompts=(*words.prompts, *[()] * len(new)),
        parents=None if words.parents is None else (*words.parents, *(home[:-1] for home in homes)),
        thresholds=None if words.thresholds is None else np.append(words.thresholds, unlimited),
    )
    has_words = [True] * len(words.classnames) + [False] * len(new)
    return added, has_words, [found.indices[truth][0] for truth in truths]


def _homes(labels: Sequence[str], parents: Parents) -> list[tuple[str, ...]]:
    """Where new labels stand: the groups that each lies in, and its name."""
    groups = dict.fromkeys(path[:depth] for path in parents for depth in range(1, len(path) + 1))
    named = {match_key(path[-1]): path for path in groups}
    return [named.get(match_key(label), (label,)) for label in labels]


def task_of(
    words: Classifier, has_words: Sequence[bool], features: npt.NDArray[np.float32], target: Sequence[int]
) -> Task:
    """The examples and words of the classes of a classifier.

    Args:
        words: C classes.
        has_words: which of them have words.
        features: (N, D), unit norm.
        target: N indices of the true classes.

    Raises:
        UsageError: fewer than two classes.
    """
    indices = np.asarray(target, dtype=np.intp)
    if len(words.classnames) < 2:
        raise UsageError("a probe tells classes apart, and there is only one", "Give at least two classes.")
    embeddings = words.class_embeddings.astype(np.float64)
    embeddings[~np.asarray(has_words, dtype=np.bool_)] = np.nan
    return Task(normalised(features.astype(np.float64)), indices, embeddings, words.logit_scale)
