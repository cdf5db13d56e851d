"""Devices without any GPU here, and the engine on several of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fakes import FakeEncoder, items
from running_threads import threads_end

from clipcli.cache import FeatureCache
from clipcli.errors import UsageError
from clipcli.models.devices import resolve_device, resolve_devices, resolve_precision, without_tf32
from clipcli.pipeline import EngineOptions, encode
from clipcli.records import Float32Array, Uint8Array

# --- Which ---------------------------------------------------------------------------------------


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make torch report GPUs of these models."""

    def there_are(*names: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])

    return there_are


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_all_gpus_are_used_that_are_like_the_first(device: str, gpus: Callable[..., None]) -> None:
    gpus("H100", "GT 1030", "H100")
    assert resolve_devices(device) == (torch.device("cuda", 0), torch.device("cuda", 2))
    assert resolve_device(device) == torch.device("cuda", 0)


def test_devices_are_chosen_by_name(gpus: Callable[..., None]) -> None:
    gpus("H100", "H100", "H100")
    assert resolve_devices("cuda:0, cuda:2") == (torch.device("cuda", 0), torch.device("cuda", 2))
    assert resolve_devices("cuda:1") == (torch.device("cuda", 1),)
    assert resolve_devices("cpu") == (torch.device("cpu"),)
    with pytest.raises(UsageError, match="no device 'cuda:3'"):
        resolve_devices("cuda:0,cuda:3")
    with pytest.raises(UsageError, match="several kinds"):
        resolve_devices("cuda:0,cpu")
    with pytest.raises(UsageError, match="one device is wanted"):
        resolve_device("cuda:0,cuda:1")


def test_without_a_gpu_auto_is_one_device(gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpus()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_devices("auto") == (torch.device("cpu"),)


def test_devices_that_are_not_there(gpus: Callable[..., None]) -> None:
    gpus()
    for device, message in (("cuda", "no device 'cuda'"), ("toaster", "unknown device 'toaster'")):
        with pytest.raises(UsageError, match=message):
            resolve_device(device)


def test_precision_asked_for_is_precision_given() -> None:
    assert resolve_precision("fp32", torch.device("cpu")) == "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert resolve_precision("auto", torch.device("cpu")) == ("bf16" if native else "fp32")


# --- The engine with encoders that work by themselves --------------------------------------------


class Gate(FakeEncoder):
    """An encoder whose batches end when the test lets them."""

    def __init__(self, in_flight: int) -> None:
        super().__init__(in_flight=in_flight)
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        self.begun.release()
        assert self.may_end.acquire(timeout=60)
        return super().encode_images(pixels)


@pytest.fixture
def endless(pictures: Path) -> tuple[Iterator[str], list[str]]:
    """An input without end, and what was taken of it."""
    taken: list[str] = []

    def paths() -> Iterator[str]:
        names = [str(path) for path in sorted(pictures.iterdir())]
        while True:
            taken.append(names[len(taken) % len(names)])
            yield taken[-1]

    return paths(), taken


def test_the_next_batch_is_encoded_while_one_is_written(endless: tuple[Iterator[str], list[str]]) -> None:
    paths, taken = endless
    encoder = Gate(in_flight=2)
    batches = encode(items(paths), encoder, EngineOptions(batch_size=2, workers=2))
    encoder.may_end.release()
    next(batches)  # and while the caller has it:
    assert all(encoder.begun.acquire(timeout=60) for _ in range(3))
    assert not encoder.begun.acquire(timeout=0.2), "two in flight and no more"
    assert len(taken) <= 2 * 6 + 2
    for _ in range(2):
        encoder.may_end.release()
    batches.close()  # type: ignore[attr-defined]
    assert threads_end("decode")


def test_a_stop_finishes_what_is_in_flight_and_keeps_it(
    endless: tuple[Iterator[str], list[str]], tmp_path: Path
) -> None:
    paths, _ = endless
    encoder = FakeEncoder(in_flight=3)
    cache = FeatureCache(tmp_path / "cache")
    stopped = False
    batches = encode(items(paths), encoder, EngineOptions(batch_size=2), cache, lambda: stopped)
    first = next(batches)
    stopped = True
    rest = list(batches)
    assert len(rest) == 3
    assert cache.info().features == {f"{encoder.cache_key}{EngineOptions().decoding.cache_suffix}": 8}
    images = [item.name for batch in (first, *rest) for item in batch.items]
    assert images == sorted(images)
    cache.close()


# --- Rounding ------------------------------------------------------------------------------------


def test_convolutions_are_rounded_as_the_host_program_wants_before_and_after() -> None:
    cudnn = torch.backends.cudnn
    for wanted in (True, False):
        cudnn.allow_tf32 = wanted
        try:
            with pytest.raises(ZeroDivisionError), without_tf32():
                assert not cudnn.allow_tf32
                raise ZeroDivisionError
            assert cudnn.allow_tf32 == wanted
        finally:
            cudnn.allow_tf32 = True


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no precision for each kind"
)
def test_a_precision_that_the_host_chose_for_convolutions_stays() -> None:
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "ieee"
    try:
        with without_tf32():
            assert conv.fp32_precision == "ieee"
        assert conv.fp32_precision == "ieee"
    finally:
        conv.fp32_precision = before
