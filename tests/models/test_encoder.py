"""Parity with open_clip: the same pixels, features, class embeddings and scores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import EXAMPLES, MODELS, build_random
from open_clip.zero_shot_metadata import (
    IMAGENET_CLASSNAMES,
    OPENAI_IMAGENET_TEMPLATES,
    SIMPLE_IMAGENET_TEMPLATES,
)
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from clipcli import load_model
from clipcli.errors import ClipcliWarning, WeightsDamagedError, WeightsUnavailableError
from clipcli.images.decode import DecodeOptions
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.pool import Pool
from clipcli.models.registry import ASSETS, is_cached, parse_model
from clipcli.models.replica import Replica
from clipcli.prompts import templates as prompts
from clipcli.prompts.class_lists import ClassSpec
from clipcli.scoring.class_embeddings import build_classifier
from clipcli.stages import load_pixels

EXACT = DecodeOptions(exact=True)
TEMPLATES = {"imagenet7": SIMPLE_IMAGENET_TEMPLATES, "imagenet80": OPENAI_IMAGENET_TEMPLATES}


class Reference:
    """The same model, loaded and used as open_clip's own README does."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, self.transform = open_clip.create_model_from_pretrained(name)
        self.tokenizer = open_clip.get_tokenizer(name)
        self.model.eval()

    def image_features(self, paths: list[Path]) -> np.ndarray:
        batch = torch.stack([self.transform(rgb(path)) for path in paths])
        with torch.no_grad():
            return self.model.encode_image(batch, normalize=True).numpy()

    def class_embeddings(self, classnames: list[str], templates: Any) -> np.ndarray:
        built = open_clip.build_zero_shot_classifier(self.model, self.tokenizer, classnames, templates)
        return built.T.numpy()


SLOWEST = pytest.param("pe", marks=pytest.mark.long)  # its images are the largest


@pytest.fixture(scope="module", params=[*(kind for kind in MODELS if kind != "pe"), SLOWEST])
def pair(
    request: pytest.FixtureRequest, random_model: Callable[[str], Path]
) -> tuple[OpenClipEncoder, Reference]:
    folder = random_model(request.param)
    return load_model(f"local-dir:{folder}", device="cpu", precision="fp32"), Reference(folder)


def opaque_examples() -> list[Path]:
    """Pictures without transparency, which open_clip would show the hidden colours of."""
    paths = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".png", ".jpg", ".webp"))
    return [path for path in paths if is_opaque(path)]


def is_opaque(path: Path) -> bool:
    with Image.open(path) as image:
        return not image.has_transparency_data


def rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.fixture
def photos(pictures: Path) -> list[Path]:
    return [*sorted(pictures.iterdir())[::3], *opaque_examples()[::8]]


def test_pixels_equal_open_clips_transform(
    pair: tuple[OpenClipEncoder, Reference], photos: list[Path]
) -> None:
    encoder, reference = pair
    for path in photos:
        pixels = load_pixels(str(path), encoder.preprocess, EXACT)[None]
        ours = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)
        theirs = reference.transform(rgb(path))
        assert torch.equal(encoder.replicas[0].normalized(ours)[0], theirs), path


def test_image_features_equal_open_clips(pair: tuple[OpenClipEncoder, Reference], photos: list[Path]) -> None:
    encoder, reference = pair
    pixels = np.stack([load_pixels(str(path), encoder.preprocess, EXACT) for path in photos])
    ours = encoder.encode_images(pixels)
    np.testing.assert_allclose(ours, reference.image_features(photos), atol=1e-5)
    assert np.ptp(ours, axis=0).max() > 1e-2, "different pictures must have different features"


@pytest.mark.filterwarnings("ignore:to .* these labels are nearly the same")  # random weights
@pytest.mark.parametrize("templates", TEMPLATES)
def test_class_embeddings_equal_open_clips(pair: tuple[OpenClipEncoder, Reference], templates: str) -> None:
    encoder, reference = pair
    classnames = IMAGENET_CLASSNAMES[:20]
    specs = [ClassSpec(name) for name in classnames]
    prompt_set = prompts.build_prompts(specs, prompts.load_templates([templates]))
    ours = build_classifier(encoder, prompt_set).class_embeddings
    theirs = reference.class_embeddings(classnames, TEMPLATES[templates])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.ptp(theirs, axis=0).max() > 1e-3, "different classes must have different embeddings"


