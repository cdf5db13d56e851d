"""The engine: order, bounded look-ahead, failures in their places."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from fakes import items
from PIL import Image, ImageOps

from clipcli.cache import FeatureCache
from clipcli.errors import ModelMismatchError, UsageError
from clipcli.images.decode import DecodeOptions
from clipcli.inputs.item import FileItem
from clipcli.pipeline import EngineOptions, classify, encode
from clipcli.prompts.templates import PromptSet
from clipcli.records import ImageFailure, ImagePredictions
from clipcli.scoring.class_embeddings import build_classifier
from clipcli.scoring.classifier import Classifier, Ranking
from clipcli.stages import EncodedBatch


@pytest.fixture(scope="module")
def classifier(nano: Any) -> Classifier:
    return build_classifier(nano, PromptSet(("cat", "sun"), (("a cat",), ("the sun",))))


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_every_input_has_one_outcome_in_its_place(
    nano: Any, classifier: Classifier, pictures: Path, batch_size: int
) -> None:
    good = [str(path) for path in sorted(pictures.iterdir())]
    listed: list[str | ImageFailure] = [
        *good[:4],
        "missing.png",
        *good[4:6],
        ImageFailure("folder", "locked"),
        *good[6:],
    ]
    outcomes = list(classify(items(listed), nano, classifier, options=EngineOptions(batch_size=batch_size)))
    assert [outcome.image for outcome in outcomes] == [
        item if isinstance(item, str) else item.image for item in listed
    ]
    assert outcomes[4] == ImageFailure("missing.png", "no such file")
    assert outcomes[7] == ImageFailure("folder", "locked")
    assert sum(isinstance(outcome, ImagePredictions) for outcome in outcomes) == 12


def test_features_belong_to_their_images(nano: Any, pictures: Path) -> None:
    paths = [str(path) for path in sorted(pictures.iterdir())]
    alone = {
        path: next(encode(items([path]), nano, EngineOptions(batch_size=1))).features[0] for path in paths
    }
    with_failures = [item for path in paths for item in ("missing.png", path)]
    for batch in encode(items(with_failures), nano, EngineOptions(batch_size=5)):
        for image, feature in zip([item.name for item in batch.items], batch.features, strict=True):
            np.testing.assert_allclose(feature, alone[image], atol=1e-6)


def test_cached_features_belong_to_their_images(nano: Any, pictures: Path, tmp_path: Path) -> None:
    paths = [tmp_path / path.name for path in sorted(pictures.iterdir())]
    for path, original in zip(paths, sorted(pictures.iterdir()), strict=True):
        path.write_bytes(original.read_bytes())
        os.utime(path, (1_600_000_000, 1_600_000_000))  # files changed just now are not looked up by time
    first, later = [str(path) for path in paths[::2]], [str(path) for path in paths]
    cache = FeatureCache(tmp_path / "cache")
    options = EngineOptions(batch_size=5)
    list(encode(items(first), nano, options, cache))
    fresh = {
        image: feature for batch in encode(items(later), nano, options) for image, feature in _pairs(batch)
    }
    with_failures = ["missing.png", ImageFailure("folder", "locked"), *later, "missing.png"]
    for _ in range(2):  # half of them cached, then all
        batches = list(encode(items(with_failures), nano, options, cache))
        found = {image: feature for batch in batches for image, feature in _pairs(batch)}
        assert list(found) == later
        for image, feature in found.items():
            np.testing.assert_allclose(feature, fresh[image], atol=1e-6)
    cache.close()


def _pairs(batch: EncodedBatch) -> list[tuple[str, np.ndarray]]:
    return list(zip([item.name for item in batch.items], batch.features, strict=True))


def test_an_unending_input_is_read_only_as_far_as_needed(
    nano: Any, classifier: Classifier, pictures: Path
) -> None:
    path = str(next(pictures.iterdir()))
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield FileItem(path)

    outcomes = classify(endless(), nano, classifier, options=EngineOptions(batch_size=4, workers=2))
    for _ in range(10):
        next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert taken < 40


def test_class_embeddings_of_another_model_are_refused(nano: Any, classifier: Classifier) -> None:
    other = replace(classifier, fingerprint="0" * 16)
    with pytest.raises(ModelMismatchError, match="0000000000000000"):
        classify([], nano, other)


def test_the_ranking_is_applied(nano: Any, classifier: Classifier, pictures: Path) -> None:
    path = str(next(pictures.iterdir()))
    (outcome,) = classify(items([path]), nano, classifier, Ranking(top_k=1, score="cosine"))
    assert isinstance(outcome, ImagePredictions)
    (prediction,) = outcome.predictions
    assert prediction.score == prediction.cosine


@pytest.mark.parametrize("field", ["batch_size", "workers"])
def test_options_below_one_are_refused(field: str) -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        EngineOptions(**{field: 0})


# --- Reduced decoding ----------------------------------------------------------------------------


@pytest.fixture
def large_photos(tmp_path: Path) -> list[str]:
    """Soft JPEGs, eight times as large as what nano sees and more; one is turned by its EXIF."""
    paths = []
    generator = np.random.default_rng(1)
    for number, size in enumerate([(1800, 1550), (1550, 1800), (2800, 1540), (1600, 1600)]):
        coarse = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        path = tmp_path / f"{number}.jpg"
        picture.save(path, quality=92, exif=exif)
        paths.append(str(path))
    return paths


def features_of(paths: list[str], encoder: Any, exact: bool, cache: FeatureCache | None = None) -> np.ndarray:
    batches = encode(items(paths), encoder, EngineOptions(decoding=DecodeOptions(exact=exact)), cache)
    return np.concatenate([batch.features for batch in batches])


def test_reduced_decoding_hardly_moves_the_features(nano: Any, large_photos: list[str]) -> None:
    exact, reduced = features_of(large_photos, nano, True), features_of(large_photos, nano, False)
    assert not np.array_equal(exact, reduced), "nothing was reduced"
    cosines = np.sum(exact * reduced, axis=1)
    assert cosines.mean() > 0.995, cosines


def test_exact_decoding_is_open_clips(nano: Any, large_photos: list[str]) -> None:
    transform = open_clip.create_model_from_pretrained(f"local-dir:{nano.files.weights.parent}")[1]
    for path, ours in zip(large_photos, features_of(large_photos, nano, True), strict=True):
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        with torch.no_grad():
            theirs = nano.model.encode_image(transform(upright)[None], normalize=True).numpy()[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_small_pictures_are_never_reduced(nano: Any, pictures: Path) -> None:
    paths = [str(path) for path in pictures.iterdir()]
    np.testing.assert_array_equal(features_of(paths, nano, True), features_of(paths, nano, False))


def test_the_cache_keeps_the_two_ways_of_decoding_apart(
    nano: Any, large_photos: list[str], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    reduced = features_of(large_photos, nano, False, cache)
    np.testing.assert_array_equal(
        features_of(large_photos, nano, True, cache), features_of(large_photos, nano, True)
    )
    np.testing.assert_array_equal(features_of(large_photos, nano, False, cache), reduced)
    cache.close()


def test_the_cache_does_not_lift_the_limit_of_pixels(
    nano: Any, large_photos: list[str], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    features_of(large_photos, nano, False, cache)
    (batch,) = encode(
        items(large_photos), nano, EngineOptions(decoding=DecodeOptions(max_pixels=3_000_000)), cache
    )
    assert [isinstance(outcome, ImageFailure) for outcome in batch.outcomes] == [False, False, True, False]
    cache.close()


def test_outcomes_of_items_have_all_that_was_found() -> None:
    item = FileItem("a.png", {"sku": 7}, "cat")
    given: dict[str, Any] = {"status": "unknown", "margin": 0.25, "label_set": ("cat",), "reject_score": 0.5}
    found = ImagePredictions("a.png", (), np.zeros(2, np.float32), **given)
    expected = found._replace(columns=item.columns, truth="cat", known=True)
    assert all(one is other for one, other in zip(found.of_item(item, True), expected, strict=True))
