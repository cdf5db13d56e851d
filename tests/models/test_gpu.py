"""What only a GPU can show, beside the CPU: run with `TEST_CUDA_DEVICES=0 pytest tests/models/test_gpu.py`.

Elsewhere several models on a CPU stand for several GPUs (test_replica.py), and TorchCodec on a CPU for nvJPEG
(test_nvjpeg.py, whose tests of `cuda` need a GPU too).
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, MODELS, PHOTOGRAPHS, Result
from small_models import CONVOLUTIONS, VISION, config, small_pairs

from clipcli import load_model
from clipcli.errors import ClipcliWarning
from clipcli.models.encoder import OpenClipEncoder
from clipcli.records import Uint8Array
from clipcli.train.loop import StepReport, train
from clipcli.train.options import TrainOptions, TrainPrecision

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="TEST_CUDA_DEVICES names no GPU")

Cli = Callable[..., Result]
RandomModel = Callable[[str], Path]
TEXTS = ["a cat", "a photo of the word 'no'", "an owl at night, far away and hardly to be seen", "a dog"]


def noise(encoder: OpenClipEncoder, count: int) -> Uint8Array:
    return np.random.default_rng(0).integers(0, 256, (count, *encoder.preprocess.size, 3), dtype=np.uint8)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", MODELS)
def test_fp32_is_what_a_cpu_computes(kind: str, random_model: RandomModel) -> None:
    where = f"local-dir:{random_model(kind)}"
    cpu, gpu = (load_model(where, device=device, precision="fp32") for device in ("cpu", "cuda"))
    pixels = noise(cpu, 9)
    np.testing.assert_allclose(gpu.encode_images(pixels), cpu.encode_images(pixels), rtol=0, atol=5e-6)
    np.testing.assert_allclose(gpu.encode_texts(TEXTS), cpu.encode_texts(TEXTS), rtol=0, atol=5e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["clip", "mobileclip"])
def test_half_precision_is_near_fp32(kind: str, precision: str, random_model: RandomModel) -> None:
    where = f"local-dir:{random_model(kind)}"
    exact, half = (load_model(where, device="cuda", precision=one) for one in ("fp32", precision))
    pixels = noise(exact, 16)
    cosines = np.sum(half.encode_images(pixels) * exact.encode_images(pixels), axis=1)
    assert cosines.min() > 0.998
    assert np.sum(half.encode_texts(TEXTS) * exact.encode_texts(TEXTS), axis=1).min() > 0.998


def test_rows_hardly_depend_on_the_batch(random_model: RandomModel) -> None:
    gpu = load_model(f"local-dir:{random_model('clip')}", device="cuda", precision="fp32")
    pixels = noise(gpu, 33)
    alone = np.concatenate([gpu.encode_images(pixels[row : row + 1]) for row in range(33)])
    np.testing.assert_allclose(gpu.encode_images(pixels), alone, rtol=0, atol=5e-6)


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    """Let this process use only so many megabytes more of the GPU than it does."""

    def leave(megabytes: int) -> None:
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved(0) + megabytes * 2**20) / whole, 0
        )

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.cuda.empty_cache()


def test_batches_are_halved_until_they_fit_into_real_memory(
    random_model: RandomModel, little_memory: Callable[[int], None]
) -> None:
    gpu = load_model(f"local-dir:{random_model('clip')}", device="cuda", precision="fp32")
    pixels = noise(gpu, 256)  # 154 MB as floats
    expected = gpu.encode_images(pixels)
    little_memory(100)
    with pytest.warns(ClipcliWarning, match="out of memory on cuda:0; going on with batches of"):
        features = gpu.encode_images(pixels)
    np.testing.assert_allclose(features, expected, rtol=0, atol=5e-6)
    with warnings.catch_warnings():  # once was enough: the next batches are as small at once
        warnings.simplefilter("error")
        gpu.encode_images(pixels)


def test_the_batch_size_is_measured_within_the_memory_there_is(
    random_model: RandomModel, little_memory: Callable[[int], None]
) -> None:
    gpu = load_model(f"local-dir:{random_model('clip')}", device="cuda", precision="fp32")
    gpu.encode_images(noise(gpu, 1))
    little_memory(200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gpu.encode_images(noise(gpu, gpu.batch_size)).shape == (gpu.batch_size, gpu.embed_dim)


def test_two_replicas_share_the_work_and_rows_keep_their_order(run_cli: Cli, tmp_path: Path) -> None:
    answers = []
    for device in ("cuda:0", "cuda:0,cuda:0"):
        out = tmp_path / f"{len(answers)}.csv"
        options = [
            "--device",
            device,
            "--precision",
            "fp32",
            "--model",
            "nano",
            "-b",
            8,
            "--no-cache",
            "--workers",
            4,
        ]
        done = run_cli("classify", EXAMPLES, "--classes", EXAMPLES / "classes.txt", *options, "-o", out)
        assert done.code == 0, done.err
        answers.append([(row["image"], row["label"]) for row in rows_of(out)])
    assert answers[0] == answers[1] != []


def test_a_run_gives_the_labels_of_a_cpu_and_keeps_its_features_apart(run_cli: Cli, tmp_path: Path) -> None:
    cpu, gpu, again = (tmp_path / f"{name}.csv" for name in ("cpu", "gpu", "again"))
    for device, out in (("cpu", cpu), ("cuda", gpu), ("cuda", again)):
        options = ["--device", device, "--precision", "fp32", "--model", "nano", "-o", out, "-v"]
        done = run_cli("classify", PHOTOGRAPHS, "--classes", PHOTOGRAPHS / "classes.txt", *options)
        assert done.code == 0, done.err
        assert ("known from the cache" in done.err) == (out == again), done.err
    assert again.read_bytes() == gpu.read_bytes()
    for one, other in zip(rows_of(cpu), rows_of(gpu), strict=True):
        assert (one["image"], one["label"]) == (other["image"], other["label"])
        assert float(one["score"]) == pytest.approx(float(other["score"]), abs=2e-4)


def test_jpegs_decoded_on_the_gpu_get_the_same_labels(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torchcodec.decoders", reason="TorchCodec is not installed")
    answers = []
    for more in ([], ["--gpu-decode"]):
        out = tmp_path / f"{len(answers)}.csv"
        options = ["--device", "cuda", "--precision", "fp32", "--model", "nano", "-o", out, *more]
        done = run_cli("classify", PHOTOGRAPHS, "--classes", PHOTOGRAPHS / "classes.txt", *options)
        assert done.code == 0, done.err
        answers.append([(row["image"], row["label"]) for row in rows_of(out)])
    same = sum(one == other for one, other in zip(*answers, strict=True))
    assert same >= len(answers[0]) - 1 > 0


@pytest.mark.parametrize("vision", [VISION, CONVOLUTIONS], ids=["vit", "convolutions"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.005), ("bf16", 0.1)])
def test_training_is_that_of_a_cpu(
    vision: dict[str, object], precision: TrainPrecision, tolerance: float, tmp_path: Path
) -> None:
    pairs, files = small_pairs(tmp_path / "pictures"), config(tmp_path, vision)
    runs = []
    for device in ("cpu", "cuda"):
        losses: list[float] = []

        def note(one: object, losses: list[float] = losses) -> None:
            if isinstance(one, StepReport):
                losses.append(one.loss)

        options = TrainOptions(
            epochs=6, batch_size=9, lr=1e-3, val_fraction=0, device=device, precision=precision
        )
        assert train(pairs, files, options, tmp_path / f"run-{len(runs)}", report=note).finished
        runs.append(losses)
    on_cpu, on_gpu = runs
    assert on_gpu[-1] < on_gpu[0]
    assert on_gpu == pytest.approx(on_cpu, rel=tolerance)
