"""The steps of the text tower: what it is taught first, at the end, and about plurals and synonyms."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clipcli.models.build import build_random, build_tokenizer
from clipcli.models.locate import locate_config
from training.budget import Budget
from training.captions import ENSEMBLE, FASHION, TEMPLATES, captions, photo_classes, phrases, plural, things
from training.catalogue import SourceImage
from training.discriminant import Concepts, Meaning, kind_vectors
from training.export import CONFIG
from training.rewording import LR as REWORDING_LR
from training.rewording import rewording
from training.text_tower import (
    Lesson,
    Teacher,
    TextSpace,
    averaged,
    carried_over,
    distil,
    explained,
    start_from_words,
)
from training.words import WordNet

log = logging.getLogger("training").info
# The least that a caption is drawn when the text tower is finished, where 1 is the average.
_LEAST_DRAWN = 0.3
# The weight of a name's discriminant, where the vector that the teacher gave the name has 1. It is halved for
# names whose images are drawn ten times as often as the average.
_OF_DISCRIMINANT, _SETTLED = 2.0, 10.0


def new_model(seed: int = 0, config: Path = CONFIG) -> tuple[Any, Any]:
    """An untrained model of the configuration, and its tokenizer."""
    files = locate_config(config)
    return build_random(files, seed), build_tokenizer(files)


def text_bank(images: Sequence[SourceImage], wordnet: WordNet) -> list[str]:
    """The captions of the images, and the names of clothes and of photo classes."""
    names = [*(name for names in FASHION for name in names), *photo_classes()]
    return list(dict.fromkeys([*(word for p in images for word in captions(p, wordnet)), *names]))


def _bank_and_things(
    images: Sequence[SourceImage], wordnet: WordNet, tokenizer: Any
) -> tuple[list[str], list[str]]:
    """The bank, and the bank with the things that no caption names after it."""
    bank = text_bank(images, wordnet)
    others = sorted(set(things(wordnet, lambda text: len(tokenizer.encode(text)))) - set(bank))
    return bank, [*bank, *others]


def train_text(
    images: Sequence[SourceImage],
    wordnet: WordNet,
    teacher: Teacher,
    path: Path,
    budget: Budget,
    described: int,
) -> None:
    """Distil the text tower on the captions of the images and other phrases; write its weights."""
    model, tokenizer = new_model()
    bank = text_bank(images, wordnet)
    texts = phrases(
        bank, wordnet, lambda text: len(tokenizer.encode(text)), described, np.random.default_rng(0)
    )
    teacher = explained(teacher, wordnet.definition)
    vectors = teacher(texts)
    space = TextSpace.fit(vectors, model.text_projection.shape[1])
    worded = [*texts, *map(plural, texts), *(t.format("cat") for t in TEMPLATES)]
    start_from_words(model, tokenizer, worded, teacher, space)
    lesson = Lesson(texts, space.project(vectors), draws=np.ones(len(bank)), bank=96)
    _distil_and_keep(model, tokenizer, lesson, budget, path)


def finish_text(
    images: Sequence[SourceImage],
    wordnet: WordNet,
    teacher: Teacher,
    start: Path,
    path: Path,
    budget: Budget,
    concepts: Concepts,
) -> None:
    """Move all names towards where the image tower has, or would have, their images; write the weights.

    A name moves two thirds of the way from the vector that the teacher gave it to its discriminant, and less
    far if its images were drawn often, because they are close to its vector already. Things that no caption
    names are learned together with the captions.
    """
    model, tokenizer = new_model()
    model.load_state_dict(torch.load(start, weights_only=True), strict=False)
    bank, texts = _bank_and_things(images, wordnet, tokenizer)
    vectors = explained(teacher, wordnet.definition)(texts)
    with torch.no_grad():
        placed = averaged(model, tokenizer, bank, ENSEMBLE)
    placed = torch.cat([placed, carried_over(vectors[: len(bank) : 4], placed[::4], vectors[len(bank) :])])
    row_of = {text: row for row, text in enumerate(texts)}
    rows = [row_of[name] for name in concepts.names]
    meaning = Meaning(vectors, kind_vectors([wordnet.kinds(text) for text in texts], rows))
    drawn = torch.zeros(len(texts))
    drawn[rows] = concepts.draws / concepts.draws.mean()
    shares = discriminant_shares(drawn)[:, None]
    wanted = F.normalize(placed + shares * concepts.discriminants(meaning.of(rows), meaning), dim=1)
    draws = drawn[: len(bank)].clamp(min=_LEAST_DRAWN).double().numpy()
    _distil_and_keep(model, tokenizer, Lesson(texts, wanted, draws, bank=128), budget, path)


def discriminant_shares(drawn: torch.Tensor) -> torch.Tensor:
    """The weight of each name's discriminant, where the vector that the teacher gave it has 1 -> (N,).

    Args:
        drawn: (N,) how often the images of each name were drawn, relative to the average.
    """
    return _OF_DISCRIMINANT / (1 + drawn / _SETTLED)


def reword_text(
    images: Sequence[SourceImage],
    wordnet: WordNet,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    budget: Budget,
) -> None:
    """Teach the text tower of a model plurals and synonyms; write its weights.

    Args:
        images: those that were trained on.
        wordnet: whose synonyms are taught.
        weights: the state dict of the model.
        path: of the text tower's weights.
        budget: how long.
    """
    model, tokenizer = new_model()
    model.load_state_dict(weights)
    bank, texts = _bank_and_things(images, wordnet, tokenizer)
    with torch.no_grad():
        places = averaged(model, tokenizer, texts, ENSEMBLE)
    first = {image.names[0] for image in images}
    lesson = rewording(texts, places, len(bank), first, wordnet)
    _distil_and_keep(model, tokenizer, lesson, budget, path, REWORDING_LR)


def _distil_and_keep(
    model: Any, tokenizer: Any, lesson: Lesson, budget: Budget, path: Path, lr: float | None = None
) -> None:
    """Train the text tower; write its weights and, beside them, how well that went."""
    distilled = distil(model, tokenizer, lesson, budget, log, lr)
    log(f"{path.name}: {distilled}")
    state = model.state_dict().items()
    torch.save({n: value for n, value in state if not n.startswith("visual") and n != "logit_scale"}, path)
    report = distilled._asdict() | {"texts": len(lesson.texts), "bank": len(lesson.draws)}
    path.with_suffix(".json").write_text(json.dumps(report))
