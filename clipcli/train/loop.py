"""Contrastive training: pairs of images and captions in, a model in open_clip's local format out.

The models are open_clip's; here are the options and the loop. `dataset.py` says which images come when,
`towers.py` what is trained, `losses.py` and `gradients.py` where to, `optimizer.py` how fast,
`validation.py` how good they are, and `run_folder.py` what stays on the disk.

The order of the data, the views of images and the dropout of a step follow from the seed and the step's
number alone, so that a run which was killed goes on exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast, get_args

import numpy as np
import torch

from clipcli.choices import Loss, TrainPrecision
from clipcli.errors import ModelError, UsageError
from clipcli.models.devices import resolve_device, resolve_precision
from clipcli.models.locate import ModelFiles
from clipcli.prefetch import available_cores, prefetch_map
from clipcli.records import ImageFailure
from clipcli.train import run_folder
from clipcli.train.augment import Augmentation
from clipcli.train.data import Data, ReadReport, View, prepare, shuffled, sizes, view_of
from clipcli.train.grad_cache import backward
from clipcli.train.optimizer import Average, adamw, clip_gradients, lr_at
from clipcli.train.pairs import Pairs
from clipcli.train.trainable import Trainable, lock_towers, set_training
from clipcli.train.validation import Metrics, validate

LOG_COLUMNS = ("step", "epoch", "loss", "lr", "scale", "images/s")
EPOCH_COLUMNS = ("step", "epoch", *Metrics._fields)


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Args:
        epochs: how often each image is seen.
        batch_size: pairs that are in memory at a time, at most; steps are cut to be equal in size.
        accumulate: batches a step; all pairs of a step are compared with each other, as one large batch.
        lr: the highest learning rate; None is 5e-4 from random weights, else 1e-5.
        warmup: steps until it is reached; None is a tenth of all, at most 1,000.
        weight_decay: of matrices; biases, gains and the temperature have none.
        clip_grad: the longest gradient; 0 is no limit.
        ema: how much of the averaged weights is kept at each step; 0 does without. The average is what is
            validated and saved.
        loss: `auto` is that of the model: sigmoid if it has a bias, else softmax.
        lock_image: leave the image tower as it is.
        lock_text: leave the text tower as it is.
        unlocked_layers: of locked towers, train this many of the last groups of layers all the same, see
            `clipcli.train.trainable.lock_towers`.
        val_fraction: part of the images that is kept for validation, at most
            `clipcli.train.data.MAX_VALIDATION` of them.
        augmentation: how views differ from the image.
        seed: of weights, data order, views and dropout; which images are kept for validation is always the
            same.
        checkpoint_every: steps between checkpoints; there is one after each epoch, too.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto` computes in bf16 where the hardware has it natively, else in fp32. Weights are fp32.
        workers: threads that read and decode; None is one a core.

    Raises:
        UsageError: a value that cannot be.
    """

    epochs: int = 10
    batch_size: int = 64
    accumulate: int = 1
    lr: float | None = None
    warmup: int | None = None
    weight_decay: float = 0.1
    clip_grad: float = 1.0
    ema: float = 0.999
    loss: Loss = "auto"
    lock_image: bool = False
    lock_text: bool = False
    unlocked_layers: int = 0
    val_fraction: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    checkpoint_every: int = 500
    device: str = "auto"
    precision: TrainPrecision = "auto"
    workers: int | None = None

    def __post_init__(self) -> None:
        at_least = {"epochs": 1, "batch_size": 2, "accumulate": 1, "warmup": 0, "weight_decay": 0}
        at_least |= {"clip_grad": 0, "unlocked_layers": 0, "seed": 0, "checkpoint_every": 1, "workers": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
        if self.lr is not None and not self.lr > 0:
            raise UsageError(f"--lr must be above 0, not {self.lr}")
        for name in ("ema", "val_fraction"):
            if not 0 <= getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} must be at least 0 and below 1, not {getattr(self, name)}")
        for name, known in (("loss", get_args(Loss)), ("precision", get_args(TrainPrecision))):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} must be one of {', '.join(known)}, not {getattr(self, name)}")
        if self.seed >= 2**31:
            raise UsageError(f"--seed must be below {2**31}, not {self.seed}")
        if self.unlocked_layers and not (self.lock_image or self.lock_text):
            raise UsageError("--unlocked-layers wants --lock-image or --lock-text")
        if self.lock_image and self.lock_text and not self.unlocked_layers:
            raise UsageError("with both towers locked there is nothing to train", "Add --unlocked-layers 1.")


class StepReport(NamedTuple):
    """One step was made, of `steps`."""

    step: int
    steps: int
    epoch: int
    loss: float
    images_per_second: float


