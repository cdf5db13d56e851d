"""The Python API: the functions that the command line calls, with plain arguments.

`import clipcli` offers all of them; torch is imported by `load_model`, not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from clipcli import pipeline
from clipcli.cache import FeatureCache
from clipcli.images.decode import DEFAULT, DecodeOptions
from clipcli.inputs.walk import Inputs
from clipcli.models.nvjpeg import NvjpegDecoder
from clipcli.output.sinks import LONG_COLUMNS, long_rows
from clipcli.pipeline import EngineOptions
from clipcli.prompts import class_lists
from clipcli.prompts import templates as prompts
from clipcli.records import Encoder, Outcome
from clipcli.scoring.classifier import Classifier, Ranking
from clipcli.scoring.classifier import build_classifier as _build_classifier
from clipcli.scoring.classifier_file import load_classifier, save_classifier

if TYPE_CHECKING:
    import pandas as pd

    from clipcli.choices import Precision

__all__ = [
    "DecodeOptions",
    "build_classifier",
    "classify",
    "load_classifier",
    "load_model",
    "save_classifier",
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
        model: a preset (`nano`, `fast`, `balanced`, `accurate`, `best`), `ARCHITECTURE:TAG`,
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
    classes: str | PathLike[str] | Sequence[str],
    templates: str | Sequence[str] = (),
    *,
    concept: str = "",
    cache: FeatureCache | None = None,
) -> Classifier:
    """Turn words into class embeddings.

    Args:
        encoder: from `load_model`.
        classes: labels, or a class list: a file or the name of a shipped one.
        templates: a template set, a file, a template with `{}`, or several of them.
        concept: a hint added to every template, such as "a type of pet".
        cache: a `clipcli.cache.FeatureCache`, where embeddings made before are found and new ones kept.

    Returns:
        A classifier with (C, D) class embeddings.

    Raises:
        PromptError: a class list or template that cannot be used.
    """
    if isinstance(classes, str | PathLike):
        specs = class_lists.load_classes(fspath(classes))
    else:
        specs = [class_lists.ClassSpec(label) for label in classes]
    chosen = prompts.load_templates([templates] if isinstance(templates, str) else templates)
    return _build_classifier(encoder, prompts.build_prompts(specs, chosen, concept), cache)


def classify(
    images: str | PathLike[str] | Iterable[str | PathLike[str]],
    encoder: Encoder,
    classifier: Classifier,
    *,
    top_k: int = 5,
    batch_size: int | None = None,
    decoding: DecodeOptions = DEFAULT,
    cache: FeatureCache | None = None,
    **ranking: Any,
) -> Iterator[Outcome]:
    """Classify files, folders and globs lazily, one outcome an image, in order.

    Args:
        images: one or several files, folders or globs.
        encoder: from `load_model`.
        classifier: from `build_classifier` or `load_classifier`.
        top_k: labels an image.
        batch_size: images encoded together; None is what suits the device.
        decoding: how image files are read. Pillow's own limit, `Image.MAX_IMAGE_PIXELS`, holds too.
        cache: a `clipcli.cache.FeatureCache`, where features made before are found and new ones kept.
        ranking: further fields of `clipcli.scoring.classifier.Ranking`: score, min_score, min_margin.

    Returns:
        An iterator of `ImagePredictions` and, for images that cannot be read, `ImageFailure`.

    Raises:
        UsageError: a path that does not exist, or decoding on a GPU without a CUDA GPU.
        ModelMismatchError: the classifier was built with another model.
    """
    paths = [images] if isinstance(images, str | PathLike) else list(images)
    inputs = Inputs(tuple(fspath(path) for path in paths))
    options = EngineOptions(batch_size=batch_size, decoding=decoding)
    decoder = NvjpegDecoder(encoder.devices, encoder.preprocess) if decoding.on_gpu else None
    return pipeline.classify(
        inputs, encoder, classifier, Ranking(top_k=top_k, **ranking), options, cache, decoder=decoder
    )


def to_frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Collect outcomes in a DataFrame: image, rank, label, score, cosine, error; as in the CSV."""
    import pandas as pd

    rows = [row for outcome in outcomes for row in long_rows(outcome)]
    return pd.DataFrame(rows, columns=list(LONG_COLUMNS)).astype({"rank": "Int64"})
