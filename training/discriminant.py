"""Where a name belongs among the images: found from the images of names that mean something similar.

The image tower was trained to come close to the captions' vectors, and stays far from most of them. Where it
puts the images of a name is the better place for its vector; and where it would put those of a name that it
never saw can be guessed, by Gaussian process regression from what names mean to the mean features of their
images (Rasmussen and Williams 2006, section 2.2). What tells classes apart is then the linear
discriminant: the mean times the inverse of the covariance within classes (Fisher 1936).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

# Chosen on 110 concepts that a short run had left out.
_SHARPNESS = 4.0  # of the kernels
_OF_KINDS = 0.3  # of the kernel is WordNet's, the rest the teacher's
_NOISE = 0.5  # of a concept's mean, one that is drawn as often as the average, in parts of the kernel at 0
_SHRINKAGE = 0.3  # of the covariance towards a sphere


class Meaning(NamedTuple):
    """What N names mean.

    Args:
        vectors: (N, T) the teacher's, unit norm.
        kinds: (N, S) of `kind_vectors`.
    """

    vectors: torch.Tensor
    kinds: torch.Tensor

    def of(self, rows: Sequence[int]) -> Meaning:
        """What some of the names mean."""
        return Meaning(self.vectors[rows], self.kinds[rows])


def kind_vectors(kinds: Sequence[AbstractSet[Hashable]], known: Sequence[int]) -> torch.Tensor:
    """N names' kinds -> (N, S) unit norm: the cosine of two tells how much of their kinds they share.

    A kind counts by its inverse document frequency (Sparck Jones 1972): "canine" says more than "animal".

    Args:
        kinds: of each name; a name without any gets zeros.
        known: the rows whose names have images. Kinds that fewer than two of them share are left out.
    """
    counts = Counter(kind for row in known for kind in kinds[row])
    column = {kind: i for i, kind in enumerate(kind for kind, count in counts.items() if count > 1)}
    vectors = torch.zeros(len(kinds), len(column))
    for row, of_name in enumerate(kinds):
        for kind in of_name & column.keys():
            vectors[row, column[kind]] = math.sqrt(math.log(len(known) / counts[kind]))
    return F.normalize(vectors, dim=1)


@dataclass(frozen=True)
class Concepts:
    """What the image tower makes of the images of each name.

    Args:
        names: of K concepts.
        means: (K, D) the mean features of their images.
        draws: (K,) how often their images were drawn.
        within: (D, D) the covariance of features round the mean of their concept.
    """

    names: Sequence[str]
    means: torch.Tensor
    draws: torch.Tensor
    within: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, names: Sequence[str], weights: torch.Tensor) -> Concepts:
        """The concepts of N images.

        Args:
            features: (N, D) of the images.
            names: of each image's concept.
            weights: (N,) how often each was drawn.
        """
        row_of = {name: row for row, name in enumerate(dict.fromkeys(names))}
        rows = torch.tensor([row_of[name] for name in names])
        weights = weights.to(features.dtype)
        draws = torch.zeros(len(row_of), dtype=features.dtype).index_add_(0, rows, weights)
        sums = torch.zeros(len(row_of), features.shape[1]).index_add_(0, rows, features * weights[:, None])
        means = sums / draws[:, None]
        beside = features - means[rows]
        counted = weights * (rows.bincount() > 1)[rows]  # a single image lies on its mean
        within = (beside * counted[:, None]).T @ beside / counted.sum().clamp(min=1e-12)
        return cls(list(row_of), means, draws, within)

    def discriminants(self, known: Meaning, wanted: Meaning) -> torch.Tensor:
        """The direction that tells each wanted name's images from all others -> (M, D) unit norm.

        Args:
            known: what the K `names` mean.
            wanted: what M names mean, those of `names` among them.
        """
        centre, middle = known.vectors.mean(0), self.means.mean(0)
        known, wanted = (
            each._replace(vectors=F.normalize(each.vectors - centre, dim=1)) for each in (known, wanted)
        )
        covariance = _kernel(known, known)
        covariance.diagonal().add_(_NOISE / (self.draws / self.draws.mean()).sqrt())
        solved = torch.linalg.solve(covariance, self.means - middle)  # (K, D)
        parts = zip(wanted.vectors.split(4096), wanted.kinds.split(4096), strict=True)
        guessed = torch.cat([_kernel(Meaning(*part), known) @ solved for part in parts])
        size = self.within.diagonal().mean()
        shrunk = self.within + _SHRINKAGE * size * torch.eye(len(self.within))
        return F.normalize(torch.linalg.solve(shrunk, guessed.T).T, dim=1)


def _kernel(one: Meaning, other: Meaning) -> torch.Tensor:
    """How alike N and M names are -> (N, M), 1 where vectors and kinds are the same."""
    by_vectors, by_kinds = (torch.exp(_SHARPNESS * (a @ b.T - 1)) for a, b in zip(one, other, strict=True))
    return (1 - _OF_KINDS) * by_vectors + _OF_KINDS * by_kinds
