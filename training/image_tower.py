"""The image tower learns to give each image the vector that the text tower gives its captions.

Every view is compared with a bank of all captions (a softmax over some 20,000). Its names, keywords and kinds
are all positives, and a part of the target goes to the captions nearest in meaning. A caption's vector is the
average over the templates that `clipcli classify` uses by default. The text tower does not change, so that
the names of things that no image shows keep their place beside the others. The length of the training is
given in seconds; a run that was stopped continues from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clipcli.train.losses import soft_cross_entropy
from clipcli.train.optimizer import Average, adamw, parameter_groups, set_lr
from clipcli.train.run_folder import load_state, save_state
from clipcli.train.trainable import lock_towers
from training.budget import Budget, lr_at
from training.discriminant import Concepts
from training.examples import Bank, Examples
from training.image_start import first_projection
from training.text_tower import Log
from training.views import MEAN, STD, Chances, views

MAX_SCALE = 60.0
_FIRST_SCALE = 18.0
_EVERY_PHOTO = 9  # one of this many photographs is used to find what its class looks like


@dataclass(frozen=True)
class Settings:
    """How the image tower is trained.

    Args:
        budget: of training; checkpoints and evaluation do not count.
        size: of the views, in pixels; the model's input size.
        lr: the learning rate after the warm-up; it falls with half a cosine.
        weight_decay: of AdamW.
        batch_size: views per step.
        soft: the share of the target that goes to the captions nearest in meaning to the image's first
            caption.
        ema: the decay of the average of the weights, which is what is kept.
        chances: of the augmentations.
        photos: the share of each batch that is Fashion-MNIST.
        resemble: the weight of the distance to the features of `Examples.reference`.
        directions: the weight of the loss of `Examples.directions`, and how many of them a step uses.
        fixed_blocks: where the tower starts from photographs, this many of its first blocks do not learn.
        fixed_filters: its depthwise filters do not learn either. They have few weights, and on a CPU their
            gradient takes half of the time of a step.
        seed: of the initial weights, and of the batches.
    """

    budget: Budget
    size: int = 80
    lr: float = 2e-3
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


def resemblance(raw: torch.Tensor, before: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of features (B, F) to those of before, both from `usual` (F).

    Rows that are 0 before do not count.
    """
    asked = before.any(1)
    if not asked.any():
        return torch.zeros(())
    return (1 - F.cosine_similarity(raw[asked] - usual, before[asked] - usual, dim=1)).mean()


