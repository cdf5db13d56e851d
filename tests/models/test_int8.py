"""int8 on ONNX Runtime: close to fp32, the same in every batch, made once and never half-made."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, Result

pytest.importorskip("onnxruntime", reason="the extra clipcli[int8] is not installed")

from clipcli import libraries, load_model
from clipcli.cache import TOWERS
from clipcli.errors import ClipcliWarning, ModelError, UsageError
from clipcli.models.devices import resolve_precision
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.optimize import int8
from clipcli.stages import load_pixels

Cli = Callable[..., Result]
PHOTOS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".png", ".jpg", ".webp"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that these tests share, so that a tower is made once."""
    return tmp_path_factory.mktemp("kept")


def encoders(name: str, folder: Path) -> tuple[OpenClipEncoder, OpenClipEncoder]:
    """A model in fp32 and in int8."""
    exact = load_model(name, device="cpu", precision="fp32")
    return exact, OpenClipEncoder(exact.files, "cpu", "int8", folder)


@pytest.fixture(scope="module")
def pair(random_model: Callable[[str], Path], kept: Path) -> tuple[OpenClipEncoder, OpenClipEncoder]:
    return encoders(f"local-dir:{random_model('clip')}", kept)


def pixels_of(encoder: OpenClipEncoder, paths: list[Path]) -> np.ndarray:
    return np.stack([load_pixels(str(path), encoder.preprocess) for path in paths])


def test_a_vision_transformer_comes_out_close_to_fp32(pair: tuple[OpenClipEncoder, OpenClipEncoder]) -> None:
    exact, quantized = pair
    pixels = pixels_of(exact, PHOTOS)
    expected, features = exact.encode_images(pixels), quantized.encode_images(pixels)
    assert np.mean(np.sum(expected * features, axis=1)) >= 0.995
    mean = expected.mean(axis=0)  # what all pictures share must not carry the comparison
    correlation = np.corrcoef((expected - mean).ravel(), (features - mean).ravel())[0, 1]
    assert correlation > 0.98
    assert not np.array_equal(expected, features), "it is fp32 under another name"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["siglip", "pe", "mobileclip"])
def test_other_towers_come_out_close_to_fp32(
    random_model: Callable[[str], Path], kind: str, tmp_path: Path
) -> None:
    exact, quantized = encoders(f"local-dir:{random_model(kind)}", tmp_path)
    pixels = pixels_of(exact, PHOTOS[:8])
    cosines = np.sum(exact.encode_images(pixels) * quantized.encode_images(pixels), axis=1)
    assert np.mean(cosines) >= 0.995


def test_nano_comes_out_close_to_fp32(kept: Path) -> None:
    exact, quantized = encoders("nano", kept)
    pixels = pixels_of(exact, PHOTOS)
    cosines = np.sum(exact.encode_images(pixels) * quantized.encode_images(pixels), axis=1)
    assert np.mean(cosines) >= 0.995


