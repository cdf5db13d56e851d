"""One copy of a model on one device, with the threads and the group sizes that keep the device busy."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from clipcli.errors import ClipcliWarning
from clipcli.models.devices import DTYPES, without_tf32
from clipcli.models.memory import is_out_of_memory
from clipcli.models.text_tower import TokenArray, causal_tower, encode_causal_texts, needed_lengths
from clipcli.models.threads import SingleThreads
from clipcli.records import Float32Array, Preprocess, Uint8Array

if TYPE_CHECKING:
    from clipcli.models.optimize.int8 import Int8Tower

Rows = TypeVar("Rows", bound=npt.NDArray[Any])

_LARGE_TOWER = 8_000_000  # weights of a tower for which few rows keep a core busy: groups are filled
_TOKENS_A_GROUP = 190  # of a large image tower: with fewer a core is slower, with more hardly faster
_TEXTS_A_GROUP = 256  # on a GPU
_LEAST_GAIN = 1.1  # in images/s, for which a batch is made twice as large


class Replica:
    """One copy of a model on one device: pixels or tokens go in, unit-norm features come out.

    Threads may share a replica: while one waits for its features, the next one gives the device work.

    Args:
        model: an open_clip model on the CPU, which is moved to the device.
        device: where it runs.
        precision: of its weights: `fp32`, `bf16`, `fp16`, or `int8` with an int8 tower.
        preprocess: the model's own recipe for pixels.
        int8_tower: takes the place of the image tower.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        precision: str,
        preprocess: Preprocess,
        int8_tower: Int8Tower | None = None,
    ) -> None:
        self.model = _placed(model, device)
        self.device = device
        self.largest_group = sys.maxsize  # until the device runs out of memory
        self._dtype = DTYPES[precision]
        self._preprocess = preprocess
        self._int8_tower = int8_tower
        self._is_exact = device.type == "cuda" and precision == "fp32"
        self._threads = SingleThreads() if device.type == "cpu" else None
        self._submitting: AbstractContextManager[Any] = nullcontext() if self._threads else threading.Lock()

    # --- Images -----------------------------------------------------------------------------

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8, N > 0 -> (N, D) float32, unit norm."""
        group_size = self.image_group_size if self.device.type == "cpu" else len(pixels)
        return self.encode_in_groups(pixels, self.image_features, group_size)

    def image_features(self, pixels: Uint8Array) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, D) on the device, as the image tower gives them."""
        batch = self.normalized(self.put(pixels).permute(0, 3, 1, 2))
        if self._int8_tower is not None:
            return torch.from_numpy(self._int8_tower(batch.contiguous().numpy()))
        return cast(torch.Tensor, self.model.encode_image(batch))

    def normalized(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) uint8 -> normalised, in the model's precision; arithmetic as torchvision's in fp32."""
        mean, std = self._mean_and_std
        return batch.float().div_(255).sub_(mean).div_(std).to(self._dtype)

    @cached_property
    def _mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, 3, 1, 1) each; on the device once, because a GPU is waited for while it gets them."""
        recipe = (self._preprocess.mean, self._preprocess.std)
        mean, std = (torch.tensor(values, device=self.device).view(1, 3, 1, 1) for values in recipe)
        return mean, std

    @cached_property
    def image_group_size(self) -> int:
        """Images in a group on a CPU: as few as keep a core busy, because groups are filled up."""
        return 1 if self._int8_tower else image_group_size(self.model.visual)

    def images_per_second(self, batch_size: int) -> float:
        """How fast so many black images are encoded together; the first of three times does not count."""
        pixels = np.zeros((batch_size, *self._preprocess.size, 3), dtype=np.uint8)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            self.encode(pixels, self.image_features)
            seconds.append(time.perf_counter() - start)
        return batch_size / min(seconds[1:])

    # --- Texts ------------------------------------------------------------------------------

    def encode_tokens(self, tokens: TokenArray) -> Float32Array:
        """(M, L) token ids, M > 0 -> (M, D) float32, unit norm; L is as long as `needed_lengths`."""
        return self.encode_in_groups(tokens, self.text_features, self._text_group_size)

    def text_features(self, tokens: TokenArray) -> torch.Tensor:
        """(M, L) token ids -> (M, D) on the device, as the text tower gives them."""
        batch = self.put(tokens)
        if self._causal_tower is None:
            return cast(torch.Tensor, self.model.encode_text(batch))
        return encode_causal_texts(self._causal_tower, batch)

    def needed_lengths(self, tokens: TokenArray) -> TokenArray:
        """(M, L) token ids -> (M,) columns that `encode_tokens` needs of each text."""
        if self._causal_tower is None:
            return np.full(len(tokens), tokens.shape[1])
        return needed_lengths(self._causal_tower, tokens)

    @cached_property
    def _causal_tower(self) -> Any:
        return causal_tower(self.model)

    @cached_property
    def _text_group_size(self) -> int:
        """Texts in a group: on a CPU as few as keep a core busy, because groups are filled up."""
        return text_group_size(self.model) if self.device.type == "cpu" else _TEXTS_A_GROUP

    # --- To the device and back -------------------------------------------------------------

    def put(self, rows: npt.NDArray[Any]) -> torch.Tensor:
        """Rows (N, ...) on the device; a copy to a GPU is from pinned memory, and is not waited for."""
        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def encode(self, rows: Rows, encode: Callable[[Rows], torch.Tensor]) -> Float32Array:
        """Rows (N, ...) -> (N, D) float32, unit norm, all of them together."""
        exactly = without_tf32() if self._is_exact else nullcontext()
        with self._submitting, exactly, torch.inference_mode():
            features = torch.nn.functional.normalize(encode(rows).float(), dim=-1)
            if self.device.type != "cuda":
                return cast(Float32Array, features.cpu().numpy())
            fetched = features.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: cores decode
            arrived.record(torch.cuda.current_stream(self.device))
        arrived.synchronize()
        return cast(Float32Array, fetched.numpy())

    def encode_in_groups(
        self, rows: Rows, encode: Callable[[Rows], torch.Tensor], group_size: int
    ) -> Float32Array:
        """N > 0 rows (N, ...), in groups -> (N, D) float32, unit norm.

        On a CPU as many groups at a time as it has cores, each in one thread: threads that share a group
        wait for each other at every step. Matrix kernels of CPUs are chosen by the number of rows, and sum in
        another order each. So that a row gets the same bits whatever it is encoded with, every group there
        is filled up to the same size.

        Raises:
            RuntimeError: what the device reports; running out of memory only if one row is too much.
        """
        while True:
            group_size = min(group_size, self.largest_group)
            try:
                return self._encode_in_groups(rows, encode, group_size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or group_size == 1:
                    raise
            self._halve(group_size)  # now: as long as there is an error, so is all that was on the device

    def _encode_in_groups(
        self, rows: Rows, encode: Callable[[Rows], torch.Tensor], group_size: int
    ) -> Float32Array:
        def encoded(start: int) -> Float32Array:
            group = rows[start : start + group_size]
            missing = group_size - len(group) if self._threads else 0
            filled = np.concatenate([group, np.repeat(group[-1:], missing, axis=0)]) if missing else group
            return self.encode(cast(Rows, filled), encode)[: len(group)]

        side_by_side = self._threads.map if self._threads else map
        return np.concatenate(list(side_by_side(encoded, range(0, len(rows), group_size))))

    def _halve(self, group_size: int) -> None:
        """A smaller group after the device ran out of memory, for the rest of the run."""
        self.largest_group = min(self.largest_group, group_size // 2)
        message = f"out of memory on {self.device}; going on with batches of {self.largest_group}"
        warnings.warn(message, ClipcliWarning, stacklevel=2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


# --- The model on the device ---------------------------------------------------------------------


def _placed(model: Any, device: torch.device) -> Any:
    """The model on the device, its weights in the layout of pixels where convolutions like that."""
    if device.type == "cpu":
        return model  # where it is; pixels come in that layout there too, and weights in it bring nothing
    model.to(device)
    if has_convolutions(model.visual):
        model.visual.to(memory_format=torch.channels_last)
    return model


def has_convolutions(tower: torch.nn.Module) -> bool:
    """Whether it has further convolutions than the one that makes patches of an image."""
    return sum(isinstance(module, torch.nn.Conv2d) for module in tower.modules()) > 1


# --- How many at a time --------------------------------------------------------------------------


def image_group_size(tower: torch.nn.Module) -> int:
    """How many images an image tower needs in a group to keep a core busy: a power of two.

    The products of a vision transformer have a row for each patch of each image, so that large images want
    few in a group.
    """
    if sum(weight.numel() for weight in tower.parameters()) <= _LARGE_TOWER:
        return 16
    positions = getattr(tower, "positional_embedding", None)  # (T, W)
    if positions is None:
        positions = getattr(getattr(tower, "trunk", None), "pos_embed", None)  # timm's (1, T, W)
    if not isinstance(positions, torch.Tensor) or positions.ndim > 3:
        return 4
    images = 1
    while images * positions.shape[-2] < _TOKENS_A_GROUP:
        images *= 2
    return images


def text_group_size(model: Any) -> int:
    """How many texts a model's text tower needs in a group to keep a core busy."""
    tower = getattr(model, "text", model)
    weights = sum(weight.numel() for weight in getattr(tower, "transformer", tower).parameters())
    return 8 if weights > _LARGE_TOWER else 16


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
