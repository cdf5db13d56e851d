"""The Python API of what is learned from images: thresholds, probes, and when an image shows no label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipcli.cache import FeatureCache
from clipcli.choices import ProbeChoice, RejectMethod
from clipcli.errors import UsageError
from clipcli.prompts.nouns import nouns_beside
from clipcli.records import Encoder, Float32Array
from clipcli.scoring import probe
from clipcli.scoring.class_embeddings import encode_captions
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.fitting import FitOptions, FitReport
from clipcli.scoring.fitting import fit_classifier as _fit_classifier
from clipcli.scoring.negatives import mine_negatives
from clipcli.scoring.prior import with_prior
from clipcli.scoring.probe import ProbeOptions, ProbeReport
from clipcli.scoring.probe_classes import probe_task
from clipcli.scoring.rejection import Rejector
from clipcli.scoring.targets import match_truths

__all__ = ["add_rejector", "fit_classifier", "fit_probe", "with_prior"]

NOUN_TEMPLATE = "The nice {}."
"""The sentence that negative labels are put into: that of the authors of NegLabel."""


def fit_classifier(
    classifier: Classifier,
    image_features: Float32Array,
    truths: Sequence[str],
    *,
    min_precision: float | None = None,
    coverage: float = 0.9,
    seed: int = 0,
) -> tuple[Classifier, FitReport]:
    """Fit a temperature, thresholds and label sets to one half of labelled images, and measure the other.

    Args:
        classifier: from `build_classifier`.
        image_features: (N, D) of unit norm, from `encode`.
        truths: N true labels, one for each image; case, `_` and `-` do not matter.
        min_precision: the share of right ones among images that keep a label; None for the best F1.
        coverage: the share of sets that hold the true label.
        seed: of the split into halves.

    Returns:
        the fitted classifier, for `classify` and `save_classifier`; and what it does on the other half.

    Raises:
        UsageError: a value outside its range, a truth that is no label, or labels that cannot be fitted.
        ClipcliError: fewer than two images.
    """
    options = FitOptions(min_precision, coverage, seed)
    targets = match_truths(dict.fromkeys(truths), classifier.classnames, separator=None)
    if len(truths) != len(image_features):
        raise UsageError(f"{len(truths)} true labels for the features of {len(image_features)} images")
    if targets.unmatched:
        truth, near = next(iter(targets.unmatched.items()))
        hint = f"The nearest one is {near!r}." if near else ""
        raise UsageError(f"{truth!r} is no label of the classifier", hint)
    target = np.array([targets.indices[truth][0] for truth in truths], dtype=np.intp)
    return _fit_classifier(classifier, classifier.cosines(image_features), target, options)


def fit_probe(
    encoder: Encoder,
    image_features: Float32Array,
    truths: Sequence[str],
    words: Classifier | None = None,
    *,
    method: ProbeChoice = "auto",
    seed: int = 0,
) -> tuple[Classifier, ProbeReport]:
    """Learn classes from a few examples of each, and from their words.

    Args:
        encoder: that made the features.
        image_features: (N, D) of unit norm, from `encode`.
        truths: N true labels, one for each image; those that are none of the words' are classes without
            words.
        words: from `build_classifier`; its classes need no examples. None learns from the examples alone.
        method: `gda`, `linear`, `prototype`, or the one that does best on examples held out.
        seed: of the parts that are held out.

    Returns:
        the classifier, for `classify` and `save_classifier`; and what it does, beside words alone.

    Raises:
        UsageError: a value that cannot be, one class only, or a classifier that is fitted already.
        ModelMismatchError: the words' classifier was made by another model.
    """
    options = ProbeOptions(method, seed)
    classes, task = probe_task(encoder, image_features, truths, words)
    found = probe.fit(task, options)
    return probe.probe_of(classes, task, found, options), probe.report_of(classes.classnames, task, found)


def add_rejector(
    classifier: Classifier,
    encoder: Encoder,
    method: RejectMethod,
    threshold: float | None = None,
    *,
    names: Sequence[str] = (),
    cache: FeatureCache | None = None,
) -> Classifier:
    """A classifier that scores how much an image looks like any label, and rejects images below a threshold.

    Args:
        classifier: from `build_classifier`, `fit_classifier` or `load_classifier`.
        encoder: of the classifier; encodes nouns for the method `negatives`, and is not used for others.
        method: `msp`, `mcm`, `energy` or `negatives`.
        threshold: an image with a lower score has the status `unknown`; None rejects none.
        names: what else the classes are called, so that no noun of that meaning is a negative label.
        cache: where features of nouns computed before are found and new ones are kept.

    Raises:
        ModelMismatchError: the classifier was built with another model.
        ValueError: no such method, or a threshold that is no number.
    """
    negatives = None
    if method == "negatives":
        classifier.check_encoder(encoder)
        nouns = nouns_beside([*classifier.classnames, *names])
        features = encode_captions(encoder, nouns, (NOUN_TEMPLATE,), cache)
        negatives = mine_negatives(features, classifier.class_embeddings)
    return replace(classifier, rejector=Rejector(method, threshold, negatives))
