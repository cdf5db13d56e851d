"""Devices without any GPU here: several copies on the CPU stand for several GPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import FakeEncoder, items
from running_threads import threads_end

from clipcli import load_model
from clipcli.cache import FeatureCache
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.models.devices import (
    Replica,
    fastest_batch_size,
    has_convolutions,
    resolve_device,
    resolve_devices,
)
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.registry import locate, parse_model
from clipcli.pipeline import EngineOptions, encode
from clipcli.records import Float32Array, ImageFailure, Uint8Array


@pytest.fixture
def two() -> OpenClipEncoder:
    return load_model("nano", device="cpu,cpu", precision="fp32")


@pytest.fixture
def pixels() -> Uint8Array:
    return np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), dtype=np.uint8)


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


def test_a_patch_embedding_alone_does_not_make_a_convolutional_network(
    nano: OpenClipEncoder, random_model: Callable[[str], Path]
) -> None:
    vit = load_model(f"local-dir:{random_model('clip')}", device="cpu", precision="fp32")
    assert not has_convolutions(vit.model.visual)
    assert has_convolutions(nano.model.visual)


def test_pixels_come_in_the_layout_that_convolutions_like(
    nano: OpenClipEncoder, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    forward = nano.model.encode_image
    monkeypatch.setattr(nano.model, "encode_image", lambda batch: (seen.append(batch), forward(batch))[1])
    nano.encode_images(pixels[:3])
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)
    assert seen


# --- Several -------------------------------------------------------------------------------------


def features_of(
    paths: list[str | ImageFailure], encoder: Any, **options: Any
) -> tuple[list[Any], Float32Array]:
    batches = list(encode(items(paths), encoder, EngineOptions(**options)))
    outcomes = [outcome for batch in batches for outcome in batch.outcomes]
    return outcomes, np.concatenate([batch.features for batch in batches])


def test_two_devices_make_the_same_bytes_in_the_same_order(
    two: OpenClipEncoder, nano: OpenClipEncoder, pictures: Path
) -> None:
    paths: list[str | ImageFailure] = [str(path) for path in sorted(pictures.iterdir())]
    paths[5:5] = ["missing.png", ImageFailure("folder", "locked")]
    assert (nano.in_flight, two.in_flight) == (1, 2)
    assert two.cache_key == nano.cache_key
    outcomes, features = features_of(paths * 3, two, batch_size=4)
    expected_outcomes, expected = features_of(paths * 3, nano, batch_size=4)
    assert outcomes == expected_outcomes
    np.testing.assert_array_equal(features, expected)


def test_batches_are_dealt_to_the_device_that_has_least_to_do(
    two: OpenClipEncoder, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both must be at work at the same moment, or the barrier breaks."""
    both = threading.Barrier(2, timeout=60)
    (other,) = two.copies
    at_work: list[OpenClipEncoder] = []
    for one in (two, other):

        def meet(group: Uint8Array, one: OpenClipEncoder = one) -> torch.Tensor:
            both.wait()
            at_work.append(one)
            return torch.ones(len(group), one.embed_dim)

        monkeypatch.setattr(one, "_encode_pixels", meet)
    threads = [threading.Thread(target=two.encode_images, args=(pixels[:8],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one) for one in at_work} == {id(two), id(other)}
    assert other.model is not two.model


def test_a_device_that_runs_out_of_memory_goes_on_with_less_and_the_other_as_before(
    two: OpenClipEncoder, nano: OpenClipEncoder, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = two.copies
    encode_pixels = two._encode_pixels

    def with_little_memory(group: Uint8Array) -> torch.Tensor:
        if len(group) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode_pixels(group)

    monkeypatch.setattr(two, "_encode_pixels", with_little_memory)
    with pytest.warns(ClipcliWarning, match="going on with batches of 8"):
        features = two.encode_images(pixels)
    np.testing.assert_allclose(features, nano.encode_images(pixels), rtol=0, atol=1e-6)
    assert two.replica.largest_group == 8
    assert other.replica.largest_group > 16


def test_what_fails_on_one_device_ends_the_run(
    two: OpenClipEncoder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Uint8Array) -> torch.Tensor:
        raise RuntimeError("device-side assert")

    for one in (two, *two.copies):
        monkeypatch.setattr(one, "_encode_pixels", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        features_of([str(path) for path in pictures.iterdir()], two, batch_size=2)


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


# --- Groups on a CPU -----------------------------------------------------------------------------


def test_groups_are_encoded_side_by_side_in_a_thread_each() -> None:
    both, threads_of_torch = threading.Barrier(2, timeout=60), []

    def encode(rows: Any) -> torch.Tensor:
        threads_of_torch.append(torch.get_num_threads())
        both.wait()
        return torch.from_numpy(rows)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        replica, rows = Replica(torch.device("cpu")), np.eye(4, dtype=np.float32)
        features = replica.encode_in_groups(rows, encode, group_size=2, width=4)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(features, rows)
    assert threads_of_torch == [1, 1]


# --- Batch size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({32: 100, 64: 150, 128: 180, 256: 185}, 128),
        ({32: 100, 64: 109}, 32),
        ({32: 100, 64: 200, 128: 400, 256: 800}, 256),
        ({32: 100, 64: 200}, 64),  # 128 does not fit
        ({}, 32),  # nothing does: encoding will halve it
    ],
)
def test_the_batch_is_doubled_while_that_gains_a_tenth(rates: dict[int, float], expected: int) -> None:
    def measure(size: int) -> float:
        if size not in rates:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rates[size]

    assert fastest_batch_size(measure, 32, 256) == expected


def test_what_is_measured_is_encoded_and_its_errors_are_told() -> None:
    encoder = OpenClipEncoder(locate(parse_model("nano")), "cpu", "fp32")
    assert encoder._images_per_second(2) > 0
    assert encoder.batch_size == 32

    def broken(_: int) -> float:
        raise RuntimeError("device-side assert")

    with pytest.raises(RuntimeError, match="device-side assert"):
        fastest_batch_size(broken, 32, 256)
