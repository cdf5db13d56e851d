"""Contrastive training: pairs of pictures and captions in, a model in open_clip's local format out.

With `encoder.py` and `int8.py` this is the only module that imports torch. The models are open_clip's;
here is the loop. The order of the data, the views of pictures and the dropout of a step follow from the
seed and the step's number alone, so that a run which was killed goes on exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.nn.functional import log_softmax, logsigmoid, normalize

from clipcli.augment import Augmentation, augmented
from clipcli.encoder import (
    build_model,
    build_random,
    build_tokenizer,
    causal_tower,
    encode_short_texts,
    pad_id,
    resolve_device,
    resolve_precision,
)
from clipcli.errors import ClipcliWarning, ImageError, ModelError, OutputError, UsageError
from clipcli.images import decode, decode_whole, read_file
from clipcli.lookahead import available_cores, map_ahead
from clipcli.models import CONFIG_NAME, ModelFiles
from clipcli.pairs import Caption, Pair, Pairs
from clipcli.records import Float32Array, ImageFailure, Uint8Array
from clipcli.silence import quiet

WEIGHTS, CHECKPOINT, SETTINGS = "open_clip_model.safetensors", "checkpoint.pt", "train.json"
LOG, EPOCHS = "log.csv", "epochs.csv"
LOG_COLUMNS = ("step", "epoch", "loss", "lr", "scale", "images/s")

MAX_SCALE = 100.0
"""Of the learned temperature, in the softmax loss (CLIP paper, section 2.5)."""

MAX_VALIDATION = 5000
"""Images; more would say little more, and compare each with every caption."""

Loss: TypeAlias = Literal["auto", "clip", "siglip"]
Key: TypeAlias = tuple[str, str]
"""What a caption has in common with others: ("caption", its text) or ("concept", its concept)."""

_SIGLIP_SCALE, _SIGLIP_BIAS = 10.0, -10.0  # to begin with, as in the SigLIP paper, section 3.2
_BETAS, _EPS = (0.9, 0.98), 1e-6  # as in the CLIP paper for ViT, table 19


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Args:
        epochs: how often each picture is seen.
        batch_size: pairs that are in memory at a time.
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
        unlocked_layers: of locked towers, train this many of the last groups of layers, as open_clip
            counts them; its projection is one.
        val_fraction: part of the images that is kept for validation, at most `MAX_VALIDATION` of them.
        augmentation: how views differ from the picture.
        seed: of weights, data order, views and validation split.
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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
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
        if self.seed >= 2**31:
            raise UsageError(f"--seed must be below {2**31}, not {self.seed}")
        if self.unlocked_layers and not (self.lock_image or self.lock_text):
            raise UsageError("--unlocked-layers wants --lock-image or --lock-text")
        if self.lock_image and self.lock_text and not self.unlocked_layers:
            raise UsageError("with both towers locked there is nothing to train", "Add --unlocked-layers 1.")


class Metrics(NamedTuple):
    """Of the validation images, each from 0 to 1.

    `acc1`: zero-shot top-1 among the concepts of the validation set, or its captions where it has none.
    `image_to_text`: a caption of the image is among the 1 (`_r1`) or 5 (`_r5`) nearest of all captions.
    `text_to_image`: the same the other way round.
    """

    acc1: float
    image_to_text_r1: float
    image_to_text_r5: float
    text_to_image_r1: float
    text_to_image_r5: float


EPOCH_COLUMNS = ("step", "epoch", *Metrics._fields)


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
    """What a run did; with fewer steps than `steps` it was stopped. `best` is of the model that is saved."""

    step: int
    steps: int
    images: int
    failed: int
    best: Metrics | None


Report: TypeAlias = Callable[[StepReport | EpochReport | ImageFailure], None]


def train(
    pairs: Pairs,
    files: ModelFiles,
    options: TrainOptions,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda _: None,
) -> Result:
    """Train a model, or go on with the run that `folder` holds.

    Args:
        pairs: from `clipcli.pairs.read_pairs`.
        files: from `models.locate`, or `locate_config` for random weights.
        options: how.
        folder: gets the best model, logs and checkpoints; new, empty, or of a run with the same settings.
        stop: asked after each step; True writes a checkpoint and ends the run early.
        report: is told of each step, epoch and image that cannot be read.

    Raises:
        UsageError: too few images, or a folder that holds something else.
        ModelError: the model cannot be trained, its loss is no number, or a checkpoint is damaged.
        ImageError: an image is gone that could be read when the run began.
        OutputError: the folder cannot be written.
    """
    data = prepare(pairs, files, options, report)
    settings = _settings(data, files, options)
    _claim(folder, settings)
    run = _Run(data, files, options, folder)
    run.restore()
    run.go(stop, report)
    failed = len(pairs.pairs) - len(data.train) - len(data.validation) + len(pairs.failures)
    return Result(run.step, run.steps, len(data.train) + len(data.validation), failed, run.best_metrics)


# --- Data ----------------------------------------------------------------------------------------


class Data(NamedTuple):
    """What can be read, split by image, and a digest of all contents."""

    train: list[Pair]
    validation: list[Pair]
    digest: str


def prepare(pairs: Pairs, files: ModelFiles, options: TrainOptions, report: Report) -> Data:
    """Decode every image once: those that fail are told and left out."""

    def check(pair: Pair) -> str | ImageFailure:
        try:
            content = read_file(pair.image)
            decode(content, files.preprocess)
            return hashlib.sha256(content).hexdigest()
        except ImageError as error:
            return ImageFailure(pair.image, error.message)

    for failure in pairs.failures:
        report(failure)
    good, digests = [], []
    workers = options.workers or available_cores()
    for pair, outcome in zip(pairs.pairs, map_ahead(check, pairs.pairs, workers, 4 * workers), strict=True):
        if isinstance(outcome, ImageFailure):
            report(outcome)
        else:
            good.append(pair)
            digests.append(outcome)
    in_validation = split(digests, options.val_fraction)
    training = [pair for pair, digest in zip(good, digests, strict=True) if digest not in in_validation]
    if len(training) < 2:
        raise UsageError(
            f"{len(good)} of {len(pairs.pairs)} images can be read, which leaves {len(training)} to train on",
            "Training compares pictures with each other: it wants at least 2.",
        )
    validation = [pair for pair, digest in zip(good, digests, strict=True) if digest in in_validation]
    identity = [[digest, pair.captions] for pair, digest in zip(good, digests, strict=True)]
    return Data(training, validation, hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16])


def split(digests: Sequence[str], fraction: float) -> set[str]:
    """The digests of contents that are kept for validation: by rank of a hash, whatever their order.

    Copies of one picture have one digest, and so are never on both sides.
    """
    distinct = sorted(set(digests), key=lambda digest: hashlib.sha256(digest.encode()).digest())
    return set(distinct[: min(round(fraction * len(distinct)), MAX_VALIDATION)])


def keys_of(caption: Caption) -> tuple[Key, ...]:
    """What makes other captions positives: the same text or, where there is one, the same concept."""
    text: Key = ("caption", caption.text)
    return (text, ("concept", caption.concept)) if caption.concept else (text,)


def positives(image_keys: Sequence[set[Key]], text_keys: Sequence[Sequence[Key]]) -> npt.NDArray[np.bool_]:
    """(N, M): whether image and text have a key in common."""
    columns: dict[Key, list[int]] = {}
    for column, keys in enumerate(text_keys):
        for key in keys:
            columns.setdefault(key, []).append(column)
    found = np.zeros((len(image_keys), len(text_keys)), dtype=np.bool_)
    for row, own in zip(found, image_keys, strict=True):
        for key in own:
            row[columns.get(key, [])] = True
    return found


def keys_of_image(pair: Pair) -> set[Key]:
    """The keys of all captions of a picture."""
    return {key for caption in pair.captions for key in keys_of(caption)}


# --- Numbers -------------------------------------------------------------------------------------


def contrastive_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, scale: torch.Tensor, positive: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy of softmaxes (CLIP paper, section 2.3), with several positives a row.

    A row's target is spread evenly over its positives, as in UniCL (Yang et al. 2022, section 3.2); with
    one each, this is `open_clip.loss.ClipLoss`. Features are (N, D) of unit norm, `positive` (N, N) bool.
    """
    logits = scale * image_features @ text_features.T  # (N, D) @ (D, N)
    return (_cross_entropy(logits, positive) + _cross_entropy(logits.T, positive.T)) / 2


