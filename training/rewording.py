"""Plurals and synonyms, taught to the text tower at the end.

A name stays where it is. Its plural shall lie there too, in every template, and a synonym that names no image
of its own halfway to it. The towers of images do not change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from training.captions import PLURAL_TEMPLATES, TEMPLATES, plural
from training.text_tower import Lesson
from training.words import WordNet

# The shares of texts alone and of plurals; of these, in templates of their own.
_ALONE, _PLURAL, _IN_THEIR_OWN = 0.2, 0.3, 0.4
_DRAWN = 4  # how often the first name of an image is drawn, where another caption is drawn once
LR = 8e-4


def rewording(
    texts: Sequence[str], places: torch.Tensor, captions: int, first: set[str], wordnet: WordNet
) -> Lesson:
    """What is taught.

    Args:
        texts: the captions of images, then other things.
        places: (N, D) where the text tower has them.
        captions: how many of the texts are captions.
        first: the first names of images.
        wordnet: whose synonyms are taught.
    """
    draws = np.array([_DRAWN if text in first else 1 for text in texts[:captions]], float)
    targets = with_synonyms(texts, places, first, wordnet)
    return Lesson(texts, targets, draws, bank=128, spoken=often_plural)


def with_synonyms(
    texts: Sequence[str], places: torch.Tensor, first: set[str], wordnet: WordNet
) -> torch.Tensor:
    """Where texts shall lie: at their places, synonyms of an image's first name halfway to it -> (N, D)."""
    row_of = {text: row for row, text in enumerate(texts)}
    targets = places.clone()
    for name in sorted(first & row_of.keys()):
        for synonym in wordnet.synonyms(name):
            if synonym in row_of and synonym not in first:
                targets[row_of[synonym]] = places[row_of[synonym]] + places[row_of[name]]
    return F.normalize(targets, dim=1)


def often_plural(text: str, generator: np.random.Generator) -> str:
    """The text alone, in the plural, or in one of the templates."""
    chance = generator.random()
    if chance < _ALONE:
        return text
    templates = TEMPLATES
    if chance < _ALONE + _PLURAL:
        text = plural(text)
        templates = PLURAL_TEMPLATES if generator.random() < _IN_THEIR_OWN else TEMPLATES
    return templates[generator.integers(len(templates))].format(text)
