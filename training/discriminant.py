"""Where a name belongs among the pictures: found from the pictures of names that mean something similar.

The image tower was trained to come close to the captions' vectors, and stays far from most of them. Where it
puts the pictures of a name is the better place for its vector; and where it would put those of a name that it
never saw can be guessed, by Gaussian process regression from the teacher's vectors of names to the mean
features of their pictures (Rasmussen and Williams 2006, section 2.2). What tells classes apart is then the
linear discriminant: the mean times the inverse of the covariance within classes (Fisher 1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Chosen on 110 concepts that a short run had left out.
_SHARPNESS = 4.0  # of the kernel
_NOISE = 0.5  # of a concept's mean, one that is drawn as often as the average, in parts of the kernel at 0
_SHRINKAGE = 0.3  # of the covariance towards a sphere


@dataclass(frozen=True)
class Concepts:
    """What the image tower makes of the pictures of each name.

    Args:
        names: of K concepts.
        means: (K, D) the mean features of their pictures.
        draws: (K,) how often their pictures were drawn.
        within: (D, D) the covariance of features round the mean of their concept.
    """

    names: Sequence[str]
    means: torch.Tensor
    draws: torch.Tensor
    within: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, names: Sequence[str], weights: torch.Tensor) -> Concepts:
        """The concepts of N pictures.

        Args:
            features: (N, D) of the pictures.
            names: of each picture's concept.
            weights: (N,) how often each was drawn.
        """
        row_of = {name: row for row, name in enumerate(dict.fromkeys(names))}
        rows = torch.tensor([row_of[name] for name in names])
        weights = weights.to(features.dtype)
        draws = torch.zeros(len(row_of), dtype=features.dtype).index_add_(0, rows, weights)
        sums = torch.zeros(len(row_of), features.shape[1]).index_add_(0, rows, features * weights[:, None])
        means = sums / draws[:, None]
        beside = features - means[rows]
        counted = weights * (rows.bincount() > 1)[rows]  # a single picture lies on its mean
        within = (beside * counted[:, None]).T @ beside / counted.sum().clamp(min=1e-12)
        return cls(list(row_of), means, draws, within)

    def discriminants(self, known: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The direction that tells each wanted name's pictures from all others -> (M, D) unit norm.

        Args:
            known: (K, T) the teacher's vectors of `names`.
            wanted: (M, T) the teacher's vectors of any names, those of `names` among them.
        """
        centre, middle = known.mean(0), self.means.mean(0)
        known, wanted = F.normalize(known - centre, dim=1), F.normalize(wanted - centre, dim=1)
        covariance = _kernel(known, known)
        covariance.diagonal().add_(_NOISE / (self.draws / self.draws.mean()).sqrt())
        solved = torch.linalg.solve(covariance, self.means - middle)  # (K, D)
        guessed = torch.cat([_kernel(part, known) @ solved for part in wanted.split(4096)])
        size = self.within.diagonal().mean()
        shrunk = self.within + _SHRINKAGE * size * torch.eye(len(self.within))
        return F.normalize(torch.linalg.solve(shrunk, guessed.T).T, dim=1)


def _kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How alike unit vectors (N, T) and (M, T) are -> (N, M), 1 where they are the same."""
    return torch.exp(_SHARPNESS * (one @ other.T - 1))