def _cross_entropy(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    targets = positive / positive.sum(dim=1, keepdim=True)
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


def sigmoid_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    positive: torch.Tensor,
) -> torch.Tensor:
    """Each pair by itself (SigLIP paper, algorithm 1); where nothing repeats, `open_clip.loss.SigLipLoss`."""
    logits = scale * image_features @ text_features.T + bias  # (N, D) @ (D, N)
    return -logsigmoid(torch.where(positive, logits, -logits)).sum() / len(logits)


def lr_at(step: int, steps: int, warmup: int, highest: float) -> float:
    """Linear warm-up, then half a cosine to zero: `open_clip_train.scheduler.cosine_lr`; steps from 0."""
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters with weight decay and without: biases, gains and all else of less than two axes."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    without = [weight for name, weight in trained if weight.ndim < 2 or name.endswith("bias")]
    decayed = [weight for name, weight in trained if weight.ndim >= 2 and not name.endswith("bias")]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": without, "weight_decay": 0.0},
    ]


def recall_at(k: int, queries: Float32Array, gallery: Float32Array, positive: npt.NDArray[np.bool_]) -> float:
    """The part of the queries (Q, D) with a positive (Q, G) among the k nearest of a gallery (G, D)."""
    found = 0
    for start in range(0, len(queries), 1024):
        similarity = queries[start : start + 1024] @ gallery.T  # (1024, D) @ (D, G)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        found += int(np.take_along_axis(positive[start : start + 1024], nearest, axis=1).any(axis=1).sum())
    return found / len(queries)