class EpochReport(NamedTuple):
    """One epoch is done; no metrics without a validation set."""

    epoch: int
    epochs: int
    metrics: Metrics | None


class Result(NamedTuple):
    """What a run did; `best` is of the model that is saved.

    With fewer steps than `steps` it was stopped; with none at all, while images were read.
    """

    step: int
    steps: int
    images: int
    failed: int
    best: Metrics | None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return 0 < self.steps == self.step


Report: TypeAlias = Callable[[ReadReport | StepReport | EpochReport | ImageFailure], None]


def train(
    pairs: Pairs,
    files: ModelFiles,
    options: TrainOptions,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda _: None,
) -> Result:
    """Train a model, or go on with the run that `folder` holds.

    The folder keeps the epoch with the most top-1 and image-to-text recall on the validation images, the
    later of equals; without validation images the last epoch, and before the first is done what there is.

    Args:
        pairs: from `clipcli.train.pairs.read_pairs`.
        files: from `models.locate`, or `locate_config` for random weights.
        options: how.
        folder: gets the best model, logs and checkpoints; new, empty, or of a run with the same settings.
        stop: asked after each image that is read at first, and after each step; True ends the run early,
            with a checkpoint of the steps made.
        report: is told of each image read, step, epoch and image that cannot be read.

    Raises:
        UsageError: too few images, or a folder that holds something else or is in use.
        ModelError: the model cannot be trained, its loss is no number, or a checkpoint is damaged.
        ImageError: an image is gone that could be read when the run began.
        OutputError: the folder cannot be written.
    """
    settings = _settings(files, options)
    with run_folder.locked(folder):
        run_folder.check_settings(folder, settings)
        known = run_folder.readable(folder)
        workers = options.workers or available_cores()
        data = prepare(pairs, files.preprocess, options.val_fraction, workers, known, report, stop)
        if data is None:
            return Result(0, 0, 0, 0, None)
        run = _Run(data, files, options, folder)
        run_folder.save_settings(folder, {"pairs": data.identity, **settings})
        run_folder.keep_readable(folder, data.digests)
        run_folder.keep_failures(folder, data.failures)
        run.restore()
        run.go(stop, report)
    return Result(run.step, run.steps, len(data.pairs), len(data.failures), run.best)


def _settings(files: ModelFiles, options: TrainOptions) -> dict[str, Any]:
    """All that decides the outcome but the images; a run goes on only with the same."""
    free = ("device", "workers", "checkpoint_every", "precision")
    given = {name: value for name, value in asdict(options).items() if name not in free}
    given |= given.pop("augmentation")
    return {"init": files.fingerprint, "precision": _precision(options), **given}


def _precision(options: TrainOptions) -> str:
    """bf16 or fp32; without native bf16, fp32."""
    resolved = resolve_precision(options.precision, resolve_device(options.device))
    return "bf16" if resolved == "bf16" else "fp32"


