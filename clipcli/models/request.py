"""What a user asks of a model, as one object that travels anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from clipcli.choices import Precision
from clipcli.errors import UsageError
from clipcli.models.registry import DEFAULT_MODEL, ModelSpec, parse_model

_DEVICE = r"\s*(cpu|cuda|mps)(:\d+)?\s*"
_DEVICES = re.compile(rf"auto|{_DEVICE}(,{_DEVICE})*")


@dataclass(frozen=True)
class ModelRequest:
    """A model and how it is to run: hashable, picklable, and independent of torch.

    Args:
        model: a preset (`nano`, `fast`, `balanced`, `accurate`, `best`), `ARCHITECTURE:TAG`,
            `hf-hub:org/repo`, `local-dir:/path`, or a folder in open_clip's local format.
        pretrained: a tag or weights file, for a bare architecture.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or several such as `cuda:0,cuda:2`;
            `auto` and `cuda` are all GPUs of the machine that are of the first one's model.
        precision: `auto` is bf16 where the hardware has it natively, fp16 on other GPUs, else fp32;
            `int8` runs the image tower in 8 bits on a CPU, and texts in fp32.
        offline: never use the network.

    Raises:
        UsageError: no model is named, or a device or precision that does not exist.
    """

    model: str = DEFAULT_MODEL
    pretrained: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    offline: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError("no model is named", f"The default is {DEFAULT_MODEL}.")
        if not _DEVICES.fullmatch(self.device):
            raise UsageError(f"unknown device {self.device!r}", "Use auto, cpu, cuda, cuda:0 or mps.")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise UsageError(f"unknown precision {self.precision!r}", f"Use one of {known}.")

    def spec(self) -> ModelSpec:
        """The model that is named.

        Raises:
            UnknownModelError: no such model; near names are suggested.
            UsageError: weights are named for a model that brings its own, or a file is missing.
        """
        return parse_model(self.model, self.pretrained)
