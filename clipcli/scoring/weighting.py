"""Weights of prompts from images without labels: CARPRT, one a template and class, and ZPE, one a template.

Both read the images in blocks, in order, and sum in float64: equal images give equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from clipcli.choices import WeightMethod
from clipcli.records import Float32Array
from clipcli.scoring.classifier import Classifier, softmax

Float64Array: TypeAlias = npt.NDArray[np.float64]


class Carprt:
    """Class-aware prompt reweighting (CARPRT, ICLR 2026; the steps of the authors' `run_test_carprt`).

    With s[n, p, c] = scale · cosine of image n and class c in template p: ĉ(n, p) = argmax_c s[n, p, c];
    w[p, c] = mean of s[n, p, c] over the images with ĉ(n, p) = c, or 0 without one; and the weights are the
    softmax of w / τ over the templates, with τ = 1.

    Args:
        text_features: (P, C, D) of unit norm: each class in each template.
        logit_scale: the model's own.
    """

    passes = 1

    def __init__(self, text_features: Float32Array, logit_scale: float) -> None:
        self._text = text_features.astype(np.float64)
        self._scale = logit_scale
        self._sums = np.zeros(text_features.shape[:2])  # (P, C)
        self._counts = np.zeros(text_features.shape[:2])

    def add(self, image_features: Float32Array) -> None:
        """Take some images: (N, D) of unit norm."""
        for sums, counts, text in zip(self._sums, self._counts, self._text, strict=True):
            logits = self._scale * (image_features.astype(np.float64) @ text.T)  # (N, C)
            best = logits.argmax(axis=1)  # (N,)
            np.add.at(sums, best, logits.max(axis=1))
            np.add.at(counts, best, 1)

    def end_pass(self) -> None:
        """All images were taken."""

    def weights(self) -> Float64Array:
        """(P, C), which sum to 1 over the templates."""
        means = self._sums / np.maximum(self._counts, 1)
        return softmax(means.T).T


class Zpe:
    """Zero-shot prompt weighting (ZPE; Allingham et al. 2023, algorithm 1, without reference images).

    With s[n, p, c] = scale · cosine and ŝ = s less its mean over the images: the score of a template is
    mean_n max_c ŝ[n, p, c], and the weights are the softmax of the scores over the templates. The paper takes
    half of the mean from many reference images, where there are some; here all of it is that of the images.

    Args:
        text_features: (P, C, D) of unit norm: each class in each template.
        logit_scale: the model's own.
    """

    passes = 2

    def __init__(self, text_features: Float32Array, logit_scale: float) -> None:
        self._text = text_features.astype(np.float64)
        self._scale = logit_scale
        self._images, self._pass = 0, 0
        self._mean = np.zeros(text_features.shape[2])  # (D,): the mean logits are those of the mean image
        self._scores = np.zeros(text_features.shape[0])  # (P,)

    def add(self, image_features: Float32Array) -> None:
        """Take some images: (N, D) of unit norm; first for their mean, in the second pass for the scores."""
        features = image_features.astype(np.float64)
        if self._pass == 0:
            self._images += len(features)
            self._mean += features.sum(axis=0)
            return
        centred = features - self._mean  # (N, D)
        for template, text in enumerate(self._text):
            self._scores[template] += self._scale * (centred @ text.T).max(axis=1).sum()

    def end_pass(self) -> None:
        """All images were taken once more."""
        if self._pass == 0:
            self._mean /= max(self._images, 1)
        self._pass += 1

    def weights(self) -> Float64Array:
        """(P, C), which sum to 1 over the templates, and are equal for all classes."""
        weights = softmax(self._scores[None] / max(self._images, 1))[0]  # (P,)
        return np.repeat(weights[:, None], self._text.shape[1], axis=1)


WEIGHERS: dict[WeightMethod, type[Carprt] | type[Zpe]] = {"carprt": Carprt, "zpe": Zpe}


def weighted_classifier(
    classifier: Classifier, text_features: Float32Array, weights: Float64Array
) -> Classifier:
    """The classifier whose classes are the weighted means of their templates.

    The methods do not normalise these means: logits are scale · image · mean. Here the mean of unit norm is
    the class embedding, so that cosines stay cosines, and the norm is the scale of the class.

    Args:
        classifier: the unweighted one.
        text_features: (P, C, D) of unit norm.
        weights: (P, C), which sum to 1 over the templates.
    """
    means = np.einsum("pc,pcd->cd", weights, text_features.astype(np.float64))  # (C, D)
    norms = np.linalg.norm(means, axis=1)  # (C,)
    return replace(
        classifier,
        class_embeddings=(means / norms[:, None]).astype(np.float32),
        class_scales=norms.astype(np.float32),
    )
