"""The image tower: learns to hit the text tower's vectors of what each picture shows.

Every view is compared with a bank of all captions (a softmax over some 20,000); its names, keywords and kinds
are positives together, and a part of the target goes to the captions nearest in meaning. A caption's vector
is the average over the templates that `clipcli classify` uses by default. The text tower stays as it was
distilled, so that the names of things that no picture showed keep their place beside the others. The schedule
is by the clock: a run that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.captions import ENSEMBLE
from training.discriminant import Concepts
from training.image_start import first_projection
from training.text_tower import Budget, Log, averaged
from training.views import MEAN, STD, Chances, views

_EVERY_PHOTO = 9  # one of so many is looked at to learn what their classes look like


@dataclass(frozen=True)
class Settings:
    """How the image tower is trained.

    Args:
        budget: of training, checkpoints and evaluation not counted.
        size: of the views, as the model's.
        rate, weight_decay, batch_size: of AdamW, with a short warm-up and a cosine to zero.
        soft: the share of the target that goes to the neighbours of the picture's first caption.
        ema: the weights that are kept are an average over about 1 / (1 - ema) steps.
        chances: of the augmentations.
        photos: the share of each batch that is Fashion-MNIST.
        resemble: the weight of the distance to the features of `Examples.reference`.
        fixed_blocks: so many blocks of a tower that starts from photographs stay as they are, from the first.
        fixed_filters: so do all its depthwise filters. There are few, and on a CPU their gradient takes as
            long as half of a step.
        directions: the weight of the loss of `Examples.directions`, and how many of them a step takes.
    """

    budget: Budget
    size: int = 80
    rate: float = 2e-3
    weight_decay: float = 0.05
    batch_size: int = 64
    soft: float = 0.15
    ema: float = 0.999
    chances: Chances = field(default_factory=Chances)
    photos: float = 1 / 8
    resemble: float = 0.5
    directions: tuple[float, int] = (0.25, 48)
    fixed_blocks: int = 3
    fixed_filters: bool = True
    seed: int = 0


@dataclass
class Examples:
    """What is trained on.

    Args:
        masters: (N, 4, M, M) premultiplied uint8.
        targets: for each picture, the share of every caption.
        weights: (N,) how often each is drawn.
        mono, flip: (N,) see `views`.
        photos: (P, 4, M, M) opaque photographs, drawn evenly.
        photo_targets: as `targets`.
        reference: (N, F) what the tower's start makes of each master; a row of zeros where it is not asked.
        directions: (A, F) features of classes that no picture shows, from image_start.py.
        direction_names: what they are called.
    """

    masters: torch.Tensor
    targets: Sequence[Mapping[str, float]]
    weights: np.ndarray[Any, np.dtype[np.float64]]
    mono: torch.Tensor
    flip: torch.Tensor
    photos: torch.Tensor
    photo_targets: Sequence[Mapping[str, float]]
    reference: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    directions: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    direction_names: Sequence[str] = ()


class Bank:
    """All captions, what each picture's are, and what they mean to the text tower."""

    def __init__(self, examples: Examples, model: Any, tokenizer: Any, neighbours: int = 24) -> None:
        names = [{name: 1.0} for name in examples.direction_names]
        shares = [*examples.targets, *examples.photo_targets, *names]
        self.captions = list(dict.fromkeys(word for share in shares for word in share))
        index = {word: i for i, word in enumerate(self.captions)}
        self.targets = [([index[word] for word in share], list(share.values())) for share in shares]
        self.first = torch.tensor([rows[0] for rows, _ in self.targets])
        self.features = averaged(model, tokenizer, self.captions, ENSEMBLE)  # (C, D) unit norm
        neighbours = min(neighbours, len(self.captions))
        close = [(part @ self.features.T).topk(neighbours, 1) for part in self.features.split(1024)]
        self.near = torch.cat([found.indices for found in close])  # (C, K)
        self.nearness = F.softmax(torch.cat([found.values for found in close]) / 0.08, 1)

    def target(self, rows: Sequence[int], soft: float) -> torch.Tensor:
        """(B, C): the captions of each picture, and the neighbours of its first."""
        target = torch.zeros(len(rows), len(self.captions))
        for i, row in enumerate(rows):
            columns, shares = self.targets[row]
            target[i, columns] = (1 - soft) * torch.tensor(shares)
        first = self.first[list(rows)]
        return target.scatter_add_(1, self.near[first], soft * self.nearness[first])


def styles_factor(styles: int) -> float:
    """How much more often a concept is drawn that several styles show: they tell what a thing is in all."""
    return 1.0 if styles < 4 else 2.5


