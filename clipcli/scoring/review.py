"""Which images to label next: those of which the model is unsure, and that stand for many others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipcli.records import Float32Array

NEIGHBOURS = 20


def review_order(image_features: Float32Array, margins: Float32Array, count: int) -> npt.NDArray[np.intp]:
    """The images whose labels would teach most -> (count,) indices, the most useful first.

    Images are parted into `count` clusters by k-means, and of each the one is taken with the largest

        (1 - margin) · typicality

    (information density: Settles and Craven 2008, with the margin of the two best classes, Scheffer et al.
    2001, as uncertainty). The typicality of an image is that of TypiClust (Hacohen et al. 2022, ICML): one
    over the mean distance to its 20 nearest neighbours in the cluster. So copies of one image are not asked
    for several times, and odd ones that stand for nothing but themselves come last.

    Args:
        image_features: (N, D), unit norm.
        margins: (N,) best score minus second, from 0 to 1.
        count: how many, at most N.
    """
    features = image_features.astype(np.float64)
    uncertainty = 1 - np.clip(margins.astype(np.float64), 0, 1)
    clusters = _clusters(features, count)
    chosen, merits = [], []
    for cluster in range(count):
        members = np.flatnonzero(clusters == cluster)
        if len(members):
            merit = uncertainty[members] * typicality(features[members])
            chosen.append(members[merit.argmax()])
            merits.append(merit.max())
    return np.asarray(chosen, dtype=np.intp)[np.argsort(-np.array(merits), kind="stable")]


def _clusters(features: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """(N, D) -> (N,) the cluster of each; images that are equal in all bits are one."""
    from sklearn.cluster import MiniBatchKMeans

    distinct, inverse = np.unique(features, axis=0, return_inverse=True)
    if len(distinct) <= count:
        return np.asarray(inverse.reshape(-1))
    fitted = MiniBatchKMeans(count, random_state=0, n_init=3).fit(features)
    return np.asarray(fitted.labels_, dtype=np.intp)


def typicality(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One over the mean distance to the nearest neighbours, of the images of a cluster.

    Args:
        features: (M, D).

    Returns:
        (M,); 0 for an image that is alone.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(features) - 1)
    if count < 1:
        return np.zeros(len(features))
    distances, _ = NearestNeighbors(n_neighbors=count).fit(features).kneighbors()  # of others than itself
    return np.asarray(1 / (distances.mean(axis=1) + 1e-6))
