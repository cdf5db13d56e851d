"""Nearest class mean: the images of a class, averaged as its prompts are."""

from __future__ import annotations

import numpy as np

from clipcli.scoring.linear_head import Examples, LinearHead, class_means, normalised


def prototype(examples: Examples, logit_scale: float) -> LinearHead:
    """The cosine to the mean of each class's features, times the model's own scale.

        W_c = logit_scale · μ_c / ‖μ_c‖                  (C, D)
        b_c = 0                                          (C,)

    Snell et al. 2017, "Prototypical Networks for Few-shot Learning", with the cosine as CLIP has it.

    Args:
        examples: the images.
        logit_scale: of the model, already exponentiated.
    """
    means = normalised(class_means(examples))
    return LinearHead(logit_scale * means, np.zeros(examples.classes))