# --- The model -----------------------------------------------------------------------------------


def lock_towers(model: Any, options: TrainOptions) -> None:
    """Freeze what the options say: whole towers, or all but their last groups of layers.

    Raises:
        ModelError: open_clip cannot unlock layers of this tower.
    """
    try:
        with quiet():
            if options.lock_image and options.unlocked_layers:
                model.lock_image_tower(unlocked_groups=options.unlocked_layers)
            if options.lock_text and options.unlocked_layers:
                model.lock_text_tower(unlocked_layers=options.unlocked_layers)
    except Exception as error:
        raise ModelError(
            f"open_clip cannot unlock layers of this model: {error}", "Leave out --unlocked-layers."
        ) from error
    if options.unlocked_layers:
        return
    for name, weight in model.named_parameters():
        locked = options.lock_image if name.startswith("visual.") else options.lock_text
        if locked and not name.startswith("logit_"):
            weight.requires_grad_(False)


def set_training(model: torch.nn.Module) -> None:
    """Training mode; but what is frozen whole keeps its running statistics, and has no dropout."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _fit_bias(model: Any, model_cfg: dict[str, Any], loss: Loss) -> dict[str, Any]:
    """Give the model a bias, or take it away, as the loss wants; returns the configuration to save."""
    has_bias = model.logit_bias is not None
    if loss == "siglip" and not has_bias:
        model.logit_bias = torch.nn.Parameter(torch.full_like(model.logit_scale, _SIGLIP_BIAS))
        with torch.no_grad():
            model.logit_scale.fill_(math.log(_SIGLIP_SCALE))
        return model_cfg | {"init_logit_bias": _SIGLIP_BIAS}
    if loss == "clip" and has_bias:
        model.logit_bias = None
        return {key: value for key, value in model_cfg.items() if key != "init_logit_bias"}
    return model_cfg


class _Average:
    """Exponential moving average of what training changes: weights and running statistics."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
        state = {name: value for name, value in model.state_dict().items() if name not in frozen}
        self.decay = decay
        self.live = {name: value for name, value in state.items() if value.is_floating_point()}
        self.mean = {name: value.clone() for name, value in self.live.items()} if decay else {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step 1, 2, …; the first count more, as in TensorFlow."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, mean in self.mean.items():
            mean.lerp_(self.live[name], 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is the average within this context."""
        trained = {name: self.live[name].clone() for name in self.mean}
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.live[name].copy_(value)


# --- The run -------------------------------------------------------------------------------------


class _View(NamedTuple):
    """One picture of a step, its caption, and the keys of all its captions."""

    pixels: Uint8Array
    caption: Caption
    keys: set[Key]


class _Run:
    """A model in training: what a checkpoint holds, and the steps between two of them."""

    def __init__(self, data: Data, files: ModelFiles, options: TrainOptions, folder: Path) -> None:
        self.data, self.files, self.options, self.folder = data, files, options, folder
        self.device = resolve_device(options.device)
        self.dtype = torch.bfloat16 if _precision(options) == "bf16" else torch.float32
        random = files.spec.source == "config"
        self.model = build_random(files, options.seed) if random else build_model(files)
        self.model_cfg = _fit_bias(self.model, files.model_cfg, options.loss)
        lock_towers(self.model, options)
        self.model.to(self.device)
        self.tower = causal_tower(self.model)
        self.tokenizer = build_tokenizer(files)
        self.texts: dict[str, torch.Tensor] = {}  # tokens (L,) of each caption
        self.told = False
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, options.weight_decay), betas=_BETAS, eps=_EPS
        )
        self.average = _Average(self.model, options.ema)
        self.lr = options.lr or (5e-4 if random else 1e-5)
        self.step, self.best = 0, -1.0
        self.best_metrics: Metrics | None = None

    # --- What follows from the options ------------------------------------------------------

    @property
    def step_size(self) -> int:
        """Pairs a step."""
        return min(self.options.batch_size * self.options.accumulate, len(self.data.train))

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps only; which pictures are left over differs from epoch to epoch."""
        return len(self.data.train) // self.step_size

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.options.epochs * self.steps_per_epoch

    @property
    def warmup(self) -> int:
        """Steps until the highest learning rate."""
        given = self.options.warmup
        return min(self.steps - 1, min(self.steps // 10, 1000) if given is None else given)

    # --- The loop ---------------------------------------------------------------------------

    def go(self, stop: Callable[[], bool], report: Report) -> None:
        """Make the steps that are left."""
        workers = self.options.workers or available_cores()
        views = map_ahead(self._view, self._order(), workers, 2 * self.options.batch_size + workers)
        if self.files.tokenizer is not None:
            self.tokenizer.tokenizer.save_pretrained(self.folder)
        set_training(self.model)
        stopping = stop()
        with contextlib.closing(cast(Any, views)):
            while self.step < self.steps and not stopping:
                start = time.perf_counter()
                self._make_step(list(islice(views, self.step_size)), start, report)
                stopping = stop()
                if self.step % self.steps_per_epoch == 0:
                    self._end_epoch(report)
                elif stopping or self.step % self.options.checkpoint_every == 0:
                    self._checkpoint()
        if self.best < 0:  # stopped in the first epoch
            with self.average.in_place():
                self._save_model()

    def _order(self) -> Iterator[tuple[int, int]]:
        """(epoch, index) of every picture that is still to be seen."""
        for epoch in range(self.step // self.steps_per_epoch, self.options.epochs):
            order = np.random.default_rng((self.options.seed, epoch)).permutation(len(self.data.train))
            done = self.step_size * max(0, self.step - epoch * self.steps_per_epoch)
            seen = order[: self.step_size * self.steps_per_epoch]
            yield from ((epoch, int(index)) for index in seen[done:])

    def _view(self, place: tuple[int, int]) -> _View:
        epoch, index = place
        pair = self.data.train[index]
        generator = np.random.default_rng((self.options.seed, epoch, index + 1))
        caption = pair.captions[int(generator.integers(len(pair.captions)))]
        try:
            picture = decode_whole(read_file(pair.image), self.files.preprocess)
        except ImageError as error:
            raise _gone(pair.image, error) from None
        pixels = augmented(picture, self.files.preprocess, self.options.augmentation, generator)
        return _View(pixels, caption, keys_of_image(pair))

    def _make_step(self, views: list[_View], start: float, report: Report) -> None:
        epoch = self.step // self.steps_per_epoch + 1
        lr = lr_at(self.step, self.steps, self.warmup, self.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed((self.options.seed << 32) + self.step)
        loss = self._gradients(views)
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} in step {self.step + 1}", "Train into another folder with a lower --lr."
            )
        self._update()
        self.step += 1
        speed = len(views) / (time.perf_counter() - start)
        scale = float(self.model.logit_scale.detach().exp())
        row = (self.step, epoch, f"{loss:.8g}", f"{lr:.8g}", f"{scale:.8g}", f"{speed:.1f}")
        _append(self.folder / LOG, row)
        report(StepReport(self.step, self.steps, epoch, loss, speed))

    def _gradients(self, views: list[_View]) -> float:
        """Set the gradients of one step; returns its loss.

        With several batches, features are made twice: all of them for the loss and its gradient by each
        feature, then batch by batch with what is needed to go on to the weights (GradCache, Gao et al.
        2021). So a step's memory is that of one batch, and its gradient that of one large batch (but for
        batch norm, whose statistics are those of each batch).
        """
        self.optimizer.zero_grad(set_to_none=True)
        positive = positives([view.keys for view in views], [keys_of(view.caption) for view in views])
        target = torch.from_numpy(positive).to(self.device)
        size = self.options.batch_size
        batches = [views[start : start + size] for start in range(0, len(views), size)]
        if len(batches) == 1:
            loss = self._loss(*self._features(views), target)
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):  # the same dropout both times
            parts = [self._features(batch) for batch in batches]
        images, texts = (torch.cat(features).requires_grad_() for features in zip(*parts, strict=True))
        loss = self._loss(images, texts, target)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = zip(cast(Any, images.grad).split(size), cast(Any, texts.grad).split(size), strict=True)
        for batch, gradient in zip(batches, gradients, strict=True):
            made = zip(self._features(batch), gradient, strict=True)
            surrogate = sum((features * of_features).sum() for features, of_features in made)
            cast(torch.Tensor, surrogate).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _loss(self, images: torch.Tensor, texts: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
        scale = self.model.logit_scale.exp()
        if self.model.logit_bias is None:
            return contrastive_loss(images, texts, scale, positive)
        return sigmoid_loss(images, texts, scale, self.model.logit_bias, positive)

    def _update(self) -> None:
        if self.options.clip_grad:
            weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.options.clip_grad)
        self.optimizer.step()
        if self.model.logit_bias is None:  # SigLIP has no limit
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(MAX_SCALE))
        self.average.update(self.step + 1)

    # --- Features ---------------------------------------------------------------------------

    def _features(self, views: list[_View]) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, D) of pictures and of captions, fp32, unit norm."""
        pixels = np.stack([view.pixels for view in views])
        return self._image_features(pixels), self._text_features([view.caption.text for view in views])

    def _image_features(self, pixels: Uint8Array) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, D)."""
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.files.preprocess.mean, device=self.device).view(shape)
        std = torch.tensor(self.files.preprocess.std, device=self.device).view(shape)
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        batch = batch.float().div_(255).sub_(mean).div_(std)
        with self._autocast():
            features = self.model.encode_image(batch)
        return normalize(features.float(), dim=-1)

    def _text_features(self, texts: list[str]) -> torch.Tensor:
        """M texts -> (M, D), at the length of the longest where that is exact."""
        tokens = torch.stack([self._tokens(text) for text in texts]).to(self.device)  # (M, L)
        used = int((tokens != pad_id(self.tokenizer)).any(dim=0).nonzero().max()) + 1
        with self._autocast():
            if self.tower is None or used == tokens.shape[1]:
                features = self.model.encode_text(tokens)
            else:
                features = encode_short_texts(self.tower, tokens[:, :used])
        return normalize(features.float(), dim=-1)

    def _tokens(self, text: str) -> torch.Tensor:
        if text not in self.texts:
            self.texts[text] = self.tokenizer([text])[0]
            self._tell_if_cut(text)
        return self.texts[text]

    def _tell_if_cut(self, text: str) -> None:
        """Warn of the first caption that is longer than the context."""
        if self.told or getattr(self.tokenizer, "tokenizer_mode", None):
            return
        length = int(self.tokenizer.context_length)
        if self.tokenizer([text], context_length=length + 1)[0, -1] != pad_id(self.tokenizer):
            message = f"captions longer than {length} tokens are cut; the first is {text!r}"
            warnings.warn(message, ClipcliWarning, stacklevel=2)
            self.told = True

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    # --- Validation -------------------------------------------------------------------------

    def _end_epoch(self, report: Report) -> None:
        epoch = self.step // self.steps_per_epoch
        with self.average.in_place():
            metrics = self._validate() if self.data.validation else None
            merit = 0.0 if metrics is None else metrics.acc1 + metrics.image_to_text_r1
            if merit >= self.best:
                self._save_model()
                self.best, self.best_metrics = merit, metrics
        if metrics is not None:
            _append(self.folder / EPOCHS, (self.step, epoch, *(f"{value:.8g}" for value in metrics)))
        report(EpochReport(epoch, self.options.epochs, metrics))
        self._checkpoint()

    @torch.no_grad()
    def _validate(self) -> Metrics:
        self.model.eval()
        pairs = self.data.validation
        captions = list(dict.fromkeys(caption for pair in pairs for caption in pair.captions))
        size = self.options.batch_size
        images = np.concatenate([self._features_of(part) for part in _parts(pairs, size)])
        texts = np.concatenate(
            [
                self._text_features([caption.text for caption in part]).cpu().numpy()
                for part in _parts(captions, size)
            ]
        )
        set_training(self.model)
        return validation_metrics(pairs, captions, images, texts)

    def _features_of(self, pairs: Sequence[Pair]) -> Float32Array:
        """(N, D) of pictures as `classify` sees them."""

        def pixels_of(pair: Pair) -> Uint8Array:
            try:
                return decode(read_file(pair.image), self.files.preprocess)
            except ImageError as error:
                raise _gone(pair.image, error) from None

        workers = self.options.workers or available_cores()
        pixels = np.stack(list(map_ahead(pixels_of, pairs, workers, len(pairs))))
        return cast(Float32Array, self._image_features(pixels).cpu().numpy())

    # --- Files ------------------------------------------------------------------------------

    def _save_model(self) -> None:
        """The folder's model becomes this one."""
        config = {"model_cfg": self.model_cfg, "preprocess_cfg": asdict(self.files.preprocess)}
        state = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        _replace(self.folder / CONFIG_NAME, lambda path: _write_json(path, config))
        _replace(self.folder / WEIGHTS, lambda path: save_file(state, path))

    def _checkpoint(self) -> None:
        state = {
            "step": self.step,
            "best": self.best,
            "best_metrics": None if self.best_metrics is None else list(self.best_metrics),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.mean,
        }
        _replace(self.folder / CHECKPOINT, lambda path: torch.save(state, path))

    def restore(self) -> None:
        """Go back to the last checkpoint, if there is one, and cut the logs there.

        Raises:
            ModelError: the checkpoint is damaged.
        """
        path = self.folder / CHECKPOINT
        if path.exists():
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                self._take(state)
            except Exception as error:
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise ModelError(f"{path} is damaged: {reason}", "Remove it to begin anew.") from error
        _keep_rows(self.folder / LOG, LOG_COLUMNS, self.step)
        _keep_rows(self.folder / EPOCHS, EPOCH_COLUMNS, self.step)

    def _take(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, mean in self.average.mean.items():
            mean.copy_(state["average"][name])
        self.step, self.best = int(state["step"]), float(state["best"])
        metrics = state["best_metrics"]
        self.best_metrics = None if metrics is None else Metrics(*metrics)


def validation_metrics(
    pairs: Sequence[Pair], captions: Sequence[Caption], images: Float32Array, texts: Float32Array
) -> Metrics:
    """Of pictures with features (N, D), and their distinct captions with features (M, D).

    A class embedding is the mean of the class's captions, normalised again.
    """
    own = [keys_of_image(pair) for pair in pairs]
    text_keys = [keys_of(caption) for caption in captions]
    members: dict[Key, list[int]] = {}
    for index, keys in enumerate(text_keys):
        members.setdefault(keys[-1], []).append(index)
    means = np.stack([texts[rows].mean(axis=0) for rows in members.values()])  # (C, D)
    classes = means / np.linalg.norm(means, axis=1, keepdims=True)
    of_texts = positives(own, text_keys)
    return Metrics(
        recall_at(1, images, classes, positives(own, [(key,) for key in members])),
        recall_at(1, images, texts, of_texts),
        recall_at(5, images, texts, of_texts),
        recall_at(1, texts, images, of_texts.T),
        recall_at(5, texts, images, of_texts.T),
    )


def _parts(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _precision(options: TrainOptions) -> str:
    """bf16 or fp32; without native bf16, fp32."""
    resolved = resolve_precision(options.precision, resolve_device(options.device))
    return "bf16" if resolved == "bf16" else "fp32"


def _gone(image: str, error: ImageError) -> ImageError:
    return ImageError(
        f"{image}: {error.message}; it could be read when the run began",
        "Put it back and run the same command again to go on.",
    )


# --- The folder ----------------------------------------------------------------------------------


def _settings(data: Data, files: ModelFiles, options: TrainOptions) -> dict[str, Any]:
    """All that decides the outcome; a run goes on only with the same."""
    free = ("device", "workers", "checkpoint_every", "precision")
    given = {name: value for name, value in asdict(options).items() if name not in free}
    given |= given.pop("augmentation")
    return {"init": files.fingerprint, "pairs": data.digest, "precision": _precision(options), **given}


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder this run's, or see that it is.

    Raises:
        UsageError: it holds something else, or a run with other settings.
        OutputError: it cannot be made.
    """
    path = folder / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() and any(found.suffix != ".partial" for found in folder.iterdir()):
            raise UsageError(f"{folder} holds something else than a run of training", "Name another with -o.")
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        if not isinstance(before, dict):
            raise ValueError("not an object")
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is damaged", "Name another folder with -o.") from None
    now = json.loads(json.dumps(settings))
    other = [f"{name} {before.get(name)} is now {now[name]}" for name in now if before.get(name) != now[name]]
    if other and before is not settings:
        raise UsageError(
            f"{folder} holds a run with other settings: {', '.join(other)}",
            "Name another folder with -o, or use the same pictures and options to go on.",
        )
    _replace(path, lambda partial: _write_json(partial, settings))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there as a whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        write(partial)
        partial.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def _append(path: Path, row: Sequence[object]) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def _keep_rows(path: Path, columns: Sequence[str], last_step: int) -> None:
    """Leave the rows up to a step, or begin the file."""
    kept: list[Sequence[str]] = [columns]
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
        kept += [row for row in rows if len(row) == len(columns) and int(row[0]) <= last_step]

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(kept)

    _replace(path, write)
