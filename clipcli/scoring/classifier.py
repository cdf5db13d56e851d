"""Class embeddings and what is computed with them: logits, probabilities, ranks, abstention.

Numpy only. Scores are computed in float64 from float32 features, so that they do not depend on
how many images are scored together.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from clipcli.choices import Activation, Score, Status
from clipcli.errors import ClipcliWarning, ModelMismatchError, UsageError
from clipcli.prompts.groups import Parents
from clipcli.records import Encoder, Float32Array, ImagePredictions, Prediction
from clipcli.scoring.blas import few_threads
from clipcli.scoring.conformal import in_sets
from clipcli.scoring.groups import Groups, check_roll_up, in_groups, warn_of_no_sums
from clipcli.scoring.ranking import Ranking
from clipcli.scoring.rejection import Rejector
from clipcli.scoring.targets import SEPARATOR

Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Classifier:
    """One embedding per class, and the model's own scale, bias and activation.

    Args:
        classnames: C labels.
        class_embeddings: (C, D) float32, unit norm.
        logit_scale: already exponentiated.
        logit_bias: None for softmax models.
        activation: what the model was trained with.
        fingerprint: of the encoder that made the embeddings.
        provenance: model, templates and versions, kept for the reader of the file.
        prompts: what each embedding was made from.
        temperature: what logits are divided by, so that scores are as sure as they are right.
        thresholds: (C,) float32 or None: an image is `unknown` if the probability of its best class is below
            the threshold of that class; NaN is no threshold.
        conformal_quantile: the set of an image is the classes with 1 - probability at most this, from 0 to 1;
            None makes no sets.
        parents: the groups of each of the C classes, the outermost first; None if there are no groups.
        weights: (C, D) float32, of a probe, whose logits are image_features @ weights.T + bias; None for
            scale · cosine.
        bias: (C,) float32 or None: added to the logits of each class, such as the logarithm of its prior.
        class_scales: (C,) float32 or None: what the logits of each class are multiplied by before that, such
            as the norm of a weighted mean of prompts.
        rejector: tells images that show none of the labels.

    Raises:
        ValueError: a value that cannot be, or a label that holds `|` although there are sets.
    """

    classnames: tuple[str, ...]
    class_embeddings: Float32Array
    logit_scale: float
    logit_bias: float | None
    activation: Activation
    fingerprint: str
    provenance: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[tuple[str, ...], ...] = ()
    temperature: float = 1.0
    thresholds: Float32Array | None = None
    conformal_quantile: float | None = None
    parents: Parents | None = None
    weights: Float32Array | None = None
    bias: Float32Array | None = None
    class_scales: Float32Array | None = None
    rejector: Rejector | None = None

    def __post_init__(self) -> None:
        classes, quantile = len(self.classnames), self.conformal_quantile
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"a temperature of {self.temperature}")
        if self.parents is not None and len(self.parents) != classes:
            raise ValueError(f"groups of {len(self.parents)} classes for {classes}")
        self._check_tensors()
        if quantile is not None and not 0 <= quantile <= 1:
            raise ValueError(f"a conformal quantile of {quantile}")
        if quantile is not None and any(SEPARATOR in label for label in self.classnames):
            raise ValueError(f"a label holds {SEPARATOR}, which separates the labels of a set")

    def _check_tensors(self) -> None:
        shape = self.class_embeddings.shape
        if self.weights is not None and self.bias is None:
            raise ValueError("weights without a bias")
        shapes = {"thresholds": shape[:1], "weights": shape, "bias": shape[:1], "class_scales": shape[:1]}
        for name, expected in shapes.items():
            values = getattr(self, name)
            if values is not None and values.shape != expected:
                raise ValueError(f"{name} of shape {values.shape} for {shape[0]} classes")
            if name != "thresholds" and values is not None and not np.isfinite(values).all():
                raise ValueError(f"{name} that are no numbers to calculate with")
        negatives = self.rejector.negatives if self.rejector else None
        if negatives is not None and negatives.shape[1] != shape[1]:
            raise ValueError(f"negative labels of {negatives.shape[1]} dimensions")

    @property
    def is_fitted(self) -> bool:
        """Whether scores were fitted to images: a temperature or sets, with thresholds or without.

        Thresholds alone are those of a class list, which hold for whatever the scores are.
        """
        return self.temperature != 1 or self.conformal_quantile is not None

    @cached_property
    def groups(self) -> Groups | None:
        """The groups of the classes, if there are some."""
        return Groups.of(self.classnames, self.parents) if self.parents and any(self.parents) else None

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuse features of another model.

        Raises:
            ModelMismatchError: the fingerprints differ.
        """
        if encoder.fingerprint != self.fingerprint:
            made_by = self.provenance.get("model", "another model")
            raise ModelMismatchError(
                f"the class embeddings were made by {made_by} ({self.fingerprint}),"
                f" but the images would be encoded by {encoder.name} ({encoder.fingerprint})",
                f"Use `model` {made_by}, or make them again with `clipcli prompts --model {encoder.name}`.",
            )

    def check_score(self, score: Score) -> None:
        """Refuse probabilities of another kind than those that were calibrated, or that thresholds are for,
        and cosines of a probe.

        Raises:
            UsageError: `score` is not the classifier's own activation; nor cosine, by which a probe does not
                rank.
        """
        if self.weights is not None and score not in ("auto", self.activation):
            message = f"a probe ranks labels by {self.activation}, and so `score` cannot be {score}"
            raise UsageError(message, "Leave `score` out: the output has a column `cosine` besides.")
        if score in ("auto", "cosine", self.activation):
            return
        if self.is_fitted or self.thresholds is not None:
            what = "the classifier is calibrated" if self.is_fitted else "thresholds of labels are"
            message = f"{what} for {self.activation}, and so `score` cannot be {score}"
            raise UsageError(message, "Leave `score` out.")

    def check_ranking(self, ranking: Ranking) -> None:
        """Refuse a ranking that the classifier cannot give, and warn of one that says little.

        Raises:
            UsageError: as in `check_score`, or there are no groups to roll up to.
        """
        self.check_score(ranking.score)
        check_roll_up(ranking, self.parents)
        self.warn_of_no_choice(ranking.score)
        warn_of_no_sums(ranking, self.activation)

    def warn_of_no_choice(self, score: Score = "auto") -> None:
        """Tell that a softmax over one class is 1 whatever the image shows."""
        activation = self.activation if score == "auto" else score
        if activation == "softmax" and len(self.classnames) == 1:
            warnings.warn(
                f"with one label, {self.classnames[0]!r}, every image gets the score 1: compare at least two"
                " labels, such as what else the images may show, or use `score` cosine",
                ClipcliWarning,
                stacklevel=3,
            )

    def cosines(self, image_features: Float32Array) -> Float32Array:
        """(N, D) unit-norm features -> (N, C) cosine similarities."""
        with few_threads(image_features.size * len(self.class_embeddings)):
            return (image_features.astype(np.float64) @ self._exact_embeddings.T).astype(np.float32)

    @cached_property
    def _exact_embeddings(self) -> Float64Array:
        """(C, D), converted once for all batches."""
        return self.class_embeddings.astype(np.float64)

    def similarities(self, image_features: Float32Array) -> Float32Array:
        """(N, D) features -> (N, C) what scores are made from: cosines, or the logits of a probe."""
        if self.weights is None:
            return self.cosines(image_features)
        with few_threads(image_features.size * len(self.weights)):
            products = image_features.astype(np.float64) @ self.weights.astype(np.float64).T
        return (products + cast(Float32Array, self.bias)).astype(np.float32)

    def ranked_by(self, similarities: Float32Array, score: Score = "auto") -> Float32Array:
        """(N, C) similarities -> (N, C) what classes are ranked by: logits where these have another order."""
        is_in_order = self.weights is not None or (self.bias is None and self.class_scales is None)
        if score == "cosine" or is_in_order:
            return similarities
        return self.logits(similarities).astype(np.float32)

    def logits(self, similarities: Float32Array) -> Float64Array:
        """(N, C) similarities -> (N, C) scale · cosine + bias, not yet divided by the temperature.

        Of a probe, the similarities are the logits.
        """
        if self.weights is not None:
            return similarities.astype(np.float64)
        scale = self.logit_scale if self.class_scales is None else self.logit_scale * self.class_scales
        logits = scale * similarities.astype(np.float64) + (self.logit_bias or 0.0)
        return np.asarray(logits if self.bias is None else logits + self.bias)

    def scores(self, similarities: Float32Array, score: Score = "auto") -> Float32Array:
        """(N, C) similarities -> (N, C) scores.

        softmax: softmax over the classes of scale · cosine (Radford et al. 2021, figure 3);
        sigmoid: σ(scale · cosine + bias), each class by itself (Zhai et al. 2023, equation 1);
        both with the logits divided by the temperature (Guo et al. 2017, section 4.2).
        """
        if score == "cosine":
            return similarities
        logits = self.logits(similarities) / self.temperature
        activation = self.activation if score == "auto" else score
        return (softmax if activation == "softmax" else sigmoid)(logits).astype(np.float32)

    def is_unsure(
        self, best: npt.NDArray[np.integer[Any]], probs: npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.bool_]:
        """Which of N images are `unknown`: their best classes (N,) are less probable than their thresholds.

        Args:
            best: (N,) indices of the best classes.
            probs: (N,) their probabilities, by the classifier's own activation.
        """
        if self.thresholds is None:
            return np.zeros(len(best), dtype=np.bool_)
        return np.asarray(probs < self.thresholds[best])  # false for NaN

    def predict(
        self, images: Sequence[str], image_features: Float32Array, ranking: Ranking
    ) -> list[ImagePredictions]:
        """Rank the classes of N images, given their (N, D) features; ties go to the earlier class.

        An image that does not reach a threshold of `ranking`, or its label's own, has its ranked labels all
        the same, and the status `unknown`; and so has one that the rejector rejects. Labels' own thresholds,
        and sets, go by the probability of the classifier's own activation, whatever score is asked for.
        """
        cosines = self.cosines(image_features)
        similarities = cosines if self.weights is None else self.similarities(image_features)
        scores = self.scores(similarities, ranking.score)
        ranked_by = self.ranked_by(similarities, ranking.score)
        order = best_classes(ranked_by, max(ranking.top_k, 2))
        top = np.arange(len(order))[:, np.newaxis], order
        top_scores, top_cosines = scores[top].tolist(), cosines[top].tolist()
        ranked = map(self.ranked, images, order.tolist(), top_scores, top_cosines, repeat(ranking.top_k))
        is_judged = self.thresholds is not None or self.conformal_quantile is not None
        is_other = is_judged and ranking.score not in ("auto", self.activation)
        probs = self.scores(similarities) if is_other else scores
        unsure = self.is_unsure(order[:, 0], probs[top][:, 0])
        rejected, reject_scores = self._rejected(image_features, cosines, similarities)
        sets = self._label_sets(probs, ranked_by)
        verdicts = zip(unsure.tolist(), sets, reject_scores, strict=True)
        found = [
            ImagePredictions(
                image,
                predictions,
                row,
                status="unknown" if is_unsure else status_of(best, ranking) if ranking.has_limits else "ok",
                margin=margin_of(best),
                label_set=label_set,
                reject_score=reject_score,
            )
            for image, predictions, row, best, (is_unsure, label_set, reject_score) in zip(
                images, ranked, scores, top_scores, verdicts, strict=True
            )
        ]
        if self.groups is not None:
            found = in_groups(found, self.classnames, self.groups, cosines, ranking, self.activation)
        if self.rejector is None:
            return found
        pairs = zip(found, rejected.tolist(), strict=True)
        return [one._replace(status="unknown") if is_rejected else one for one, is_rejected in pairs]

    def _rejected(
        self, image_features: Float32Array, cosines: Float32Array, similarities: Float32Array
    ) -> tuple[npt.NDArray[np.bool_], list[float] | list[None]]:
        """Which of N images the rejector finds to show none of the labels, and its scores of them."""
        if self.rejector is None:
            return np.zeros(len(cosines), dtype=np.bool_), [None] * len(cosines)
        scores = self.rejector.scores(image_features, cosines, self.logits(similarities))
        return self.rejector.rejects(scores), scores.tolist()

    def _label_sets(self, probs: Float32Array, ranked_by: Float32Array) -> list[tuple[str, ...] | None]:
        """The sets of N images by their (N, C) probabilities, best first; ties go to the earlier class."""
        if self.conformal_quantile is None:
            return [None] * len(probs)
        held = (np.flatnonzero(row) for row in in_sets(probs, self.conformal_quantile))
        ranked = (
            indices[np.argsort(-row[indices], kind="stable")]
            for indices, row in zip(held, ranked_by, strict=True)
        )
        return [tuple(self.classnames[index] for index in indices) for indices in ranked]

    def ranked(
        self,
        image: str,
        indices: list[int],
        scores: list[float],
        cosines: list[float],
        top_k: int,
    ) -> tuple[Prediction, ...]:
        """The predictions of one image from the indices of its best classes, and what these score."""
        best = zip(indices[:top_k], scores, cosines, strict=False)
        return tuple(
            Prediction(image, rank, self.classnames[index], score, cosine)
            for rank, (index, score, cosine) in enumerate(best, 1)
        )