def sampling_weights(
    concepts: Sequence[str], sources: Sequence[str], factors: Sequence[float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One over the root of each concept's count, times `styles_factor` and `factors`; they add up to 1."""
    count = Counter(concepts)
    styles: dict[str, set[str]] = {}
    for concept, source in zip(concepts, sources, strict=True):
        styles.setdefault(concept, set()).add(source)
    weights = np.array([
        factor / math.sqrt(count[concept]) * styles_factor(len(styles[concept]))
        for concept, factor in zip(concepts, factors, strict=True)
    ])  # fmt: skip
    return weights / weights.sum()


def resemblance(raw: torch.Tensor, before: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of features (B, F) to those of before, both from `usual` (F).

    Rows that are 0 before do not count.
    """
    asked = before.any(1)
    if not asked.any():
        return torch.zeros(())
    return (1 - F.cosine_similarity(raw[asked] - usual, before[asked] - usual, dim=1)).mean()


class ImageTraining:
    """The loop and all that a checkpoint must hold to go on."""

    def __init__(self, model: Any, tokenizer: Any, examples: Examples, settings: Settings) -> None:
        self.model, self.examples, self.settings = model, examples, settings
        self.bank = Bank(examples, model, tokenizer)
        self.visual = model.visual.to(memory_format=torch.channels_last).train()
        self.scale = nn.Parameter(torch.tensor(math.log(18.0)))
        learned = [p for p in self.visual.parameters() if p.requires_grad]
        matrices, vectors = [p for p in learned if p.ndim >= 2], [p for p in learned if p.ndim < 2]
        self._first_projection()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": [*vectors, self.scale], "weight_decay": 0.0},
            ],
            lr=settings.rate, fused=True,
        )  # fmt: skip
        self.average = {name: value.detach().clone() for name, value in self.state().items()}
        self.step, self.spent, self.losses = 0, 0.0, []  # type: ignore[var-annotated]

    @torch.no_grad()
    def _first_projection(self) -> None:
        """Where there are reference features, start the projection from the best linear map of them."""
        examples, bank = self.examples, self.bank
        known = examples.reference.any(1).nonzero()[:, 0] if len(examples.reference) else torch.zeros(0)
        self.usual = torch.zeros(())  # the mean of the reference features
        if len(known):
            self.usual = examples.reference[known].mean(0)
            spread = (examples.reference[known] - self.usual).norm(dim=1).mean()
            scale = spread / examples.directions.norm(dim=1).mean()
            features = torch.cat([examples.reference[known] - self.usual, examples.directions * scale])
            of_directions = bank.first[len(bank.first) - len(examples.directions) :]
            targets = bank.features[torch.cat([bank.first[known], of_directions])]
            projection = first_projection(features, targets)
            along = F.normalize(self.usual, dim=0)  # what all features share says nothing
            self.visual.head.proj.weight.copy_(projection - (projection @ along)[:, None] * along)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that learn: the image tower's and the scale."""
        return {f"visual.{name}": value for name, value in self.visual.state_dict().items()} | {
            "logit_scale": self.scale,
        }

    @property
    def passed(self) -> float:
        """How much of the time is over, 0 to 1."""
        return self.settings.budget.passed(self.spent, self.step)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The views, the masters they are of and the targets of the next step, by the step's number alone."""
        settings, examples = self.settings, self.examples
        generator = np.random.default_rng((settings.seed, self.step))
        torch.manual_seed(settings.seed * 1_000_003 + self.step)
        n_photos = round(settings.batch_size * settings.photos) if len(examples.photos) else 0
        drawn = generator.choice(len(examples.masters), settings.batch_size - n_photos, p=examples.weights)
        photos = generator.integers(max(len(examples.photos), 1), size=n_photos)
        plain = torch.arange(settings.batch_size) >= len(drawn)
        pictures = torch.cat([examples.masters[drawn], examples.photos[photos]])
        mono = torch.cat([examples.mono[drawn], torch.zeros(n_photos, dtype=torch.bool)])
        flip = torch.cat([examples.flip[drawn], torch.ones(n_photos, dtype=torch.bool)])
        rows = [*drawn.tolist(), *(len(examples.masters) + photos).tolist()]
        target = self.bank.target(rows, settings.soft)
        seen = views(pictures, settings.size, mono, flip, plain, settings.chances)
        return seen, torch.from_numpy(drawn), target

    def learn(self) -> float:
        """One step -> its loss."""
        passed, settings = self.passed, self.settings
        cosine = max(0.5 * (1 + math.cos(math.pi * passed)), 0.005)
        rate = settings.rate * min(1, (self.step + 1) / 100) * cosine
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pictures, drawn, target = self.batch()
        raw = self.visual.trunk(pictures)  # (B, F)
        features = F.normalize(self.visual.head(raw), dim=-1)  # (B, D)
        logits = self.scale.exp().clamp(max=60) * features @ self.bank.features.T
        loss = -(target * F.log_softmax(logits, 1)).sum(1).mean()
        total = loss + self._kept(raw[: len(drawn)], drawn)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.visual.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._follow(min(settings.ema, (1 + self.step) / (10 + self.step)))
        return loss.item()

    def _kept(self, raw: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The losses that keep what the tower knew at its start; 0 where it started from nothing."""
        examples, settings = self.examples, self.settings
        loss = torch.zeros(())
        if len(examples.reference):
            loss = loss + settings.resemble * resemblance(raw, examples.reference[drawn], self.usual)
        if len(examples.directions):
            weight, count = settings.directions
            chosen = torch.randint(len(examples.directions), (count,))
            rows = (len(self.bank.first) - len(examples.directions) + chosen).tolist()
            sent = F.normalize(self.visual.head(examples.directions[chosen]), dim=-1)
            logits = self.scale.exp().clamp(max=60) * sent @ self.bank.features.T
            named = self.bank.target(rows, settings.soft)
            loss = loss - weight * (named * F.log_softmax(logits, 1)).sum(1).mean()
        return loss

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        state = self.state()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        averages, values = [self.average[n] for n in floats], [state[n].detach() for n in floats]
        torch._foreach_lerp_(averages, values, 1 - decay)

    def run(
        self,
        log: Log,
        checkpoint: Path | None = None,
        every: float = 180,
        look: Callable[[], str] | None = None,
    ) -> None:
        """Train until the time is over; now and then look at the development set and keep a checkpoint."""
        since = time.monotonic()
        saved = self.spent
        while self.passed < 1:
            self.losses.append(self.learn())
            now = time.monotonic()
            self.spent += now - since
            since = now
            if self.spent - saved >= every:
                saved = self.spent
                recent = sum(self.losses[-100:]) / len(self.losses[-100:])
                seen = self.step * self.settings.batch_size
                progress = f"image tower: {self.passed:.0%}, {seen} views, {seen / self.spent:.0f}/s"
                log(f"{progress}, loss {recent:.3f}" + (f", {look()}" if look else ""))
                if checkpoint:
                    self.save(checkpoint)
                since = time.monotonic()
        if checkpoint:
            self.save(checkpoint)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save({"state": self.state(), "average": self.average, "optimizer": self.optimizer.state_dict(),
                    "step": self.step, "spent": self.spent, "losses": self.losses}, partial)  # fmt: skip
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        kept = torch.load(path, weights_only=True)
        self.restore(kept["state"])
        self.average = kept["average"]
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step, self.spent, self.losses = kept["step"], kept["spent"], kept["losses"]

    @torch.no_grad()
    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Set the tensors that learn to those of `state`."""
        for name, value in self.state().items():
            value.copy_(state[name])

    @torch.inference_mode()
    def concepts(self) -> Concepts:
        """What the averaged tower makes of the pictures, as they are on white, by their first captions."""
        visual, size = copy.deepcopy(self.visual).eval(), self.settings.size
        visual.load_state_dict(
            {name[7:]: v for name, v in self.average.items() if name.startswith("visual.")}
        )
        photos, share = self.examples.photos[::_EVERY_PHOTO], self.settings.photos
        features = []
        for part in (*self.examples.masters.split(256), *photos.split(256)):
            seen = (part[:, :3].float() + 255 - part[:, 3:]) / 255
            seen = F.interpolate(seen, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            features.append(F.normalize(visual((seen - MEAN) / STD), dim=-1))
        targets = [*self.examples.targets, *self.examples.photo_targets[::_EVERY_PHOTO]]
        weights = [*(1 - share) * self.examples.weights, *[share / max(len(photos), 1)] * len(photos)]
        names = [next(iter(target)) for target in targets]
        return Concepts.of(torch.cat(features), names, torch.tensor(weights))

    def averaged(self) -> dict[str, torch.Tensor]:
        """The whole model's weights with the averages in place of those that learn."""
        weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        weights.update({name: value.clone() for name, value in self.average.items()})
        weights["logit_scale"] = weights["logit_scale"].clamp(max=math.log(60))
        return {name: value.contiguous() for name, value in weights.items()}
