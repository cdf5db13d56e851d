"""The Python API: the functions that the command line calls, with plain arguments.

`import clipcli` offers all of them; torch is imported by `load_model`, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli import pipeline
from clipcli.cache import FeatureCache
from clipcli.choices import FeatureType, PerVideo, Score
from clipcli.images.decode import DEFAULT, DecodeOptions
from clipcli.inputs.memory import ImageSources, items_of
from clipcli.output.rows import (
    GROUP_COLUMNS,
    LONG_COLUMNS,
    REJECT_COLUMN,
    SET_COLUMN,
    carried_names,
    group_cells,
    joined_set,
    long_rows,
    reject_score,
)
from clipcli.per_video import mean_of_videos
from clipcli.pipeline import EngineOptions
from clipcli.prompts import class_lists
from clipcli.prompts.templates import PromptSet, build_prompts, load_templates
from clipcli.records import Encoder, ImageFailure, ImageFeatures, Outcome
from clipcli.scoring.class_embeddings import build_classifier as _build_classifier
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.classifier_file import load_classifier, save_classifier
from clipcli.scoring.ranking import Ranking

if TYPE_CHECKING:
    import pandas as pd

    from clipcli.choices import Precision

__all__ = [
    "DecodeOptions",
    "build_classifier",
    "classify",
    "encode",
    "engine_options",
    "load_classifier",
    "load_model",
    "save_classifier",
    "save_features",
    "to_frame",
]


def load_model(
    model: str = "balanced",
    pretrained: str | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    offline: bool = False,
    cache: FeatureCache | None = None,
) -> Encoder:
    """Load a model, downloading it on first use.

    Args:
        model: a preset (`nano`, `fast`, `balanced`, `multilingual`, `accurate`, `best`), `ARCHITECTURE:TAG`,
            `hf-hub:org/repo` or `local-dir:/path`.
        pretrained: a tag or weights file, for a bare architecture.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or several such as `cuda:0,cuda:2`;
            `auto` and `cuda` are all GPUs of the machine that are of the first one's model.
        precision: `auto`, `fp32`, `bf16`, `fp16`, `int8` (CPUs only, with `clipcli[int8]`).
        offline: never use the network.
        cache: a `clipcli.cache.FeatureCache`. A model that it knows from before is built when the first
            image or text must be encoded, and never if all of them are in the cache.

    Returns:
        An encoder; with a cache one that can be pickled, and is built anew in another process.

    Raises:
        UnknownModelError: no such model.
        UsageError: no such device or precision.
        WeightsUnavailableError: neither cached nor reachable.
        WeightsDamagedError: truncated weights, or of another architecture.
    """
    from clipcli.models.lazy import open_encoder
    from clipcli.models.request import ModelRequest

    return open_encoder(ModelRequest(model, pretrained, device, precision, offline), cache)


def build_classifier(
    encoder: Encoder,
    classes: str | PathLike[str] | Sequence[str] | PromptSet,
    templates: str | Sequence[str] = (),
    *,
    concept: str = "",
    cache: FeatureCache | None = None,
) -> Classifier:
    """Turn words into class embeddings.

    Args:
        encoder: from `load_model`.
        classes: labels; or a class list, by its file or by the name of one that comes with clipcli; or
            prompts that are made already, which take no templates. Groups and thresholds of labels come from
            a file or from such prompts.
        templates: a template set, a file, a template with `{}`, or several of these.
        concept: what all classes have in common, such as "a type of pet"; it is added to every template.
        cache: where embeddings computed before are found and new ones are kept.

    Returns:
        A classifier with (C, D) class embeddings.

    Raises:
        PromptError: a class list or template that cannot be used.
    """
    if isinstance(classes, PromptSet):
        return _build_classifier(encoder, classes, cache)
    if isinstance(classes, str | PathLike):
        specs = class_lists.load_classes(fspath(classes))
    else:
        specs = [class_lists.ClassSpec(label) for label in classes]
    chosen = load_templates([templates] if isinstance(templates, str) else templates)
    return _build_classifier(encoder, build_prompts(specs, chosen, concept), cache)


def classify(
    images: ImageSources,
    encoder: Encoder,
    classifier: Classifier,
    *,
    top_k: int = 5,
    score: Score = "auto",
    min_score: float | None = None,
    min_margin: float | None = None,
    roll_up: float | None = None,
    per_video: PerVideo | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    decoding: DecodeOptions = DEFAULT,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Classify images lazily: an `ImagePredictions` or, if it cannot be read, `ImageFailure` each, in order.

    Args:
        images: one or several, mixed: paths, folders and globs; Pillow images; arrays (H, W, 3) or (H, W) of
            uint8; encoded images as bytes or file objects. A mapping gives them names; others are numbered.
        encoder: from `load_model`.
        classifier: from `build_classifier` or `load_classifier`.
        top_k: labels per image, best first.
        score: what the score of a label is; `auto` is what the model was trained with.
        min_score: an image whose best score is lower has the status `unknown`, beside its ranked labels.
        min_margin: the same for best less second score. Thresholds of the classifier hold besides these.
        roll_up: the least score of an answer: the best label, or else the deepest group that has it.
        per_video: one outcome a video: `mean` of its frames' features, or `max`, the largest score of each
            label in a frame, for a classifier without groups and sets.
        batch_size: images encoded together; None is what suits the device.
        workers: threads that read and decode; None is one per core.
        decoding: how image files are read. Pillow's own limit, `Image.MAX_IMAGE_PIXELS`, holds too.
        cache: where features computed before are found and new ones are kept.
        stop: asked before each batch; True ends the run early.

    Raises:
        UsageError: a path that does not exist, something that is no image, a value out of its range, a score
            for which the classifier is not calibrated, or labels without groups to roll up to.
        ModelMismatchError: the classifier was built with another model.
    """
    ranking = Ranking(top_k, score, min_score, min_margin, roll_up, per_video)
    options = engine_options(encoder, batch_size, workers, decoding)
    return pipeline.classify(items_of(images), encoder, classifier, ranking, options, cache, stop)


