"""The options of a training run, and what of them decides its outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from clipcli.choices import Loss, TrainPrecision
from clipcli.errors import UsageError
from clipcli.models.devices import resolve_device, resolve_precision
from clipcli.models.locate import ModelFiles
from clipcli.train.augment import Augmentation

_LEAST = {
    "epochs": 1, "batch_size": 2, "accumulate": 1, "warmup": 0, "weight_decay": 0, "clip_grad": 0,
    "unlocked_layers": 0, "seed": 0, "checkpoint_every": 1, "workers": 1,
}  # fmt: skip
_FREE = ("device", "workers", "checkpoint_every", "precision")
"""Options that may change when a run continues; of the precision, what it resolves to may not."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Args:
        epochs: how many times every image is shown.
        batch_size: the largest number of pairs in memory at a time; steps are cut to be equal in size.
        accumulate: batches per step. All pairs of a step are compared with each other, as in one large
            batch.
        lr: the highest learning rate, reached at the end of the warm-up. None means 5e-4 from random
            weights and 1e-5 for fine-tuning.
        warmup: steps in which the learning rate rises to `lr`. None means a tenth of all steps, at most
            1,000.
        weight_decay: the decay of weight matrices; biases, gains and the temperature have none.
        clip_grad: gradients with a larger norm are scaled down to it; 0 means no limit.
        ema: the decay of the exponential moving average of the weights. The averaged weights are the ones
            that are validated and saved. 0 means no averaging.
        loss: `clip` (softmax), `siglip` (sigmoid), or `auto`: siglip for a model with a bias, else clip.
        lock_image: do not train the image tower.
        lock_text: do not train the text tower.
        unlocked_layers: train this many of the last layer groups of locked towers after all, see
            `clipcli.train.trainable.lock_towers`.
        val_fraction: the share of the images that is kept for validation, at most
            `clipcli.train.data.MAX_VALIDATION` of them.
        augmentation: how views differ from the image.
        seed: the seed of random weights, data order, views and dropout. Which images are kept for
            validation does not depend on it.
        checkpoint_every: steps between checkpoints. A checkpoint is also written after each epoch.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto` computes in bf16 where the hardware has it natively, else in fp32. Weights are
            always fp32.
        workers: threads that read and decode images. None means one per core.

    Raises:
        UsageError: a value outside its range, or options that contradict each other.
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
        self._check_ranges()
        self._check_choices()
        self._check_locks()

    def _check_ranges(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{_flag(name)} must be at least {least}, not {value}")
        for name in ("ema", "val_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{_flag(name)} must be at least 0 and below 1, not {getattr(self, name)}")
        if self.lr is not None and not self.lr > 0:
            raise UsageError(f"--lr must be above 0, not {self.lr}")
        if self.seed >= 2**31:
            raise UsageError(f"--seed must be below {2**31}, not {self.seed}")

    def _check_choices(self) -> None:
        for name, known in (("loss", get_args(Loss)), ("precision", get_args(TrainPrecision))):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} must be one of {', '.join(known)}, not {getattr(self, name)}")

    def _check_locks(self) -> None:
        if self.unlocked_layers and not (self.lock_image or self.lock_text):
            raise UsageError("--unlocked-layers needs --lock-image or --lock-text")
        if self.lock_image and self.lock_text and not self.unlocked_layers:
            raise UsageError("with both towers locked there is nothing to train", "Add --unlocked-layers 1.")

    @property
    def resolved_precision(self) -> str:
        """`bf16` or `fp32`: what `auto` means on the device."""
        resolved = resolve_precision(self.precision, resolve_device(self.device))
        return "bf16" if resolved == "bf16" else "fp32"

    def settings(self, files: ModelFiles) -> dict[str, Any]:
        """All that decides the outcome except the images; a run can continue only with the same."""
        deciding = {name: value for name, value in asdict(self).items() if name not in _FREE}
        deciding |= deciding.pop("augmentation")
        return {"init": files.fingerprint, "precision": self.resolved_precision, **deciding}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
