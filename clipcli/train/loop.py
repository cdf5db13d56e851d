"""Contrastive training: pairs of images and captions in, a model in open_clip's local format out.

The models are open_clip's. This module holds the loop; `data.py` says which images come when, `trainable.py`
what is trained, `losses.py` and `grad_cache.py` compute gradients, `optimizer.py` changes the weights,
`validation.py` measures, and `run_folder.py` keeps files.

The order of the data, the views of images and the dropout of a step depend only on the seed and the step's
number, so that a run that was killed continues exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch

from clipcli.errors import ModelError
from clipcli.models.devices import resolve_device
from clipcli.models.locate import ModelFiles
from clipcli.prefetch import available_cores, prefetch_map
from clipcli.records import ImageFailure
from clipcli.train import run_folder
from clipcli.train.data import Data, ReadReport, View, prepare, shuffled, sizes, view_of
from clipcli.train.grad_cache import backward
from clipcli.train.optimizer import Average, adamw, clip_gradients, lr_at, parameter_groups, set_lr
from clipcli.train.options import TrainOptions
from clipcli.train.pairs import Pairs
from clipcli.train.trainable import Trainable, lock_towers, set_training
from clipcli.train.validation import Metrics, validate

LOG_COLUMNS = ("step", "epoch", "loss", "lr", "scale", "images/s")
EPOCH_COLUMNS = ("step", "epoch", *Metrics._fields)


class StepReport(NamedTuple):
    """One of `steps` steps was made."""

    step: int
    steps: int
    epoch: int
    loss: float
    images_per_second: float


class EpochReport(NamedTuple):
    """One epoch is complete; without a validation set there are no metrics."""

    epoch: int
    epochs: int
    metrics: Metrics | None


class Result(NamedTuple):
    """What a run did.

    Args:
        step: the steps made. Fewer than `steps` means that the run was stopped.
        steps: the steps of the whole run; 0 if it was stopped while images were read.
        images: how many can be read.
        failed: how many cannot.
        best: the metrics of the saved model.
    """

    step: int
    steps: int
    images: int
    failed: int
    best: Metrics | None

    @property
    def finished(self) -> bool:
        """Whether all steps were made."""
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
    """Train a model, or continue the run in `folder`.

    The folder keeps the model of the epoch with the highest sum of top-1 accuracy and image-to-text recall on
    the validation images, the later of equals; without validation images, that of the last epoch. A run
    stopped in its first epoch leaves the model as it is then.

    Args:
        pairs: from `clipcli.train.pairs.read_pairs`.
        files: from `models.locate`, or `locate_config` for random weights.
        options: how to train.
        folder: for the model, logs and checkpoints. It is new, empty, or holds a run with the same settings.
        stop: called after each image that is read at the start, and after each step. True ends the run
            early, with a checkpoint.
        report: called for each image that was read, image that cannot be read, step, and epoch.

    Raises:
        UsageError: too few images, or a folder that holds something else or is in use.
        ModelError: the model cannot be trained, its loss is not finite, or a checkpoint is damaged.
        ImageError: an image can no longer be read.
        OutputError: the folder cannot be written.
    """
    settings = options.settings(files)
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


class _Run:
    """The state of a run, as a checkpoint holds it, and the steps that change it."""

    def __init__(self, data: Data, files: ModelFiles, options: TrainOptions, folder: Path) -> None:
        self.data, self.files, self.options, self.folder = data, files, options, folder
        self.workers = options.workers or available_cores()
        dtype = torch.bfloat16 if options.resolved_precision == "bf16" else torch.float32
        self.trainable = Trainable(files, options.loss, options.seed, resolve_device(options.device), dtype)
        self.model = self.trainable.model
        lock_towers(self.model, options.lock_image, options.lock_text, options.unlocked_layers)
        self.optimizer = adamw(parameter_groups(self.model, options.weight_decay))
        self.average = Average(self.model, options.ema)
        self.lr = options.lr or (5e-4 if files.spec.source == "config" else 1e-5)
        self.step_sizes = sizes(len(data.train), options.batch_size * options.accumulate)  # in an epoch
        self.steps = options.epochs * len(self.step_sizes)
        tenth = min(self.steps // 10, 1000)
        self.warmup = min(self.steps - 1, tenth if options.warmup is None else options.warmup)
        self.step = 0
        self.saved = False  # whether the folder has the model of a complete epoch
        self.best: Metrics | None = None

    def go(self, stop: Callable[[], bool], report: Report) -> None:
        """Make the remaining steps."""
        prefetch = 2 * self.options.batch_size + self.workers
        views = prefetch_map(self._view, self._order(self.step), self.workers, prefetch)
        if self.files.tokenizer is not None:
            run_folder.save_tokenizer(self.folder, self.trainable.tokenizer.tokenizer)
        set_training(self.model)
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
        """(epoch, index) of every image from a step on; each image comes once in an epoch."""
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
        set_lr(self.optimizer, lr)
        loss = self._update(batch)
        self.step += 1
        speed = len(batch) / (time.perf_counter() - start)
        row = (
            self.step,
            epoch + 1,
            f"{loss:.8g}",
            f"{lr:.8g}",
            f"{self.trainable.scale:.8g}",
            f"{speed:.1f}",
        )
        run_folder.append_row(self.folder / run_folder.LOG, row)
        report(StepReport(self.step, self.steps, epoch + 1, loss, speed))

    def _update(self, views: list[View]) -> float:
        """Change the weights; returns the loss before the change."""
        try:
            self.optimizer.zero_grad(set_to_none=True)
            with self.trainable.exactly():
                loss = backward(self.trainable, views, self.options.batch_size, self._set_seed)
        except (torch.OutOfMemoryError, MemoryError):
            raise ModelError(
                f"out of memory with {self.options.batch_size} pairs at a time on {self.trainable.device}",
                "Train into another folder with a smaller --batch-size and a larger --accumulate.",
            ) from None
        self._check_finite("loss", loss)
        self._check_finite("norm of the gradient", clip_gradients(self.optimizer, self.options.clip_grad))
        self.optimizer.step()
        self.trainable.limit_scale()
        self.average.update(self.step + 1)
        return loss

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise ModelError(
                f"the {what} is {value} in step {self.step + 1}",
                "Train into another folder with a lower --lr.",
            )

    def _set_seed(self) -> None:
        """Make dropout depend on seed and step only; in 32 bits, which is all that a CPU's generator uses."""
        entropy = np.random.SeedSequence((self.options.seed, self.step))
        torch.manual_seed(int(entropy.generate_state(1)[0]))

    # --- Models and checkpoints -------------------------------------------------------------

    def _end_epoch(self, report: Report) -> None:
        epoch, metrics = self.step // len(self.step_sizes), None
        with self.average.in_place():
            if self.data.validation:
                metrics = validate(
                    self.trainable, self.data.validation, self.options.batch_size, self.workers
                )
            if metrics is None or self.best is None or metrics.merit >= self.best.merit:
                self._save_model()
                self.saved, self.best = True, metrics
        if metrics is not None:
            row = (self.step, epoch, *(f"{value:.8g}" for value in metrics))
            run_folder.append_row(self.folder / run_folder.EPOCHS, row)
        report(EpochReport(epoch, self.options.epochs, metrics))
        self._checkpoint()

    def _save_model(self) -> None:
        preprocess_cfg = asdict(self.trainable.preprocess)
        config = {"model_cfg": self.trainable.model_cfg, "preprocess_cfg": preprocess_cfg}
        run_folder.save_model(self.folder, self.model.state_dict(), config)

    def _checkpoint(self) -> None:
        state = {
            "step": self.step,
            "saved": self.saved,
            "best": None if self.best is None else list(self.best),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.mean,
        }
        run_folder.save_checkpoint(self.folder, state)

    def restore(self) -> None:
        """Go back to the last checkpoint, if there is one, and remove later rows from the logs.

        Raises:
            ModelError: the checkpoint is damaged.
        """
        run_folder.load_state(self.folder / run_folder.CHECKPOINT, self._set_state)
        run_folder.keep_rows(self.folder / run_folder.LOG, LOG_COLUMNS, self.step)
        run_folder.keep_rows(self.folder / run_folder.EPOCHS, EPOCH_COLUMNS, self.step)

    def _set_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.restore(state["average"])
        self.step, self.saved = int(state["step"]), bool(state["saved"])
        self.best = None if state["best"] is None else Metrics(*state["best"])