def status_of(best_scores: list[float], ranking: Ranking) -> Status:
    if ranking.min_score is not None and best_scores[0] < np.float32(ranking.min_score):
        return "unknown"
    margin = margin_of(best_scores)
    is_near = margin is not None and ranking.min_margin is not None and margin < ranking.min_margin
    return "unknown" if is_near else "ok"


def margin_of(best_scores: list[float]) -> float | None:
    return best_scores[0] - best_scores[1] if len(best_scores) > 1 else None


def best_classes(cosines: Float32Array, top_k: int) -> npt.NDArray[np.intp]:
    """(N, C) cosines -> (N, k) indices, best first; of equal cosines the earlier class."""
    if 4 * top_k >= cosines.shape[1]:
        return np.argsort(-cosines, axis=1, kind="stable")[:, :top_k]
    left, rows = cosines.copy(), np.arange(len(cosines))
    order = np.empty((len(cosines), top_k), dtype=np.intp)
    for rank in range(top_k):  # the first of equal ones each time
        order[:, rank] = best = left.argmax(axis=1)
        left[rows, best] = -np.inf
    return order


def softmax(logits: Float64Array) -> Float64Array:
    """(N, C) logits -> (N, C) probabilities that sum to 1 over the classes."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def sigmoid(logits: Float64Array) -> Float64Array:
    """(N, C) logits -> (N, C) independent probabilities; the smallest ones keep their digits too."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))
