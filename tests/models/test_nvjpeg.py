"""JPEGs decoded many at a time with TorchCodec: pixels as Pillow's, and Pillow's answer where it fails.

TorchCodec does on a CPU what it does on a GPU, by another decoder; the tests that name `cuda` need a GPU, and
run with `TEST_CUDA_DEVICES=0 pytest tests/models/test_nvjpeg.py`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colour_profiles import PROFILE
from fakes import items
from picture_files import encoded, noise
from PIL import Image

from clipcli import build_classifier, classify, load_model
from clipcli.cache import FeatureCache
from clipcli.errors import UsageError
from clipcli.images.decode import DecodeOptions, decode, ordinary_jpeg
from clipcli.models import nvjpeg
from clipcli.pipeline import EngineOptions, encode
from clipcli.records import ImageFailure, Jpeg, Preprocess, Uint8Array

pytest.importorskip("torchcodec.decoders", reason="TorchCodec is not installed")

EXACT, ON_GPU = DecodeOptions(exact=True), DecodeOptions(on_gpu=True)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="TEST_CUDA_DEVICES names no GPU"),
    ),
]
RECIPES = [
    Preprocess((64, 64)),
    Preprocess((64, 64), resize_mode="longest", fill_color=255),
    Preprocess((64, 48), resize_mode="squash"),
    Preprocess((48, 64), interpolation="bilinear"),
]

TINY = Preprocess((4, 4))  # no image of these tests has fewer pixels


def soft(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture without edges, of which decoders agree to a level or two."""
    return noise(8, 8, seed).resize((width, height), Image.Resampling.BICUBIC)


def with_bogus_tables(data: bytes) -> bytes:
    """A JPEG whose Huffman tables have more codes than there are: it looks complete."""
    start = data.index(b"\xff\xc4") + 5
    return data[:start] + b"\xff" * 16 + data[start + 16 :]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(soft(300, 200), "JPEG", quality=95, exif=exif)


def by_torchcodec(files: Sequence[bytes], preprocess: Preprocess, device: str) -> list[Uint8Array | None]:
    jpegs = [ordinary_jpeg(data, preprocess) for data in files]
    assert None not in jpegs
    return nvjpeg.decode_jpegs(jpegs, preprocess, device)  # type: ignore[arg-type]


