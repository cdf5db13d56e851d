"""Known shares of the classes, added to the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipcli.choices import Score
from clipcli.errors import UsageError
from clipcli.scoring.classifier import Classifier


def with_prior(classifier: Classifier, shares: Sequence[float], score: Score = "auto") -> Classifier:
    """The classifier for images of which the classes have these shares: logits + log prior.

    Bayes' rule for a model that took all classes for equally likely (logit adjustment; Menon et al. 2021,
    section 4.1, which takes away log priors to balance classes, where here they are known and put in).

    Args:
        classifier: with softmax scores, not fitted yet. Thresholds of its class list go by the scores with
            the prior.
        shares: C numbers above 0, of which only the proportions count.
        score: what the score of a label will be.

    Raises:
        UsageError: shares that cannot be, or a classifier that cannot take them.
    """
    classes = len(classifier.classnames)
    if len(shares) != classes:
        raise UsageError(
            f"`prior` has {len(shares)} numbers for {classes} labels", "Give one for each label."
        )
    for label, value in zip(classifier.classnames, shares, strict=True):
        if not 0 < value < np.inf:
            hint = "Leave a label out that no image has; a rare one has a small number, such as 0.001."
            raise UsageError(f"`prior` of {label!r} must be a number above 0, not {value:g}", hint)
    if (classifier.activation if score == "auto" else score) != "softmax":
        message = "`prior` is for softmax scores: a sigmoid or cosine scores each label by itself"
        raise UsageError(message, "Leave `prior` out.")
    _check_unfitted(classifier)
    prior = np.asarray(shares, dtype=np.float64) / np.sum(shares)  # (C,)
    bias = np.log(prior) + (0 if classifier.bias is None else classifier.bias)
    provenance = {**classifier.provenance, "prior": prior.tolist()}
    return replace(classifier, bias=bias.astype(np.float32), provenance=provenance)


def _check_unfitted(classifier: Classifier) -> None:
    """Refuse a classifier of which something was fitted to images of other shares, or that has a prior.

    Raises:
        UsageError: it is one.
    """
    rejector = classifier.rejector
    reasons = {
        "is fitted already": classifier.is_fitted,
        "is a probe, which has learned the shares of its examples": classifier.weights is not None,
        "has a prior already": "prior" in classifier.provenance,
        "has a reject threshold that was fitted without it": rejector is not None
        and rejector.threshold is not None
        and rejector.by_logits,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UsageError(f"`prior` cannot be added: the classifier {reason}", "Leave `prior` out.")
