"""One outcome a video: the mean of its frames' features, or the largest score of each label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from clipcli import per_video
from clipcli.errors import UsageError
from clipcli.inputs.frames.parts import part_of
from clipcli.inputs.item import FileItem
from clipcli.records import Float32Array, ImageFailure, ImagePredictions, Item
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.ranking import Ranking
from clipcli.stages import EncodedBatch, score_batch

Entry = tuple[Item | ImageFailure, Float32Array | None]
CLASSES = ("cat", "dog", "owl")


def frame(video: str, second: int, **kwargs: object) -> Item:
    return part_of(replace(FileItem(video), **kwargs), "t", second * 1_000_000)  # type: ignore[arg-type]


def failed(video: str, second: int) -> ImageFailure:
    return ImageFailure(f"{video}#t={second}.0", "damaged video")


def unit(*numbers: float) -> Float32Array:
    vector = np.array(numbers, np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def batches(entries: Iterable[Entry], size: int) -> Iterator[EncodedBatch]:
    remaining = list(entries)
    for start in range(0, len(remaining), size):
        part = remaining[start : start + size]
        vectors = [vector for _, vector in part if vector is not None]
        features = np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
        yield EncodedBatch([one for one, _ in part], features, [False] * len(vectors))


A, B, C = unit(1, 0.2, 0), unit(0, 1, 0.5), unit(0.3, 0, 1)
ENTRIES: list[Entry] = [
    (FileItem("1.png"), A),
    (frame("x.mp4", 0), A),
    (failed("x.mp4", 1), None),
    (frame("x.mp4", 2), B),
    (frame("y.mp4", 1), C),
    (frame("y.mp4", 2), C),
    (failed("z.mp4", 0), None),
    (failed("z.mp4", 1), None),
    (ImageFailure("2.png", "empty file"), None),
    (FileItem("3.png"), B),
    (failed("w.mp4", 0), None),
    (frame("w.mp4", 1), A),
]
NAMES = ["1.png", "x.mp4", "y.mp4", "z.mp4", "2.png", "3.png", "w.mp4"]


def name(outcome: object) -> str:
    return getattr(outcome, "name", None) or getattr(outcome, "image", "")


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(CLASSES, np.eye(3, dtype=np.float32), 10.0, None, "softmax", "")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_the_mean_of_a_videos_frames_at_unit_norm_whatever_the_batches(size: int) -> None:
    found = list(per_video.mean_of_videos(batches(ENTRIES, size)))
    outcomes = [one for batch in found for one in batch.outcomes]
    assert list(map(name, outcomes)) == NAMES
    features = np.concatenate([batch.features for batch in found if batch.items])
    expected = np.stack([A, unit(*(A + B)), C, B, A])
    assert np.allclose(features, expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert outcomes[3] == ImageFailure("z.mp4", "damaged video")
    assert outcomes[1] == FileItem("x.mp4")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_the_largest_score_of_each_label_whatever_the_batches(size: int, classifier: Classifier) -> None:
    found = list(per_video.max_of_videos(batches(ENTRIES, size), classifier, Ranking(top_k=2)))
    assert list(map(name, found)) == NAMES
    scores = classifier.scores(classifier.similarities(np.stack([A, B])))
    assert isinstance(found[1], ImagePredictions)
    assert np.array_equal(found[1].scores, scores.max(axis=0))
    best = found[1].predictions
    assert [one.label for one in best] == [CLASSES[n] for n in np.argsort(-scores.max(axis=0))[:2]]
    assert [one.rank for one in best] == [1, 2]
    assert {one.image for one in best} == {"x.mp4"}
    assert best[0].score == scores.max()
    assert found[1].margin == pytest.approx(best[0].score - best[1].score)
    assert found[3] == ImageFailure("z.mp4", "damaged video")


def test_images_and_videos_of_one_frame_have_the_outcome_that_they_have_anyway(
    classifier: Classifier,
) -> None:
    plain = [FileItem("1.png"), frame("w.mp4", 1)]
    (batch,) = batches([(plain[0], A), (plain[1], B)], 9)
    ranking = Ranking(top_k=3, min_score=0.6)
    (image, clip) = score_batch(batch, classifier, ranking)
    for found in (
        list(per_video.max_of_videos([batch], classifier, ranking)),
        [one for some in per_video.mean_of_videos([batch]) for one in score_batch(some, classifier, ranking)],
    ):
        same, video = found
        assert isinstance(same, ImagePredictions) and isinstance(image, ImagePredictions)
        assert same.predictions == image.predictions
        assert isinstance(video, ImagePredictions) and isinstance(clip, ImagePredictions)
        assert [one._replace(image="") for one in video.predictions] == [
            one._replace(image="") for one in clip.predictions
        ]
        assert (video.image, video.status, video.margin) == ("w.mp4", clip.status, clip.margin)


def test_a_video_of_one_frame_has_its_features_to_the_bit() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries: list[Entry] = [(frame(f"{n}.mp4", 0), vector) for n, vector in enumerate(vectors)]
    found = np.concatenate(
        [one.features for one in per_video.mean_of_videos(batches(entries, 64)) if one.items]
    )
    assert np.array_equal(found, vectors)


def test_thresholds_of_labels_and_of_the_run_go_by_the_largest_scores(classifier: Classifier) -> None:
    entries: list[Entry] = [(frame("x.mp4", 0), unit(1, 1, 1)), (frame("x.mp4", 1), unit(1, 0, 0))]

    def status(ranking: Ranking, fitted: Classifier = classifier) -> str:
        (found,) = per_video.max_of_videos(batches(entries, 9), fitted, ranking)
        return str(found.status)

    assert status(Ranking(min_score=0.9)) == "ok"
    assert status(Ranking(min_score=0.99999)) == "unknown"
    thresholds = np.array([0.99999, 0, 0], np.float32)
    assert status(Ranking(), replace(classifier, thresholds=thresholds)) == "unknown"


def test_a_video_named_twice_has_two_outcomes() -> None:
    entries: list[Entry] = [(frame("x.mp4", second), A) for second in (0, 1, 0, 1)]
    found = [one for batch in per_video.mean_of_videos(batches(entries, 3)) for one in batch.outcomes]
    assert list(map(name, found)) == ["x.mp4", "x.mp4"]


def test_columns_truth_and_what_the_cache_knew_are_the_frames() -> None:
    entries = [replace(frame("x.mp4", n, columns={"site": "A"}), truth="owl") for n in (0, 1)]  # type: ignore[type-var]
    for known in ([True, True], [True, False]):
        batch = EncodedBatch(list(entries), np.stack([A, B]), known)
        *_, last = per_video.mean_of_videos([batch])
        assert last.outcomes == [FileItem("x.mp4", {"site": "A"}, "owl")]
        assert last.known == [all(known)]


def test_pages_and_frames_of_animations_stay_by_themselves() -> None:
    entries: list[Entry] = [(part_of(FileItem("a.pdf"), "page", n), A) for n in (1, 2)]
    found = [one for batch in per_video.mean_of_videos(batches(entries, 9)) for one in batch.outcomes]
    assert list(map(name, found)) == ["a.pdf#page=1", "a.pdf#page=2"]


def test_outcomes_are_counted_without_reading() -> None:
    assert per_video.count(one for one, _ in ENTRIES) == len(NAMES)


def test_groups_and_sets_have_no_largest_scores(classifier: Classifier) -> None:
    for fitted, what in (
        (replace(classifier, conformal_quantile=0.9), "sets"),
        (replace(classifier, parents=("pet", "pet", "bird")), "groups"),
    ):
        with pytest.raises(UsageError, match=f"no classifier with {what} of labels"):
            per_video.max_of_videos([], fitted, Ranking())


def test_no_other_word(classifier: Classifier) -> None:
    with pytest.raises(UsageError, match="`per_video` must be mean or max, not median"):
        Ranking(per_video="median")  # type: ignore[arg-type]