def test_texts_are_encoded_in_fp32(pair: tuple[OpenClipEncoder, OpenClipEncoder]) -> None:
    exact, quantized = pair
    texts = ["a photo of a cat.", "a photo of a very large dog."]
    np.testing.assert_array_equal(exact.encode_texts(texts), quantized.encode_texts(texts))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_features_do_not_depend_on_the_batch(
    pair: tuple[OpenClipEncoder, OpenClipEncoder], batch_size: int
) -> None:
    _, quantized = pair
    pixels = pixels_of(quantized, PHOTOS[:14])
    whole = quantized.encode_images(pixels)
    parts = [quantized.encode_images(pixels[i : i + batch_size]) for i in range(0, len(pixels), batch_size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert quantized.encode_images(pixels[:0]).shape == (0, quantized.embed_dim)


def quantized_layer(layer: torch.nn.Module, rows: torch.Tensor) -> bytes:
    """One layer, as a whole tower would be quantised."""
    program: Any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(layer, (rows,), dynamo=True, verbose=False)
    return int8._quantized(program.model)


def run(data: bytes, rows: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(int8.Int8Tower(data)(rows.numpy()))


@pytest.fixture(scope="module")
def tower() -> bytes:
    """The smallest there is."""
    return quantized_layer(torch.nn.Linear(4, 4), torch.zeros(1, 4))


def test_one_outlying_token_does_not_coarsen_the_others() -> None:
    """A scale for the whole tensor would round the second row to nothing."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    rows = torch.randn(1, 2, 64)
    rows[0, 0] *= 1000
    found = run(quantized_layer(layer, rows), rows)
    with torch.no_grad():
        cosines = torch.nn.functional.cosine_similarity(layer(rows), found, dim=-1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("convolutions", [1, 2])
def test_pooled_features_stay_in_fp32_after_convolutions(convolutions: int) -> None:
    """Of a transformer, which has one convolution, the last product is quantised as all others."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 3, 3) for _ in range(convolutions)]
    network = torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 64)
    )
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        change = (network(image) - run(quantized_layer(network, image), image)).abs().max()
    assert change < 1e-6 if convolutions > 1 else change > 1e-4


def test_the_largest_products_do_not_overflow_16_bits() -> None:
    """Without VNNI, pairs of products are added in 16 bits: 2 x 255 x 64 fits, 2 x 255 x 127 does not."""
    layer = torch.nn.Linear(64, 32, bias=False)
    torch.nn.init.ones_(layer.weight)
    rows = torch.ones(1, 2, 64)
    torch.testing.assert_close(run(quantized_layer(layer, rows), rows), torch.full((1, 2, 32), 64.0))


def test_a_picture_of_one_value_is_no_division_by_zero() -> None:
    layer = torch.nn.Linear(8, 8)
    rows = torch.zeros(1, 8)
    torch.testing.assert_close(run(quantized_layer(layer, rows), rows), layer.bias.detach()[None])


def test_a_second_run_does_not_export(
    pair: tuple[OpenClipEncoder, OpenClipEncoder], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, quantized = pair
    pixels = pixels_of(quantized, PHOTOS[:2])
    monkeypatch.setattr(int8, "make", lambda *_: pytest.fail("made again"))
    again = OpenClipEncoder(quantized.files, "cpu", "int8", kept)
    np.testing.assert_array_equal(again.encode_images(pixels), quantized.encode_images(pixels))
    assert not list(kept.rglob("*.partial"))


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:-9] + b"\0" + data[-8:]])
def test_a_damaged_file_is_made_again(
    tmp_path: Path, tower: bytes, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(int8, "make", lambda *_: made.append(tower) or tower)
    for _ in range(2):
        int8.load(torch.nn.Identity(), (8, 8), "model", tmp_path)
    assert len(made) == 1
    (path,) = (tmp_path / TOWERS).iterdir()
    path.write_bytes(damage(tower))
    assert path.read_bytes() != tower
    for _ in range(2):
        int8.load(torch.nn.Identity(), (8, 8), "model", tmp_path)
    assert len(made) == 2
    (path,) = (tmp_path / TOWERS).iterdir()
    assert path.read_bytes() == tower


def test_another_model_or_version_makes_its_own(
    tmp_path: Path, tower: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(int8, "make", lambda *_: made.append(tower) or tower)
    int8.load(torch.nn.Identity(), (8, 8), "model", tmp_path)
    int8.load(torch.nn.Identity(), (8, 8), "other", tmp_path)
    monkeypatch.setattr(int8, "version_of", lambda _: "99")
    int8.load(torch.nn.Identity(), (8, 8), "model", tmp_path)
    assert len(made) == 3


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, tower: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "make", lambda *_: tower)
    (tmp_path / TOWERS).write_text("in the way")
    with pytest.warns(ClipcliWarning, match="cannot be kept in"):
        loaded = int8.load(torch.nn.Identity(), (8, 8), "model", tmp_path)
    assert loaded(np.zeros((2, 4), dtype=np.float32)).shape == (2, 4)


def test_a_wrong_quantisation_is_refused(nano: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = int8.Int8Tower.__call__
    monkeypatch.setattr(int8.Int8Tower, "__call__", lambda self, batch: tower(self, batch)[:, ::-1].copy())
    with pytest.raises(ModelError, match=r"cosine of -?0\.\d+ to fp32") as caught:
        int8.make(nano.model, nano.preprocess.size)
    assert "precision fp32" in caught.value.hint


def test_a_tower_that_cannot_be_exported_is_an_error(nano: OpenClipEncoder) -> None:
    class Unexportable(torch.nn.Module):
        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(pixels)

    with pytest.raises(ModelError, match="cannot run in int8") as caught:
        int8.make(Unexportable(), (8, 8))
    assert "precision fp32" in caught.value.hint


def test_a_missing_extra_says_what_to_install(
    nano: OpenClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(module: str) -> Any:
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(int8.importlib, "import_module", without)
    with pytest.raises(UsageError, match="needs onnxruntime") as caught:
        OpenClipEncoder(nano.files, "cpu", "int8", tmp_path)
    assert "pip install 'clipcli[int8]'" in caught.value.hint


def test_int8_is_refused_on_a_gpu_and_never_chosen_by_itself() -> None:
    with pytest.raises(UsageError, match="int8 is for CPUs"):
        resolve_precision("int8", torch.device("cuda", 0))
    assert resolve_precision("auto", torch.device("cpu")) != "int8"


@pytest.mark.long
def test_the_command_line_ranks_as_in_fp32(run_cli: Cli, own_cache: Path) -> None:
    common = ("classify", EXAMPLES, "-m", "nano", "-c", EXAMPLES / "classes.txt", "--format", "csv", "-k", 1)
    found = {}
    for precision in ("fp32", "int8"):
        result = run_cli(*common, "--precision", precision)
        assert result.code == 0, result.err
        found[precision] = [row["label"] for row in csv.DictReader(io.StringIO(result.out))]
    same = [a == b for a, b in zip(found["fp32"], found["int8"], strict=True)]
    assert sum(same) >= 0.95 * len(same)
    assert len(list((own_cache / TOWERS).glob("*.onnx"))) == 1
    assert run_cli(*common, "--precision", "int8").out == result.out, "from the cache"
    assert run_cli(*common, "--precision", "int8", "--no-cache").out == result.out, "encoded again"


def test_the_cache_commands_know_of_what_int8_kept(run_cli: Cli, own_cache: Path, tower: bytes) -> None:
    folder = own_cache / TOWERS
    folder.mkdir()
    (folder / "one.onnx").write_bytes(tower)
    assert f"1 int8 model, {len(tower) / 1e6:.1f} MB" in run_cli("cache", "info").out
    run_cli("cache", "clear")
    assert not folder.exists()


def test_features_of_another_recipe_are_not_taken_for_these(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {precision: libraries.tower_libraries(precision) for precision in ("int8", "fp32")}
    monkeypatch.setattr(libraries, "INT8_RECIPE", libraries.INT8_RECIPE + 1)
    assert libraries.tower_libraries("int8") != before["int8"]
    assert libraries.tower_libraries("fp32") == before["fp32"]