def encode(
    images: ImageSources,
    encoder: Encoder,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    decoding: DecodeOptions = DEFAULT,
    cache: FeatureCache | None = None,
    stop: Callable[[], bool] = lambda: False,
    mean_per_video: bool = False,
) -> Iterator[ImageFeatures | ImageFailure]:
    """Encode images lazily, one outcome per image, in order; arguments and errors as in `classify`.

    With `mean_per_video`, a video has one outcome: the mean of its frames' features, of unit norm.

    Returns:
        An iterator of `ImageFeatures`, whose `features` are (D,) float32 of unit norm, and `ImageFailure`.
    """
    options = engine_options(encoder, batch_size, workers, decoding)
    batches = pipeline.encode(items_of(images), encoder, options, cache, stop)
    return pipeline.features(mean_of_videos(batches) if mean_per_video else batches)


def save_features(
    outcomes: Iterable[ImageFeatures | ImageFailure],
    path: str | PathLike[str],
    encoder: Encoder,
    *,
    dtype: FeatureType = "float32",
) -> None:
    """Write features to a `.npy`, `.npz`, `.parquet` or `.safetensors` file, as `clipcli embed` does.

    Args:
        outcomes: from `encode`; they are taken one by one.
        path: the file, which appears when it is complete.
        encoder: what encoded them; the file tells the model.
        dtype: the numbers in the file.

    Raises:
        UsageError: a suffix that is not supported, or a folder that does not exist.
        OutputError: the file cannot be written.
    """
    from clipcli.output.feature_files import open_feature_file

    about = {"fingerprint": encoder.fingerprint, **encoder.provenance()}
    with open_feature_file(Path(path), about, dtype=dtype) as writer:
        for outcome in outcomes:
            writer.add(outcome)


def engine_options(
    encoder: Encoder, batch_size: int | None, workers: int | None, decoding: DecodeOptions
) -> EngineOptions:
    """How the engine runs; a decoder is made if images are to be decoded on a GPU."""
    if not decoding.on_gpu:
        return EngineOptions(batch_size, workers, decoding)
    from clipcli.models.nvjpeg import NvjpegDecoder

    return EngineOptions(batch_size, workers, decoding, NvjpegDecoder(encoder.devices, encoder.preprocess))


def to_frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Collect outcomes in a DataFrame, as in the CSV.

    Its columns are image, rank, label, score, cosine, error, status and margin; set, where the classifier
    makes sets of labels; group and group_score, where labels have groups; and reject_score, where it has a
    rejector. The columns of the user's table follow, where the images come from one.
    """
    import pandas as pd

    rows = [
        ([*row, joined_set(outcome), *group, reject_score(outcome)], outcome.columns)
        for outcome in outcomes
        for row, group in zip(long_rows(outcome), group_cells(outcome), strict=True)
    ]
    carried = list(dict.fromkeys(name for _, columns in rows for name in columns))
    added = [*LONG_COLUMNS, *SET_COLUMN, *GROUP_COLUMNS, *REJECT_COLUMN]
    first = len(LONG_COLUMNS)
    kept = [n for n in range(len(added)) if n < first or any(row[n] is not None for row, _ in rows)]
    own = [added[n] for n in kept]
    frame = pd.DataFrame(
        [[*(row[n] for n in kept), *map(columns.get, carried)] for row, columns in rows],
        columns=[*own, *carried_names(carried, own)],
    )
    return frame.astype({"rank": "Int64"})
