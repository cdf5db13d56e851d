"""Replicas of a model without any GPU here: several on the CPU stand for several GPUs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import items
from open_clip.transformer import VisionTransformer
from torch import nn

from clipcli import load_model
from clipcli.errors import ClipcliWarning
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import locate
from clipcli.models.registry import parse_model
from clipcli.models.replica import Replica, fastest_batch_size, has_convolutions, image_group_size
from clipcli.pipeline import EngineOptions, encode
from clipcli.records import Float32Array, ImageFailure, Preprocess, Uint8Array


@pytest.fixture
def two() -> OpenClipEncoder:
    return load_model("nano", device="cpu,cpu", precision="fp32")


@pytest.fixture
def pixels(nano: OpenClipEncoder) -> Uint8Array:
    return np.random.default_rng(0).integers(0, 256, (20, *nano.preprocess.size, 3), dtype=np.uint8)


# --- Layout --------------------------------------------------------------------------------------


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
    assert (nano.devices, two.devices) == (("cpu",), ("cpu", "cpu"))
    outcomes, features = features_of(paths * 3, two, batch_size=4)
    expected_outcomes, expected = features_of(paths * 3, nano, batch_size=4)
    assert outcomes == expected_outcomes
    np.testing.assert_array_equal(features, expected)


def test_batches_are_dealt_to_the_device_that_has_least_to_do(
    two: OpenClipEncoder, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both must be at work at the same moment, or the barrier breaks."""
    both = threading.Barrier(2, timeout=60)
    first, second = two.replicas
    at_work: list[Replica] = []
    for one in two.replicas:

        def meet(group: Uint8Array, one: Replica = one) -> torch.Tensor:
            both.wait()
            at_work.append(one)
            return torch.ones(len(group), two.embed_dim)

        monkeypatch.setattr(one, "image_features", meet)
    threads = [threading.Thread(target=two.encode_images, args=(pixels[:8],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one) for one in at_work} == {id(first), id(second)}
    assert first.model is two.model
    assert second.model is not first.model


def test_a_device_that_runs_out_of_memory_goes_on_with_less_and_the_other_as_before(
    two: OpenClipEncoder, nano: OpenClipEncoder, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two.replicas
    image_features = first.image_features

    def with_little_memory(group: Uint8Array) -> torch.Tensor:
        if len(group) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return image_features(group)

    monkeypatch.setattr(first, "image_features", with_little_memory)
    monkeypatch.setattr(first, "image_group_size", 16)
    with pytest.warns(ClipcliWarning, match="going on with batches of 8"):
        features = two.encode_images(pixels)
    np.testing.assert_allclose(features, nano.encode_images(pixels), rtol=0, atol=1e-6)
    assert first.largest_group == 8
    assert second.largest_group > 16


def test_what_fails_on_one_device_ends_the_run(
    two: OpenClipEncoder, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Uint8Array) -> torch.Tensor:
        raise RuntimeError("device-side assert")

    for one in two.replicas:
        monkeypatch.setattr(one, "image_features", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        features_of([str(path) for path in pictures.iterdir()], two, batch_size=2)


# --- Memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    error: Exception, pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_model("nano", device="cpu", precision="fp32")
    expected = encoder.encode_images(pixels)
    sizes: list[int] = []
    (replica,) = encoder.replicas
    encode = replica.image_features

    def with_little_memory(group: np.ndarray) -> torch.Tensor:
        sizes.append(len(group))
        if len(group) > 8:
            raise error
        return encode(group)

    monkeypatch.setattr(replica, "image_features", with_little_memory)
    monkeypatch.setattr(replica, "image_group_size", 16)
    with pytest.warns(ClipcliWarning, match="going on with batches of"):
        np.testing.assert_allclose(encoder.encode_images(pixels), expected, rtol=0, atol=1e-6)
    before = len(sizes)
    encoder.encode_images(pixels)
    assert max(sizes[before:]) <= 8, "the smaller batch is kept"


def test_memory_of_the_attempt_that_failed_is_free_for_the_next(
    pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_model("nano", device="cpu", precision="fp32")
    (replica,) = encoder.replicas
    encode, held = replica.image_features, []

    def fill_the_memory(group: np.ndarray) -> torch.Tensor:
        assert all(tensor() is None for tensor in held), "what the device had is still held"
        on_device = torch.zeros(len(group))
        held.append(weakref.ref(on_device))
        if len(group) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(group)

    monkeypatch.setattr(replica, "image_features", fill_the_memory)
    monkeypatch.setattr(replica, "image_group_size", 16)
    monkeypatch.setattr(replica, "_threads", None)
    with pytest.warns(ClipcliWarning, match="going on with batches of") as told:
        encoder.encode_images(pixels[:16])
    assert len(told) == 3, "16, 8 and 4 are too many"


# --- GPUs ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="TEST_CUDA_DEVICES names no GPU")
def test_fp32_on_a_gpu_is_fp32(nano: OpenClipEncoder) -> None:
    size = nano.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, *size, 3), dtype=np.uint8)
    on_gpu = load_model("nano", device="cuda:0", precision="fp32").encode_images(pixels)
    np.testing.assert_allclose(on_gpu, nano.encode_images(pixels), rtol=0, atol=2e-6)


def test_other_errors_of_the_device_are_not_taken_for_it(
    pixels: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_model("nano", device="cpu", precision="fp32")

    def fail(_: np.ndarray) -> torch.Tensor:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(encoder.replicas[0], "image_features", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        encoder.encode_images(pixels[:2])


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
        replica = Replica(torch.nn.Identity(), torch.device("cpu"), "fp32", Preprocess())
        rows = np.eye(4, dtype=np.float32)
        features = replica.encode_in_groups(rows, encode, group_size=2)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(features, rows)
    assert threads_of_torch == [1, 1]


@pytest.mark.parametrize(
    ("side", "patch", "images"), [(224, 32, 4), (256, 32, 4), (224, 16, 1), (336, 14, 1)]
)
def test_fewer_images_at_once_the_more_tokens_each_has(side: int, patch: int, images: int) -> None:
    with torch.device("meta"):
        tower = VisionTransformer(side, patch, width=768, layers=2, heads=12, mlp_ratio=4)
    assert image_group_size(tower) == images


def test_images_at_once_of_other_towers() -> None:
    assert image_group_size(nn.Linear(4, 4)) == 16
    assert image_group_size(nn.Conv2d(512, 2048, 3)) == 4
    large = nn.Conv2d(512, 2048, 3)
    large.trunk = nn.Module()
    large.trunk.pos_embed = nn.Parameter(torch.zeros(1, 256, 8))
    assert image_group_size(large) == 1


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
    assert encoder.replicas[0].images_per_second(2) > 0
    assert encoder.batch_size == 32

    def broken(_: int) -> float:
        raise RuntimeError("device-side assert")

    with pytest.raises(RuntimeError, match="device-side assert"):
        fastest_batch_size(broken, 32, 256)
