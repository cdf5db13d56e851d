"""Devices: which there are, in which precision they compute, and the way to one and back.

Nothing here knows a model. Several devices of one machine are several `Replica`s side by side.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from clipcli.choices import Precision
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.records import Float32Array

Rows = TypeVar("Rows", bound=npt.NDArray[Any])

_LEAST_GAIN = 1.1  # in images/s, for which a batch is made twice as large


# --- Which, and in which precision ---------------------------------------------------------------


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
        raise UsageError(f"this machine has no device {device!r}", "Use --device auto or cpu.")
    return resolved


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """`auto` is bf16 where the hardware has it natively, fp16 on other GPUs, else fp32; never int8.

    Raises:
        UsageError: int8 on another device than a CPU.
    """
    if precision == "int8" and device.type != "cpu":
        raise UsageError(f"int8 is for CPUs, not for {device}", "Use --device cpu, or --precision auto.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp16"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"


def has_convolutions(tower: torch.nn.Module) -> bool:
    """Whether it has further convolutions than the one that makes patches of an image."""
    return sum(isinstance(module, torch.nn.Conv2d) for module in tower.modules()) > 1


# --- How many images at a time -------------------------------------------------------------------


def fastest_batch_size(images_per_second: Callable[[int], float], smallest: int, largest: int) -> int:
    """Double the batch while that gains more than a tenth, and while memory allows.

    Args:
        images_per_second: measures a batch size; may run out of memory.
        smallest: where to begin; the answer if not even this fits, and batches are halved later.
        largest: never more.
    """
    size, fastest = smallest, 0.0
    while size <= largest:
        try:
            rate = images_per_second(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if rate <= _LEAST_GAIN * fastest:
            break
        size, fastest = 2 * size, rate
    return max(size // 2, smallest)


def is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own class; CPU and MPS allocators a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error) for part in ("out of memory", "can't allocate memory")
    )


# --- There and back ------------------------------------------------------------------------------


class Replica:
    """The way to one device and back: rows go in, unit-norm features come out.

    Threads may share a replica: while one waits for its features, the next one gives the device work.

    Args:
        device: where `encode` runs what it is given.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.largest_group = sys.maxsize  # until the device runs out of memory
        self._threads = _threads_of_their_own() if device.type == "cpu" else None
        self._giving_work: AbstractContextManager[Any] = nullcontext() if self._threads else threading.Lock()

    def put(self, rows: npt.NDArray[Any]) -> torch.Tensor:
        """Rows (N, ...) on the device; a copy to a GPU is from pinned memory, and is not waited for."""
        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def encode(self, rows: Rows, encode: Callable[[Rows], torch.Tensor]) -> Float32Array:
        """Rows (N, ...) -> (N, D) float32, unit norm, all of them at once."""
        with self._giving_work, torch.inference_mode():
            features = torch.nn.functional.normalize(encode(rows).float(), dim=-1)
            if self.device.type != "cuda":
                return cast(Float32Array, features.cpu().numpy())
            fetched = features.to("cpu", non_blocking=True)
            there = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: cores decode
            there.record(torch.cuda.current_stream(self.device))
        there.synchronize()
        return cast(Float32Array, fetched.numpy())

    def encode_in_groups(
        self, rows: Rows, encode: Callable[[Rows], torch.Tensor], group_size: int, width: int
    ) -> Float32Array:
        """Rows (N, ...), in groups -> (N, width) float32, unit norm.

        On a CPU as many groups at a time as it has cores, each in one thread: threads that share a group
        wait for each other at every step. Matrix kernels of CPUs are chosen by the number of rows, and sum in
        another order each. So that a row gets the same bits whatever it is encoded with, every group there
        is filled up to the same size.

        Raises:
            RuntimeError: what the device reports; running out of memory only if one row is too much.
        """
        group_size = min(group_size, self.largest_group)

        def encoded(start: int) -> Float32Array:
            group = rows[start : start + group_size]
            missing = group_size - len(group) if self._threads else 0
            filled = np.concatenate([group, np.repeat(group[-1:], missing, axis=0)]) if missing else group
            return self.encode(cast(Rows, filled), encode)[: len(group)]

        side_by_side = self._threads.map if self._threads else map
        try:
            features = list(side_by_side(encoded, range(0, len(rows), group_size)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or group_size == 1:
                raise
            self._halve(group_size)
            return self.encode_in_groups(rows, encode, group_size, width)
        return np.concatenate(features) if features else np.empty((0, width), dtype=np.float32)

    def _halve(self, group_size: int) -> None:
        """A smaller group after the device ran out of memory, for the rest of the run."""
        self.largest_group = min(self.largest_group, group_size // 2)
        message = f"out of memory on {self.device}; going on with batches of {self.largest_group}"
        warnings.warn(message, ClipcliWarning, stacklevel=2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


_beginning = threading.Lock()


def _threads_of_their_own() -> ThreadPoolExecutor:
    """As many threads as torch uses, in each of which it uses that one alone."""

    def use_one() -> None:
        torch.set_num_threads(1)  # of this thread, and for now of those that others begin
        torch.get_num_threads()  # makes it stay
        all_begun.wait()

    with _beginning:
        threads = torch.get_num_threads()
        all_begun = threading.Barrier(threads)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="encode", initializer=use_one)
        list(pool.map(lambda _: None, range(threads)))
        torch.set_num_threads(threads)
    return pool