@pytest.mark.filterwarnings("ignore:to .* these labels are nearly the same")  # random weights
def test_scores_equal_open_clips_logits(pair: tuple[OpenClipEncoder, Reference], photos: list[Path]) -> None:
    encoder, reference = pair
    labels = ["tench", "goldfish", "hammerhead shark"]
    specs = [ClassSpec(label) for label in labels]
    classifier = build_classifier(encoder, prompts.build_prompts(specs, ["a photo of a {}."]))
    features = encoder.encode_images(
        np.stack([load_pixels(str(path), encoder.preprocess, EXACT) for path in photos])
    )
    ours = classifier.scores(classifier.cosines(features))
    with torch.no_grad():
        batch = torch.stack([reference.transform(rgb(path)) for path in photos])
        tokens = reference.tokenizer([f"a photo of a {label}." for label in labels])
        logits, _ = reference.model.get_logits(batch, tokens)
        theirs = logits.sigmoid() if reference.model.logit_bias is not None else logits.softmax(dim=-1)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    assert encoder.activation == ("sigmoid" if reference.model.logit_bias is not None else "softmax")


def test_siglip_is_scored_by_a_sigmoid(random_model: Callable[[str], Path]) -> None:
    encoder = load_model(f"local-dir:{random_model('siglip')}", device="cpu", precision="fp32")
    assert encoder.activation == "sigmoid"
    assert encoder.logit_bias == -10
    assert encoder.preprocess.resize_mode == "squash"
    assert encoder.preprocess.mean == (0.5, 0.5, 0.5)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("batch_size", [3])  # and a rest of one
