"""The text tower, learned first: it gives the sentence vector that a larger, open model gives the name.

The teacher is all-MiniLM-L6-v2 (Apache-2.0). Token embeddings start from its vectors of the tokens, so that
words that no caption holds begin near their meaning; two layers are then distilled on captions and WordNet's
nouns, in any template. The image tower learns afterwards to hit these vectors (image_tower.py).
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from training.captions import PLURAL_TEMPLATES, TEMPLATES, plural
from training.image_start import first_projection

Teacher = Callable[[Sequence[str]], torch.Tensor]  # texts -> (N, D) unit norm
Log = Callable[[str], None]
_SHARPNESS = 20.0  # of the softmax over the phrases of a batch
_START, _END = 49406, 49407
_LONGEST = 64  # tokens that the teacher reads


def minilm(folder: Path, batch_size: int = 512) -> Teacher:
    """The sentence vectors of all-MiniLM-L6-v2, read from a folder with its weights: mean over tokens."""
    from transformers import BertModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    model = BertModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def teach(texts: Sequence[str]) -> torch.Tensor:
        vectors = torch.zeros(len(texts), model.config.hidden_size)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), batch_size):
            rows = by_length[start : start + batch_size]
            batch = tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
            )
            hidden = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)  # (B, L, 1)
            vectors[rows] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        return vectors.clone()

    return teach


def explained(teacher: Teacher, definition: Callable[[str], str]) -> Teacher:
    """The mean of the teacher's vectors of a name, and of the name with its definition.

    A definition often tells how the thing looks ("large northern deer with enormous flattened antlers"), so
    that names of things that look alike lie closer together, those never seen with a picture among them.
    """

    def teach(texts: Sequence[str]) -> torch.Tensor:
        told = [f"{text}: {meaning}" if (meaning := definition(text)) else text for text in texts]
        return F.normalize(teacher(texts) + teacher(told), dim=-1)

    return teach


def hashed(width: int = 64) -> Teacher:
    """A teacher for the smoke run: every word has a fixed random vector, a text their mean."""

    def of_word(word: str) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(zlib.crc32(word.encode())).normal(size=width)).float()

    def teach(texts: Sequence[str]) -> torch.Tensor:
        return F.normalize(
            torch.stack([torch.stack([of_word(w) for w in t.split() or [""]]).mean(0) for t in texts]), dim=-1
        )

    return teach


@dataclass(frozen=True)
class TextSpace:
    """The teacher's space, centred, cut to its first principal components and half whitened."""

    mean: torch.Tensor  # (D,)
    components: torch.Tensor  # (D, K)
    scale: torch.Tensor  # (K,)

    @classmethod
    def fit(cls, vectors: torch.Tensor, width: int) -> TextSpace:
        mean = vectors.mean(0)
        _, _, directions = torch.linalg.svd(
            (vectors - mean)[:: max(1, len(vectors) // 8000)], full_matrices=False
        )
        components = directions[:width].T
        if components.shape[1] < width:  # fewer texts than dimensions, as in the smoke run
            components = F.pad(components, (0, width - components.shape[1]))
        return cls(mean, components, ((vectors - mean) @ components).std(0).clamp(min=1e-4).sqrt())

    def project(self, vectors: torch.Tensor, width: int | None = None) -> torch.Tensor:
        """(N, D) -> (N, K) unit norm; with `width`, the first components only."""
        return F.normalize(((vectors - self.mean) @ self.components / self.scale)[:, :width], dim=-1)


def text_features(model: Any, tokens: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """open_clip's `encode_text`: (N, L) tokens -> (N, D).

    Texts of like length go through the layers together, cut to the longest of their group. They are embedded
    all at once, because the gradient of the embeddings is as large as the vocabulary.
    """
    lengths = tokens.argmax(1) + 1  # the end of a text has the highest number
    order = lengths.argsort()
    embedded = model.token_embedding(tokens[order]) + model.positional_embedding
    features = []
    for rows, inputs in zip(order.chunk(groups), embedded.chunk(groups), strict=True):
        length = int(lengths[rows].max())
        hidden = model.transformer(inputs[:, :length], attn_mask=model.attn_mask[:length, :length])
        ends = hidden[torch.arange(len(rows)), lengths[rows] - 1]
        features.append(model.ln_final(ends) @ model.text_projection)
    return torch.cat(features)[order.argsort()]


@torch.no_grad()
def encode(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """`text_features` of any number of texts, shortest first so that little is padded."""
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    features: torch.Tensor | None = None
    for start in range(0, len(texts), 1024):
        rows = by_length[start : start + 1024]
        part = text_features(model, tokenizer([texts[i] for i in rows]))
        features = torch.zeros(len(texts), part.shape[1]) if features is None else features
        features[rows] = part
    return torch.zeros(0) if features is None else features


def averaged(model: Any, tokenizer: Any, texts: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """The class embeddings of the texts: normalised, averaged over the templates, normalised -> (N, D)."""
    each = (
        F.normalize(encode(model, tokenizer, [t.format(text) for text in texts]), dim=-1) for t in templates
    )
    return F.normalize(sum(each, torch.zeros(())), dim=-1)


def start_from_words(
    model: Any, tokenizer: Any, texts: Sequence[str], teacher: Teacher, space: TextSpace
) -> torch.Tensor:
    """Set the embeddings of the tokens in the texts to the teacher's vectors -> their ids; others are 0.

    Zero rows cost nothing in the zipped weights, and most of CLIP's 49,408 tokens name nothing to draw.
    """
    used = torch.unique(tokenizer(list(texts)))
    used = used[(used != 0) & (used < _START)]
    words = [tokenizer.decoder[i].replace("</w>", "") for i in used.tolist()]
    width = model.token_embedding.weight.shape[1]
    with torch.no_grad():
        model.token_embedding.weight.zero_()
        model.token_embedding.weight[used] = space.project(teacher(words), width)
        model.token_embedding.weight[[_START, _END]] = torch.randn(2, width) * 0.05
        model.positional_embedding.normal_(0, 0.01)
    return used


class Budget(NamedTuple):
    """How long to train: so many seconds, or, for a run that is the same on every machine, so many steps."""

    seconds: float = math.inf
    steps: int = 0

    def passed(self, seconds: float, step: int) -> float:
        """How much of it is over, 0 to 1."""
        return step / self.steps if self.steps else seconds / self.seconds


class Distilled(NamedTuple):
    """What came of the distillation: cosine to the teacher and retrieval of phrases held out from it."""

    steps: int
    cosine: float
    retrieval: float
    among: int


class Lesson(NamedTuple):
    """What is distilled: the vectors (N, D) that N texts are to have.

    A step takes 256: `bank` of the first texts, in proportion to `draws`, and the rest of all, evenly.
    """

    texts: Sequence[str]
    targets: torch.Tensor
    draws: np.ndarray[Any, np.dtype[np.float64]]
    bank: int


def distil(model: Any, tokenizer: Any, lesson: Lesson, budget: Budget, log: Log) -> Distilled:
    """Train the text tower to give each text its vector.

    The loss is the distance to the target plus the divergence from the teacher's similarities in the batch.
    """
    texts, targets, draws, bank = lesson
    n_bank, shares = len(draws), draws / draws.sum()
    generator = np.random.default_rng(0)
    n_held = min(500, -(-(len(texts) - n_bank) // 10))
    held = generator.choice(np.arange(n_bank, len(texts)), n_held, replace=False)
    kept = np.setdiff1d(np.arange(len(texts)), held)
    parameters = [
        p for name, p in model.named_parameters() if not name.startswith("visual") and name != "logit_scale"
    ]
    groups = [
        {
            "params": [p for p in parameters if p.ndim >= 2 and p is not model.token_embedding.weight],
            "weight_decay": 0.05,
        },
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        {"params": [model.token_embedding.weight], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, fused=True)
    began, step = time.monotonic(), 0
    while (passed := budget.passed(time.monotonic() - began, step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * max(0.5 * (1 + math.cos(math.pi * passed)), 0.01)
        rows = np.concatenate([generator.choice(n_bank, bank, p=shares), generator.choice(kept, 256 - bank)])
        tokens = tokenizer([in_template(texts[i], generator) for i in rows])
        features = F.normalize(text_features(model, tokens, groups=4), dim=-1)
        target = targets[rows]
        cosine = (features * target).sum(-1).mean()
        divergence = F.kl_div(
            F.log_softmax(features @ target.T * _SHARPNESS, 1), F.softmax(target @ target.T * _SHARPNESS, 1),
            reduction="batchmean",
        )  # fmt: skip
        optimizer.zero_grad()
        (2 * (1 - cosine) + divergence).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            log(f"text tower: {passed:.0%}, step {step}, cosine {cosine:.3f}, divergence {divergence:.3f}")
    features = F.normalize(encode(model, tokenizer, [f"a photo of a {texts[i]}" for i in held]), dim=-1)
    found = (features @ targets[held].T).argmax(1) == torch.arange(n_held)
    return Distilled(
        step, (features * targets[held]).sum(-1).mean().item(), found.float().mean().item(), n_held
    )


def carried_over(known: torch.Tensor, features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Where texts belong in the tower's space, by where it has others: teacher's (N, T) -> (N, D) unit norm.

    Args:
        known: (K, T) the teacher's vectors of texts that the tower has learned.
        features: (K, D) the tower's own.
        vectors: the teacher's of the texts to place.
    """
    mean, middle = known.mean(0), features.mean(0)
    projection = first_projection(known - mean, features - middle)
    return F.normalize((vectors - mean) @ projection.T + middle, dim=-1)


def in_template(text: str, generator: np.random.Generator) -> str:
    """The text alone, in one of the templates, or in the plural."""
    chance = generator.random()
    if chance < 0.3:
        return text
    if chance < 0.4:
        return PLURAL_TEMPLATES[generator.integers(len(PLURAL_TEMPLATES))].format(plural(text))
    return TEMPLATES[generator.integers(len(TEMPLATES))].format(text)
