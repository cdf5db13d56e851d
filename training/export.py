"""Write the model as a local-dir: folder of open_clip: fp16 weights, rounded so that they zip well."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from clipcli.train.run_folder import WEIGHTS, save_model

CONFIG = Path(__file__).with_name("nano.json")
_FP16_MANTISSA = 10


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """fp16 with `bits` of its 10 mantissa bits, rounded to nearest; the others are zero."""
    drop = _FP16_MANTISSA - bits
    raw = values.half().view(torch.int16).to(torch.int32)
    magnitude = ((raw & 0x7FFF) + (1 << drop >> 1)) >> drop << drop
    return (magnitude | (raw & 0x8000)).to(torch.int16).view(torch.float16)


def export(weights: Mapping[str, torch.Tensor], folder: Path, config: Path = CONFIG, bits: int = 7) -> int:
    """Write `folder` -> the size in bytes of its zipped weights, which is what they add to the wheel.

    Matrices are rounded; vectors keep fp16; running statistics and the scale keep fp32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {}
    for name, value in weights.items():
        if not value.is_floating_point() or "running_" in name or name == "logit_scale":
            kept[name] = value
        else:
            kept[name] = rounded(value, bits) if value.ndim >= 2 else value.half()
    save_model(folder, kept, json.loads(config.read_text()))
    packed = folder.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(folder / WEIGHTS)
    size = packed.stat().st_size
    packed.unlink()
    return size
