"""How well images and captions find each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clipcli.records import Float32Array
from clipcli.scoring.bootstrap import bootstrap_interval
from clipcli.scoring.evaluation import Estimate
from clipcli.scoring.metrics import first_found

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """Figures of N images and their M captions.

    Args:
        images: N.
        captions: M, each distinct text once.
        image_recall: by k, the share of captions with one of their images among the k nearest images. A k
            above N is left out, because every caption would count.
        text_recall: by k, the share of images with one of their captions among the k nearest captions.
        image_chance: the first of `image_recall`, at k = 1, if images were in random order.
        text_chance: the same of `text_recall`.
    """

    images: int
    captions: int
    image_recall: Mapping[int, Estimate]
    text_recall: Mapping[int, Estimate]
    image_chance: float
    text_chance: float


def evaluate_retrieval(
    image_features: Float32Array,
    text_features: Float32Array,
    captions_of: Sequence[Sequence[int]],
    recall_at: Sequence[int] = RECALL_AT,
) -> Retrieval:
    """Recall both ways, as papers have it: a query counts once, however many of its positives it finds.

    It is `clip_benchmark.metrics.zeroshot_retrieval.evaluate`, where no two captions are the same. There, a
    text that several images have counts once for each, and only that image is right for it; here it counts
    once, and all of them are right. The captions of an image are drawn together for the intervals.

    Args:
        image_features: (N, D), unit norm.
        text_features: (M, D) of distinct captions, unit norm.
        captions_of: the indices of the captions of each image, at least one.
        recall_at: the values of k.

    Raises:
        ValueError: there is no image, one has no caption, or a caption belongs to none.
    """
    pairs = np.array([(row, text) for row, texts in enumerate(captions_of) for text in texts], dtype=np.int64)
    counts = [np.bincount(column, minlength=1) for column in pairs.reshape(-1, 2).T]
    for count, features in zip(counts, (image_features, text_features), strict=True):
        if not len(features) or len(count) != len(features) or not count.all():
            raise ValueError("an image has no caption, or a caption has no image")
    owner = pairs[np.unique(pairs[:, 1], return_index=True)[1], 0]  # (M,) the first image of each caption
    of_texts = first_found(text_features, image_features, pairs[:, ::-1])  # (M,)
    of_images = first_found(image_features, text_features, pairs)  # (N,)
    return Retrieval(
        images=len(image_features),
        captions=len(text_features),
        image_recall=_recalls(of_texts, owner, len(image_features), recall_at),
        text_recall=_recalls(of_images, np.arange(len(image_features)), len(text_features), recall_at),
        image_chance=float(counts[1].mean() / len(image_features)),
        text_chance=float(counts[0].mean() / len(text_features)),
    )


def _recalls(
    found: npt.NDArray[np.int64], owner: npt.NDArray[Any], gallery: int, recall_at: Sequence[int]
) -> dict[int, Estimate]:
    """Recalls of queries by the places (Q,) of their nearest positives; `owner` (Q,) is each one's image."""
    counts = np.bincount(owner)
    drawn = counts > 0  # an image whose captions all belong to an earlier one too is drawn with that one
    recalls = {}
    for k in (k for k in recall_at if k <= gallery):
        sums = np.bincount(owner, weights=found < k)
        interval = bootstrap_interval(sums[drawn], counts=counts[drawn])
        recalls[k] = Estimate(float(np.mean(found < k)), *interval)
    return recalls