def with_repeated_colours(data: bytes) -> bytes:
    """A JPEG with colours of halved size as a PNG with the pixels of a GPU, which repeats them."""
    full, half = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(data))
    assert [sampling for _, *sampling, _ in full.layer] == [[2, 2], [1, 1], [1, 1]]  # type: ignore[attr-defined]
    full.draft("YCbCr", full.size)
    half.draft("YCbCr", (full.width // 2, full.height // 2))  # as they are stored
    repeated = half.resize((2 * half.width, 2 * half.height), Image.Resampling.NEAREST).crop(
        (0, 0, *full.size)
    )
    bands = (full.getchannel(0), repeated.getchannel(1), repeated.getchannel(2))
    return encoded(Image.merge("YCbCr", bands).convert("RGB"))


def expected_of(data: bytes, preprocess: Preprocess, device: str) -> Uint8Array:
    return decode(data if device == "cpu" else with_repeated_colours(data), preprocess, EXACT)


def assert_alike(pixels: Uint8Array | None, expected: Uint8Array, levels: int = 3) -> None:
    assert pixels is not None and pixels.dtype == np.uint8 and pixels.shape == expected.shape
    differences = np.abs(pixels.astype(int) - expected)
    assert differences.max() <= levels
    assert differences.mean() <= 2


# --- The same pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preprocess", RECIPES, ids=str)
def test_pixels_are_those_of_pillow(preprocess: Preprocess, device: str) -> None:
    sizes = [(300, 200), (200, 301), (64, 64), (640, 90), (65, 129)]
    files = [encoded(soft(*size, seed), "JPEG", quality=95) for seed, size in enumerate(sizes)]
    for data, pixels in zip(files, by_torchcodec(files, preprocess, device), strict=True):
        assert_alike(pixels, expected_of(data, preprocess, device))


def test_repeated_colours_show_where_an_image_is_not_made_smaller() -> None:
    """Which is why images that the model sees enlarged are not for a GPU."""
    differences = []
    for side in (32, 64, 128, 256):
        data = encoded(soft(side, side), "JPEG", quality=95)
        one, other = (expected_of(data, RECIPES[0], device).astype(int) for device in ("cpu", "cuda"))
        differences.append(np.abs(one - other).mean())
    assert differences == sorted(differences, reverse=True)
    assert differences[0] > 5 and differences[-1] < 1


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_are_put_upright(device: str) -> None:
    files = [turned(orientation) for orientation in range(1, 9)]
    upright = [decode(data, RECIPES[0], EXACT) for data in files]  # large enough for either way of colours
    assert len({pixels.tobytes() for pixels in upright}) == 8
    for pixels, expected in zip(by_torchcodec(files, RECIPES[0], device), upright, strict=True):
        assert_alike(pixels, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_grey_and_progressive_files(device: str) -> None:
    grey = encoded(soft(120, 90).convert("L"), "JPEG", quality=95)
    progressive = encoded(soft(120, 90), "JPEG", quality=95, progressive=True)
    of_grey, of_progressive = by_torchcodec([grey, progressive], RECIPES[0], device)
    assert_alike(of_grey, decode(grey, RECIPES[0], EXACT))
    assert_alike(of_progressive, expected_of(progressive, RECIPES[0], device))


def test_colours_of_a_profile_become_srgb() -> None:
    plain = encoded(soft(90, 90), "JPEG", quality=95)
    wide = encoded(soft(90, 90), "JPEG", quality=95, icc_profile=PROFILE)
    as_it_is, converted = by_torchcodec([plain, wide], RECIPES[0], "cpu")
    assert_alike(converted, decode(wide, RECIPES[0], EXACT), levels=12)  # dark colours lie far apart in sRGB
    assert converted is not None and as_it_is is not None
    assert np.abs(converted.astype(int) - as_it_is).max() > 10


def test_memory_bounds_how_many_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encoded(soft(100, 100, seed), "JPEG", quality=95) for seed in range(5)]
    whole = by_torchcodec(files, RECIPES[0], "cpu")
    monkeypatch.setattr(nvjpeg, "_PIXELS_PER_CALL", 25_000)
    groups = [len(group) for group in nvjpeg._groups([jpeg(data) for data in files])]
    assert groups == [2, 2, 1]
    np.testing.assert_array_equal(by_torchcodec(files, RECIPES[0], "cpu"), whole)


# --- What is left to Pillow ----------------------------------------------------------------------


def jpeg(data: bytes) -> Jpeg:
    found = ordinary_jpeg(data, TINY)
    assert found is not None
    return found


def inks() -> bytes:
    return encoded(soft(40, 40).convert("CMYK"), "JPEG")


def colours_as_they_are() -> bytes:
    return encoded(soft(40, 40), "JPEG", keep_rgb=True)


def colours_told_by_their_names() -> bytes:
    data = colours_as_they_are()
    start = data.index(b"\xff\xee")  # Adobe's marker, 14 bytes
    return data[:start] + data[start + 16 :]


def colours_told_by_adobes_marker() -> bytes:
    data = bytearray(colours_as_they_are())
    for start, step in ((data.index(b"\xff\xc0") + 10, 3), (data.index(b"\xff\xda") + 5, 2)):
        assert data[start : start + 3 * step : step] == b"RGB"
        data[start : start + 3 * step : step] = b"\1\2\3"
    return bytes(data)


def two_pictures() -> bytes:
    stream = io.BytesIO()
    soft(40, 40).save(stream, "MPO", save_all=True, append_images=[soft(40, 40, 1)])
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        encoded(soft(40, 40)),
        encoded(soft(40, 40), "JPEG")[:-2],
        encoded(soft(40, 40), "JPEG") + b"\0",
        encoded(soft(340, 20), "JPEG"),
        b"\xff\xd8\xff\xff\xd9",
        inks(),
        colours_as_they_are(),
        colours_told_by_their_names(),
        colours_told_by_adobes_marker(),
        two_pictures(),
    ],
    ids=["empty", "text", "png", "cut", "tail", "strip", "hollow", "inks", "rgb", "names", "adobe", "mpo"],
)
def test_other_files_are_not_for_the_gpu(data: bytes) -> None:
    assert ordinary_jpeg(data, TINY) is None


def test_neither_are_large_files() -> None:
    data = encoded(soft(70, 70), "JPEG")
    filled = data[:-2] + bytes(2**20 - len(data)) + data[-2:]
    assert len(filled) == 2**20
    assert ordinary_jpeg(filled, TINY)
    assert ordinary_jpeg(filled[:-2] + b"\0" + filled[-2:], TINY) is None


def test_neither_are_files_above_the_limit_of_pixels() -> None:
    data = encoded(soft(70, 70), "JPEG")
    assert ordinary_jpeg(data, TINY, DecodeOptions(max_pixels=4900))
    assert ordinary_jpeg(data, TINY, DecodeOptions(max_pixels=4899)) is None


@pytest.mark.parametrize("preprocess", RECIPES, ids=lambda recipe: recipe.resize_mode + str(recipe.size))
def test_neither_are_images_that_are_enlarged(preprocess: Preprocess) -> None:
    height, width = preprocess.size
    assert ordinary_jpeg(encoded(soft(width, height), "JPEG"), preprocess)
    assert ordinary_jpeg(encoded(soft(width - 1, height - 1), "JPEG"), preprocess) is None
    assert ordinary_jpeg(encoded(soft(1, 1), "JPEG"), preprocess) is None


@pytest.mark.parametrize("device", DEVICES)
def test_a_damaged_file_costs_its_neighbours_nothing(device: str) -> None:
    good = encoded(soft(130, 90), "JPEG", quality=95)
    before, damaged, after = by_torchcodec([good, with_bogus_tables(good), good], RECIPES[0], device)
    assert damaged is None
    assert_alike(before, expected_of(good, RECIPES[0], device))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc4"], ids=["quantisation", "Huffman"])