class ImageTraining:
    """The training loop, and the state that a checkpoint holds."""

    def __init__(self, model: Any, tokenizer: Any, examples: Examples, settings: Settings) -> None:
        self.model, self.examples, self.settings = model, examples, settings
        self.bank = Bank(examples, model, tokenizer)
        lock_towers(model, image=False, text=True)
        self.visual = model.visual.to(memory_format=torch.channels_last).train()
        with torch.no_grad():
            model.logit_scale.fill_(math.log(_FIRST_SCALE))
        self._set_first_projection()
        groups = parameter_groups(model, settings.weight_decay)
        self.optimizer = adamw(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.average = Average(model, settings.ema)
        self.step, self.seconds = 0, 0.0
        self.losses: list[float] = []

    @torch.no_grad()
    def _set_first_projection(self) -> None:
        """Where there are reference features, start with the best linear map from them to the captions."""
        examples, bank = self.examples, self.bank
        known = examples.reference.any(1).nonzero()[:, 0] if len(examples.reference) else torch.zeros(0)
        self.mean_reference = torch.zeros(())
        if len(known):
            self.mean_reference = examples.reference[known].mean(0)
            centred = examples.reference[known] - self.mean_reference
            scale = centred.norm(dim=1).mean() / examples.directions.norm(dim=1).mean()
            features = torch.cat([centred, examples.directions * scale])
            of_directions = bank.first[len(bank.first) - len(examples.directions) :]
            targets = bank.features[torch.cat([bank.first[known], of_directions])]
            projection = first_projection(features, targets)
            along = F.normalize(self.mean_reference, dim=0)  # what all features share says nothing
            self.visual.head.proj.weight.copy_(projection - (projection @ along)[:, None] * along)

    @property
    def progress(self) -> float:
        """How much of the budget is used, 0 to 1."""
        return self.settings.budget.progress(self.seconds, self.step)

    # --- A step -----------------------------------------------------------------------------

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The views, the rows of their masters and the targets of a step; they depend on its number only."""
        settings, examples = self.settings, self.examples
        generator = np.random.default_rng((settings.seed, self.step))
        torch.manual_seed(settings.seed * 1_000_003 + self.step)
        n_photos = round(settings.batch_size * settings.photos) if len(examples.photos) else 0
        drawn = generator.choice(len(examples.masters), settings.batch_size - n_photos, p=examples.weights)
        photos = generator.integers(max(len(examples.photos), 1), size=n_photos)
        plain = torch.arange(settings.batch_size) >= len(drawn)
        images = torch.cat([examples.masters[drawn], examples.photos[photos]])
        mono = torch.cat([examples.mono[drawn], torch.zeros(n_photos, dtype=torch.bool)])
        flip = torch.cat([examples.flip[drawn], torch.ones(n_photos, dtype=torch.bool)])
        rows = [*drawn.tolist(), *(len(examples.masters) + photos).tolist()]
        target = self.bank.target(rows, settings.soft)
        made = views(images, settings.size, mono, flip, plain, settings.chances)
        return made, torch.from_numpy(drawn), target

    def make_step(self) -> float:
        """Change the weights; returns the loss."""
        settings = self.settings
        set_lr(self.optimizer, lr_at(self.progress, self.step, settings.lr, warmup=100, least=0.005))
        images, drawn, target = self.batch()
        raw = self.visual.trunk(images)  # (B, F)
        loss = self._caption_loss(raw, target)
        total = loss + self._knowledge_loss(raw[: len(drawn)], drawn)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.visual.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.step)
        return loss.item()

    def _caption_loss(self, raw: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of (B, F) features of the trunk over all captions, with (B, C) targets."""
        features = F.normalize(self.visual.head(raw), dim=-1)  # (B, D)
        logits = self.model.logit_scale.exp().clamp(max=MAX_SCALE) * features @ self.bank.features.T
        return soft_cross_entropy(logits, target)

    def _knowledge_loss(self, raw: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The losses that keep what the tower knew at its start; 0 if it started from random weights."""
        examples, settings = self.examples, self.settings
        loss = torch.zeros(())
        if len(examples.reference):
            similar = resemblance(raw, examples.reference[drawn], self.mean_reference)
            loss = loss + settings.resemble * similar
        if len(examples.directions):
            weight, count = settings.directions
            chosen = torch.randint(len(examples.directions), (count,))
            rows = (len(self.bank.first) - len(examples.directions) + chosen).tolist()
            target = self.bank.target(rows, settings.soft)
            loss = loss + weight * self._caption_loss(examples.directions[chosen], target)
        return loss

    # --- The loop ---------------------------------------------------------------------------

    def run(
        self,
        log: Log,
        checkpoint: Path | None = None,
        every: float = 180,
        look: Callable[[], str] | None = None,
    ) -> None:
        """Train until the budget is used.

        Args:
            log: is given a line now and then.
            checkpoint: the file for the state of the run.
            every: seconds of training between two checkpoints.
            look: measures the model between them, for the log.
        """
        since, saved = time.monotonic(), self.seconds
        while self.progress < 1:
            self.losses.append(self.make_step())
            now = time.monotonic()
            self.seconds += now - since
            since = now
            if self.seconds - saved >= every:
                saved = self.seconds
                log(self._report() + (f", {look()}" if look else ""))
                self._save(checkpoint)
                since = time.monotonic()
        self._save(checkpoint)

    def _report(self) -> str:
        recent, seen = self.losses[-100:], self.step * self.settings.batch_size
        loss, speed = sum(recent) / len(recent), seen / self.seconds
        return f"image tower: {self.progress:.0%}, {seen} views, {speed:.0f}/s, loss {loss:.3f}"

    # --- What is kept -----------------------------------------------------------------------

    def _save(self, path: Path | None) -> None:
        if path:
            state = {
                "model": self.average.live,
                "average": self.average.mean,
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "losses": self.losses,
            }
            save_state(path, state)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one.

        Raises:
            ModelError: it is damaged.
        """
        load_state(path, self._set_state)

    def _set_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"], strict=False)
        self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]

    @contextlib.contextmanager
    def averaged_tower(self) -> Iterator[Any]:
        """The image tower with the averaged weights, in evaluation mode, within this context."""
        with self.average.in_place():
            self.visual.eval()
            try:
                yield self.visual
            finally:
                self.visual.train()

    def averaged(self) -> dict[str, torch.Tensor]:
        """The weights of the whole model, averaged where they were trained."""
        with self.average.in_place():
            weights = {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in self.model.state_dict().items()
            }
        weights["logit_scale"] = weights["logit_scale"].clamp(max=math.log(MAX_SCALE))
        return weights

    def concepts(self) -> Concepts:
        """The averaged tower's features of the images on white, by the images' first captions."""
        photos, share = self.examples.photos[::_EVERY_PHOTO], self.settings.photos
        parts = (*self.examples.masters.split(256), *photos.split(256))
        with self.averaged_tower() as visual, torch.inference_mode():
            features = torch.cat([self._features_on_white(visual, part) for part in parts])
        targets = [*self.examples.targets, *self.examples.photo_targets[::_EVERY_PHOTO]]
        weights = [*(1 - share) * self.examples.weights, *[share / max(len(photos), 1)] * len(photos)]
        names = [next(iter(target)) for target in targets]
        return Concepts.of(features, names, torch.tensor(weights))

    def _features_on_white(self, visual: Any, masters: torch.Tensor) -> torch.Tensor:
        """(B, 4, M, M) premultiplied uint8 -> (B, D) unit norm."""
        size = (self.settings.size, self.settings.size)
        on_white = (masters[:, :3].float() + 255 - masters[:, 3:]) / 255
        resized = F.interpolate(on_white, size, mode="bicubic", antialias=True).clamp(0, 1)
        return F.normalize(visual((resized - MEAN) / STD), dim=-1)
