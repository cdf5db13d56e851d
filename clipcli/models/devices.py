"""Devices: which there are, and in which precision they compute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipcli.choices import Precision
from clipcli.errors import UsageError

DTYPES = {  # of torch's tensors; in int8, ONNX Runtime takes over where the image tower begins
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,
}


_TF32 = threading.Lock()  # torch has one setting for all threads


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let convolutions on CUDA GPUs compute in float32, which torch otherwise rounds to TF32 (10 bits).

    One thread at a time can be in here. Where the host program chose a precision for convolutions alone, by
    torch's newer names, its choice stays.
    """
    cudnn = torch.backends.cudnn
    with _TF32:
        try:
            before = cudnn.allow_tf32
        except RuntimeError:
            yield
            return
        cudnn.allow_tf32 = False
        try:
            yield
        finally:
            cudnn.allow_tf32 = before


def resolve_devices(device: str) -> tuple[torch.device, ...]:
    """`auto` is CUDA, else MPS, else the CPU; `cuda` is every GPU of the first one's model.

    Several devices of one kind are named with commas: `cuda:0,cuda:2`.

    Raises:
        UsageError: no such device on this machine, or devices of several kinds.
    """
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if device == "cuda" and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return tuple(torch.device("cuda", index) for index, name in enumerate(names) if name == names[0])
    devices = tuple(_resolve(name.strip()) for name in device.split(","))
    if len({one.type for one in devices}) > 1:
        raise UsageError(f"{device} are devices of several kinds", "Use one kind: cuda:0,cuda:1.")
    return devices


def resolve_device(device: str) -> torch.device:
    """One device: the first that `auto` or `cuda` finds.

    Raises:
        UsageError: no such device on this machine, or several are named.
    """
    if "," in device:
        raise UsageError(f"one device is wanted, not {device}", "Use auto, cpu, cuda, cuda:0 or mps.")
    return resolve_devices(device)[0]


def _resolve(device: str) -> torch.device:
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", "Use auto, cpu, cuda, cuda:0 or mps.") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (resolved.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(resolved.type, False):
        raise UsageError(f"this machine has no device {device!r}", "Use the device auto or cpu.")
    return resolved


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """`auto` is bf16 where the hardware has it natively, fp16 on other GPUs, else fp32; never int8.

    Raises:
        UsageError: int8 on another device than a CPU.
    """
    if precision == "int8" and device.type != "cpu":
        raise UsageError(f"int8 is for CPUs, not for {device}", "Use the device cpu, or the precision auto.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp16"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"