def test_a_file_without_tables_is_not_for_a_gpu(marker: bytes) -> None:
    data = encoded(soft(90, 70), "JPEG", quality=95)
    assert ordinary_jpeg(data, TINY)
    while (start := data.find(marker)) >= 0:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        data = data[:start] + data[end:]
    assert ordinary_jpeg(data, TINY) is None


# --- In a run ------------------------------------------------------------------------------------


class OnCpu:
    """A decoder whose GPU is the CPU."""

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.decoded = 0

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        self.decoded += len(jpegs)
        return nvjpeg.decode_jpegs(jpegs, self.preprocess, "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    """JPEGs, a PNG among them, and two damaged files of which only one looks it."""
    good = encoded(soft(300, 200), "JPEG", quality=95)
    files = {
        "a.jpg": good,
        "b.png": encoded(soft(90, 90)),
        "c.jpg": turned(6),
        "d.jpg": good[:-400],
        "e.jpg": with_bogus_tables(good),
        "f.jpg": encoded(soft(400, 400, 2), "JPEG", quality=95),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / name) for name in files]


def run(
    paths: list[str],
    encoder: Any,
    decoding: DecodeOptions,
    cache: FeatureCache | None = None,
    decoder: OnCpu | None = None,
) -> Any:
    options = EngineOptions(batch_size=4, decoding=decoding, decoder=decoder)
    batches = list(encode(items(paths), encoder, options, cache))
    outcomes = [outcome for batch in batches for outcome in batch.outcomes]
    return outcomes, np.concatenate([batch.features for batch in batches])


def test_a_run_tells_the_same_of_every_file(nano: Any, folder: list[str]) -> None:
    decoder = OnCpu(nano.preprocess)
    outcomes, features = run(folder, nano, ON_GPU, decoder=decoder)
    expected, exact = run(folder, nano, EXACT)
    assert outcomes == expected
    assert [isinstance(outcome, ImageFailure) for outcome in outcomes] == [False] * 3 + [True] * 2 + [False]
    assert decoder.decoded == 4
    assert np.sum(features * exact, axis=1).mean() > 0.995


def test_the_cache_keeps_the_pixels_of_the_gpu_apart(nano: Any, folder: list[str], tmp_path: Path) -> None:
    decoder, cache = OnCpu(nano.preprocess), FeatureCache(tmp_path / "cache")
    _, on_cpu = run(folder, nano, DecodeOptions(), cache)
    _, on_gpu = run(folder, nano, ON_GPU, cache, decoder)
    assert decoder.decoded == 4 and not np.array_equal(on_cpu, on_gpu)
    _, again = run(folder, nano, ON_GPU, cache, decoder)
    assert decoder.decoded == 5, "only the damaged file is tried again"
    np.testing.assert_array_equal(again, on_gpu)
    cache.close()


def test_a_model_on_a_cpu_says_what_is_missing(nano: Any, folder: list[str]) -> None:
    with pytest.raises(UsageError, match="needs a CUDA GPU"):
        nvjpeg.NvjpegDecoder(nano.devices, nano.preprocess)
    with pytest.raises(UsageError, match="needs a CUDA GPU"):
        classify(folder, nano, build_classifier(nano, ["cat"]), decoding=ON_GPU)


def test_a_run_without_a_decoder_is_refused_before_anything_is_kept(nano: Any, folder: list[str]) -> None:
    with pytest.raises(ValueError, match="needs a decoder"):
        run(folder, nano, ON_GPU)


def test_batches_go_to_the_gpu_that_has_least_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both must be at work at the same moment, or the barrier breaks."""
    both = threading.Barrier(2, timeout=60)
    used: list[str] = []

    def meet(jpegs: Sequence[Jpeg], _: Preprocess, device: str) -> list[Uint8Array | None]:
        both.wait()
        used.append(device)
        return [None] * len(jpegs)

    monkeypatch.setattr(nvjpeg, "decode_jpegs", meet)
    decoder = nvjpeg.NvjpegDecoder(("cuda:0", "cuda:2"), RECIPES[0])
    data = jpeg(encoded(soft(90, 90), "JPEG"))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(decoder.decode_jpegs, [[data], [data, data]])) == [[None], [None, None]]
    assert sorted(used) == ["cuda:0", "cuda:2"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="TEST_CUDA_DEVICES names no GPU")
def test_a_run_on_a_gpu(folder: list[str]) -> None:
    encoder = load_model("nano", device="cuda:0", precision="fp32")
    decoder = nvjpeg.NvjpegDecoder(encoder.devices, encoder.preprocess)
    outcomes, features = run(folder, encoder, ON_GPU, decoder=decoder)  # type: ignore[arg-type]
    expected, exact = run(folder, encoder, EXACT)
    assert outcomes == expected
    assert np.sum(features * exact, axis=1).mean() > 0.995


def test_without_torchcodec_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    with pytest.raises(UsageError) as raised:
        by_torchcodec([encoded(soft(90, 90), "JPEG")], RECIPES[0], "cpu")
    assert "clipcli[gpu-decode]" in str(raised.value.hint)


def test_exact_pixels_are_not_a_gpus() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        DecodeOptions(exact=True, on_gpu=True)
