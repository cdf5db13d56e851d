"""The text tower, learned first: it gives the sentence vector that a larger, open model gives the name.

The teacher is all-MiniLM-L6-v2 (Apache-2.0). Token embeddings start from its vectors of the tokens, so that
words that no caption holds begin near their meaning; two layers are then distilled on captions and WordNet's
nouns, in any template. The image tower learns afterwards to hit these vectors (image_tower.py).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from clipcli.scoring.metrics import accuracy
from clipcli.train.optimizer import adamw, parameter_groups, set_lr
from clipcli.train.trainable import lock_towers
from training.budget import Budget, lr_at
from training.captions import PLURAL_TEMPLATES, TEMPLATES, plural
from training.image_start import first_projection

Teacher = Callable[[Sequence[str]], torch.Tensor]  # texts -> (N, D) unit norm
Log = Callable[[str], None]
Rows = np.ndarray[Any, np.dtype[np.int64]]
_LR, _WEIGHT_DECAY, _BATCH_SIZE = 2e-3, 0.05, 256
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
    that names of things that look alike lie closer together, those never seen with an image among them.
    """

    def teach(texts: Sequence[str]) -> torch.Tensor:
        with_meaning = [f"{text}: {meaning}" if (meaning := definition(text)) else text for text in texts]
        return F.normalize(teacher(texts) + teacher(with_meaning), dim=-1)

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


class Distilled(NamedTuple):
    """How well the text tower was distilled.

    Args:
        steps: the steps made.
        cosine: the mean cosine of held-out texts to their vectors.
        retrieval: the share of held-out texts that are nearest to their own vector.
        among: how many texts were held out.
    """

    steps: int
    cosine: float
    retrieval: float
    among: int


def in_template(text: str, generator: np.random.Generator) -> str:
    """The text alone, in one of the templates, or in the plural."""
    chance = generator.random()
    if chance < 0.3:
        return text
    if chance < 0.4:
        return PLURAL_TEMPLATES[generator.integers(len(PLURAL_TEMPLATES))].format(plural(text))
    return TEMPLATES[generator.integers(len(TEMPLATES))].format(text)


class Lesson(NamedTuple):
    """What is distilled.

    Args:
        texts: N texts.
        targets: (N, D) the vectors that they shall have, unit norm.
        draws: how often each of the first texts, those of the bank, is drawn.
        bank: how many of the 256 texts of a step are drawn from the bank; the others are drawn evenly from
            all texts.
        spoken: what a text is read as.
    """

    texts: Sequence[str]
    targets: torch.Tensor
    draws: np.ndarray[Any, np.dtype[np.float64]]
    bank: int
    spoken: Callable[[str, np.random.Generator], str] = in_template


def distil(
    model: Any, tokenizer: Any, lesson: Lesson, budget: Budget, log: Log, lr: float | None = None
) -> Distilled:
    """Train the text tower to give each text its vector.

    The loss is the distance to the target plus the divergence from the similarities that the targets have
    within the batch.
    """
    lock_towers(model, image=True, text=False)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    groups = parameter_groups(model, _WEIGHT_DECAY, no_decay={"token_embedding.weight"})
    optimizer = adamw(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
    generator = np.random.default_rng(0)
    held_out, taught = _split(lesson, generator)
    began, step = time.monotonic(), 0
    while (progress := budget.progress(time.monotonic() - began, step)) < 1:
        set_lr(optimizer, lr_at(progress, step, lr or _LR, warmup=50, least=0.01))
        rows = _drawn(lesson, taught, generator)
        tokens = tokenizer([lesson.spoken(lesson.texts[i], generator) for i in rows])
        cosine, divergence = _agreement(text_features(model, tokens, groups=4), lesson.targets[rows])
        optimizer.zero_grad()
        (2 * (1 - cosine) + divergence).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            log(f"text tower: {progress:.0%}, step {step}, cosine {cosine:.3f}, divergence {divergence:.3f}")
    return _tested(model, tokenizer, lesson, held_out, step)


def _split(lesson: Lesson, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """The texts that are held out, none of the bank among them, and all others."""
    count, bank = len(lesson.texts), len(lesson.draws)
    n_held_out = min(500, -(-(count - bank) // 10))
    held_out = generator.choice(np.arange(bank, count), n_held_out, replace=False)
    return held_out, np.setdiff1d(np.arange(count), held_out)


def _drawn(lesson: Lesson, taught: Rows, generator: np.random.Generator) -> Rows:
    """The texts of a step."""
    of_bank = generator.choice(len(lesson.draws), lesson.bank, p=lesson.draws / lesson.draws.sum())
    return np.concatenate([of_bank, generator.choice(taught, _BATCH_SIZE - lesson.bank)])


def _agreement(features: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean cosine of (B, D) features to their targets, and the divergence of their similarities."""
    features = F.normalize(features, dim=-1)
    cosine = (features * target).sum(-1).mean()
    divergence = F.kl_div(
        F.log_softmax(features @ target.T * _SHARPNESS, 1), F.softmax(target @ target.T * _SHARPNESS, 1),
        reduction="batchmean",
    )  # fmt: skip
    return cosine, divergence


def _tested(model: Any, tokenizer: Any, lesson: Lesson, held_out: Rows, steps: int) -> Distilled:
    texts = [f"a photo of a {lesson.texts[i]}" for i in held_out]
    features, targets = F.normalize(encode(model, tokenizer, texts), dim=-1), lesson.targets[held_out]
    retrieval = accuracy((features @ targets.T).numpy(), range(len(held_out)), (1,))["acc1"]
    return Distilled(steps, (features * targets).sum(-1).mean().item(), retrieval, len(held_out))


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
