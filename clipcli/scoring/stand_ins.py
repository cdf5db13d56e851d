"""Classes without words, and words without images, in one classifier.

Images and texts lie in different places of CLIP's space: all images are displaced from their texts in much
the same direction (Liang et al. 2022, "Mind the Gap", NeurIPS). That displacement, measured where a class has
both, tells where the words of a class point among images, and where the images of a class would be among
texts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clipcli.scoring.classifier import Float64Array
from clipcli.scoring.evaluation import Indices
from clipcli.scoring.linear_head import Examples, normalised


class Completed(NamedTuple):
    """Examples of all C classes, and texts (C, D) of unit norm; None where no class has words."""

    examples: Examples
    texts: Float64Array | None


def completed(features: Float64Array, target: Indices, words: Float64Array) -> Completed:
    """Give each class an image and a text.

    A class without images gets one stand-in: its text, moved by the mean displacement. A class without words
    gets the mean of its images, moved back. Where no class has both, the displacement is that of the means.

    Args:
        features: (N, D), unit norm.
        target: (N,) indices of the true classes.
        words: (C, D), unit norm; NaN in the rows of classes without words.
    """
    with_words = ~np.isnan(words[:, 0])
    count = np.bincount(target, minlength=len(words))
    means = np.full_like(words, np.nan)
    for index in np.flatnonzero(count):
        means[index] = features[target == index].mean(axis=0)
    means = normalised(means)
    if not with_words.any():
        return Completed(Examples(features, target, len(words)), None)
    gap = _displacement(means, words)
    missing = np.flatnonzero(count == 0)
    features = np.concatenate([features, normalised(words[missing] + gap)])
    examples = Examples(features, np.concatenate([target, missing]), len(words))
    return Completed(examples, np.where(with_words[:, None], words, normalised(means - gap)))


def _displacement(means: Float64Array, words: Float64Array) -> Float64Array:
    """(C, D) means of images and (C, D) texts, with NaN for what is not there -> (D,)."""
    gaps = means - words
    if (~np.isnan(gaps[:, 0])).any():
        return np.asarray(np.nanmean(gaps, axis=0))
    return np.asarray(np.nanmean(means, axis=0) - np.nanmean(words, axis=0))