class _Run:
    """A model in training: what a checkpoint holds, and the steps between two of them."""

    def __init__(self, data: Data, files: ModelFiles, options: TrainOptions, folder: Path) -> None:
        self.data, self.files, self.options, self.folder = data, files, options, folder
        self.workers = options.workers or available_cores()
        dtype = torch.bfloat16 if _precision(options) == "bf16" else torch.float32
        self.towers = Trainable(files, options.loss, options.seed, resolve_device(options.device), dtype)
        lock_towers(self.towers.model, options.lock_image, options.lock_text, options.unlocked_layers)
        self.optimizer = adamw(self.towers.model, options.weight_decay)
        self.average = Average(self.towers.model, options.ema)
        self.lr = options.lr or (5e-4 if files.spec.source == "config" else 1e-5)
        self.step_sizes = sizes(len(data.train), options.batch_size * options.accumulate)  # in an epoch
        self.steps = options.epochs * len(self.step_sizes)
        tenth = min(self.steps // 10, 1000)
        self.warmup = min(self.steps - 1, tenth if options.warmup is None else options.warmup)
        self.step = 0
        self.saved = False  # whether the folder's model is that of an epoch
        self.best: Metrics | None = None

    def go(self, stop: Callable[[], bool], report: Report) -> None:
        """Make the steps that are left."""
        prefetch = 2 * self.options.batch_size + self.workers
        views = prefetch_map(self._view, self._order(self.step), self.workers, prefetch)
        if self.files.tokenizer is not None:
            run_folder.save_tokenizer(self.folder, self.towers.tokenizer.tokenizer)
        set_training(self.towers.model)
        stopping = stop()
        with contextlib.closing(cast(Any, views)):
            while self.step < self.steps and not stopping:
                self._make_step(views, report)
                stopping = stop()
                if self.step % len(self.step_sizes) == 0:
                    self._end_epoch(report)
                elif stopping or self.step % self.options.checkpoint_every == 0:
                    self._checkpoint()
        if not self.saved:  # stopped in the first epoch
            with self.average.in_place():
                self._save_model()

    def _order(self, first: int) -> Iterator[tuple[int, int]]:
        """(epoch, index) of every image from a step on; each image once an epoch."""
        for step in range(first, self.steps):
            epoch, place = divmod(step, len(self.step_sizes))
            if place == 0 or step == first:
                order = shuffled(len(self.data.train), self.options.seed, epoch)
            start = sum(self.step_sizes[:place])
            yield from ((epoch, index) for index in order[start : start + self.step_sizes[place]])

    def _view(self, place: tuple[int, int]) -> View:
        epoch, index = place
        entropy = (self.options.seed, epoch, index)
        return view_of(self.data.train[index], self.files.preprocess, self.options.augmentation, entropy)

    # --- A step -----------------------------------------------------------------------------

    def _make_step(self, views: Iterator[View], report: Report) -> None:
        start = time.perf_counter()
        epoch, place = divmod(self.step, len(self.step_sizes))
        batch = list(islice(views, self.step_sizes[place]))
        lr = lr_at(self.step, self.steps, self.warmup, self.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss = self._update(batch)
        self.step += 1
        speed = len(batch) / (time.perf_counter() - start)
        row = (self.step, epoch + 1, f"{loss:.8g}", f"{lr:.8g}", f"{self.towers.scale:.8g}", f"{speed:.1f}")
        run_folder.append_row(self.folder / run_folder.LOG, row)
        report(StepReport(self.step, self.steps, epoch + 1, loss, speed))

    def _update(self, views: list[View]) -> float:
        """Change the weights; returns the loss before."""
        try:
            self.optimizer.zero_grad(set_to_none=True)
            loss = backward(self.towers, views, self.options.batch_size, self._seed)
        except (torch.OutOfMemoryError, MemoryError):
            raise ModelError(
                f"out of memory with {self.options.batch_size} pairs at a time on {self.towers.device}",
                "Train into another folder with a smaller --batch-size, and --accumulate to compare as many.",
            ) from None
        self._check("loss", loss)
        self._check("length of the gradient", clip_gradients(self.optimizer, self.options.clip_grad))
        self.optimizer.step()
        self.towers.limit_scale()
        self.average.update(self.step + 1)
        return loss

    def _check(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"the {what} is {value} in step {self.step + 1}",
                "Train into another folder with a lower --lr.",
            )

    def _seed(self) -> None:
        """Let dropout follow from seed and step; both in 32 bits, for that is all a CPU's generator takes."""
        entropy = np.random.SeedSequence((self.options.seed, self.step))
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    # --- What is kept -----------------------------------------------------------------------

    def _end_epoch(self, report: Report) -> None:
        epoch, metrics = self.step // len(self.step_sizes), None
        with self.average.in_place():
            if self.data.validation:
                metrics = validate(self.towers, self.data.validation, self.options.batch_size, self.workers)
            if metrics is None or self.best is None or metrics.merit >= self.best.merit:
                self._save_model()
                self.saved, self.best = True, metrics
        if metrics is not None:
            row = (self.step, epoch, *(f"{value:.8g}" for value in metrics))
            run_folder.append_row(self.folder / run_folder.EPOCHS, row)
        report(EpochReport(epoch, self.options.epochs, metrics))
        self._checkpoint()

    def _save_model(self) -> None:
        towers = self.towers
        run_folder.save_model(self.folder, towers.model, towers.model_cfg, towers.preprocess)

    def _checkpoint(self) -> None:
        state = {
            "step": self.step,
            "saved": self.saved,
            "best": None if self.best is None else list(self.best),
            "model": self.towers.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.mean,
        }
        run_folder.save_checkpoint(self.folder, state)

    def restore(self) -> None:
        """Go back to the last checkpoint, if there is one, and cut the logs there.

        Raises:
            ModelError: the checkpoint is damaged.
        """
        run_folder.load_checkpoint(self.folder, self._take)
        run_folder.keep_rows(self.folder / run_folder.LOG, LOG_COLUMNS, self.step)
        run_folder.keep_rows(self.folder / run_folder.EPOCHS, EPOCH_COLUMNS, self.step)

    def _take(self, state: dict[str, Any]) -> None:
        self.towers.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.take(state["average"])
        self.step, self.saved = int(state["step"]), bool(state["saved"])
        self.best = None if state["best"] is None else Metrics(*state["best"])