def test_features_do_not_depend_on_the_batch(
    pair: tuple[OpenClipEncoder, Reference], photos: list[Path], batch_size: int
) -> None:
    encoder, _ = pair
    pixels = np.stack([load_pixels(str(path), encoder.preprocess, EXACT) for path in photos[:4]])
    whole = encoder.encode_images(pixels)
    parts = [encoder.encode_images(pixels[i : i + batch_size]) for i in range(0, len(pixels), batch_size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_features_do_not_depend_on_the_number_of_threads(
    pair: tuple[OpenClipEncoder, Reference], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = pair
    pixels = np.stack([load_pixels(str(path), encoder.preprocess, EXACT) for path in photos[:4]])
    before = torch.get_num_threads()
    expected = encoder.encode_images(pixels)
    try:
        for threads in (1, 3, 4):
            torch.set_num_threads(threads)
            replica = Replica(encoder.model, torch.device("cpu"), encoder.precision, encoder.preprocess)
            monkeypatch.setattr(encoder, "_pool", Pool([replica]))
            np.testing.assert_array_equal(encoder.encode_images(pixels), expected)
    finally:
        torch.set_num_threads(before)


def test_a_texts_features_do_not_depend_on_the_other_texts(pair: tuple[OpenClipEncoder, Reference]) -> None:
    encoder, _ = pair
    texts = [
        "a photo of a tench.",
        "tench",
        "a low resolution photo of the goldfish, " * 3,
        "the toy goldfish.",
    ]
    together = encoder.encode_texts(texts)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_a_text_past_the_context_length_is_named(nano: OpenClipEncoder) -> None:
    long = "cat " * nano.context_length
    with pytest.warns(ClipcliWarning, match=r"longer than 24 tokens.*'cat cat"):
        features = nano.encode_texts([long, "dog"])
    assert features.shape == (2, 192)
    tokens = nano.tokenizer([long, "dog"])
    with torch.no_grad():
        expected = nano.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_text_of_exactly_the_context_length_is_not_a_warning(nano: OpenClipEncoder) -> None:
    nano.encode_texts(["cat " * (nano.context_length - 2)])


def test_features_have_unit_norm_and_float32(nano: OpenClipEncoder) -> None:
    pixels = np.zeros((3, *nano.preprocess.size, 3), dtype=np.uint8)
    for features in (nano.encode_images(pixels), nano.encode_texts(["a", "b"])):
        assert features.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_the_scale_is_the_weights_own_in_every_precision(nano: OpenClipEncoder) -> None:
    low = load_model("nano", device="cpu", precision="bf16")
    with safe_open(ASSETS / "nano" / "open_clip_model.safetensors", "pt") as weights:
        stored = math.exp(weights.get_tensor("logit_scale").item())
    assert low.logit_scale == nano.logit_scale == pytest.approx(stored, abs=1e-3)


def test_bf16_is_close_to_fp32(nano: OpenClipEncoder, photos: list[Path]) -> None:
    low = load_model("nano", device="cpu", precision="bf16")
    pixels = np.stack([load_pixels(str(path), nano.preprocess, EXACT) for path in photos])
    cosines = np.sum(low.encode_images(pixels) * nano.encode_images(pixels), axis=1)
    assert cosines.mean() > 0.999
    assert low.fingerprint == nano.fingerprint


# --- Weights -------------------------------------------------------------------------------------


def test_a_folder_without_weights_is_an_error(random_model: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(random_model("clip") / "open_clip_config.json", tmp_path)
    with pytest.raises(WeightsUnavailableError, match="no weights in"):
        load_model(f"local-dir:{tmp_path}")


def test_truncated_weights_are_an_error(random_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = random_model("clip")
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    data = (folder / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "open_clip_model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsDamagedError, match="is damaged"):
        load_model(f"local-dir:{tmp_path}")


def test_weights_of_another_architecture_are_an_error(
    random_model: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copy(random_model("clip") / "open_clip_config.json", tmp_path)
    shutil.copy(random_model("pe") / "open_clip_model.safetensors", tmp_path)
    with pytest.raises(WeightsDamagedError, match="does not fit"):
        load_model(f"local-dir:{tmp_path}")


def test_missing_tensors_are_an_error_not_random_weights(
    random_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    folder = random_model("clip")
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    tensors = load_file(folder / "open_clip_model.safetensors")
    del tensors["visual.proj"]
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(WeightsDamagedError, match="does not fit"):
        load_model(f"local-dir:{tmp_path}")


def test_a_weights_file_with_its_architecture(tmp_path: Path) -> None:
    """`--model PE-Core-T-16-384 --pretrained FILE`: preprocessing is what all its tags share."""
    weights = tmp_path / "weights.safetensors"
    tensors = build_random(open_clip.get_model_config("PE-Core-T-16-384")).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    encoder = load_model("PE-Core-T-16-384", str(weights), device="cpu", precision="fp32")
    reference, transform = open_clip.create_model_from_pretrained(
        "PE-Core-T-16-384",
        str(weights),
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
        image_interpolation="bilinear",
        image_resize_mode="squash",
    )
    picture = Image.effect_noise((300, 240), 80).convert("RGB")
    picture.save(tmp_path / "noise.png")
    pixels = load_pixels(str(tmp_path / "noise.png"), encoder.preprocess)[None]
    with torch.no_grad():
        theirs = reference.eval().encode_image(transform(picture)[None], normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(pixels), theirs, atol=1e-5)


# --- QuickGELU -----------------------------------------------------------------------------------


def put_in_hub_cache(repository: str, weights: Path) -> None:
    """Link a weights file where the hub client would have put it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "open_clip_model.safetensors").symlink_to(weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_name", "tag", "repository", "quick"),
    [
        ("ViT-B-32", "openai", "timm/vit_base_patch32_clip_224.openai", True),
        pytest.param(
            *("ViT-B-16", "dfn2b", "apple/DFN2B-CLIP-ViT-B-16", True), marks=pytest.mark.long
        ),  # test_locate.py asks for the switch of every tag
        ("ViT-B-32", "laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", False),
    ],
)
def test_quickgelu_is_built_where_the_weights_need_it(
    tmp_path: Path, model_name: str, tag: str, repository: str, quick: bool
) -> None:
    weights = tmp_path / "weights.safetensors"
    architecture = f"{model_name}-quickgelu" if quick else model_name
    reference = build_random(open_clip.get_model_config(architecture))
    save_file({k: v.contiguous() for k, v in reference.state_dict().items()}, weights)
    spec = parse_model(f"{model_name}:{tag}")
    assert not is_cached(spec)
    put_in_hub_cache(repository, weights)
    assert is_cached(spec)

    encoder = load_model(model_name, tag, device="cpu", precision="fp32", offline=True)
    assert encoder.quick_gelu is quick
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    batch = encoder.replicas[0].normalized(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    with torch.no_grad():
        theirs = reference.encode_image(batch, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(pixels), theirs, atol=1e-5)
