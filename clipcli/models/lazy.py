"""A model as an earlier run knew it: enough to score cached images without importing torch.

What a run learns of a model (fingerprint, scale, preprocessing) is kept in the feature cache. The next
run starts from that, and builds the model itself only when something has to be encoded.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clipcli.cache import FeatureCache
from clipcli.choices import Activation
from clipcli.errors import ModelError
from clipcli.models.registry import CONFIG_NAME, ModelSpec
from clipcli.records import Encoder, Float32Array, Jpeg, Preprocess, Uint8Array
from clipcli.version import __version__


@dataclass(frozen=True)
class ModelFacts:
    """What `Encoder` tells without encoding, and by which file it can be checked."""

    name: str
    fingerprint: str
    cache_key: str
    preprocess: Preprocess
    logit_scale: float
    logit_bias: float | None
    activation: Activation
    batch_size: int
    provenance: dict[str, Any]
    weights: str
    weights_version: tuple[int, int]
    in_flight: int = 1


class LazyEncoder:
    """An `Encoder` whose model is built when the first image or text has to be encoded.

    Args:
        facts: from an earlier run.
        load: builds the model.
    """

    def __init__(self, facts: ModelFacts, load: Callable[[], Encoder]) -> None:
        self.name = facts.name
        self.fingerprint = facts.fingerprint
        self.cache_key = facts.cache_key
        self.preprocess = facts.preprocess
        self.logit_scale = facts.logit_scale
        self.logit_bias = facts.logit_bias
        self.activation = facts.activation
        self.batch_size = facts.batch_size
        self.in_flight = facts.in_flight
        self._provenance = facts.provenance
        self._load = load
        self._loading = threading.Lock()  # several batches may ask for it at once

    @property
    def _encoder(self) -> Encoder:
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> Encoder:
        encoder = self._load()
        if encoder.cache_key != self.cache_key:
            raise ModelError(
                f"{self.name} is not what it was when this run began",
                "The model or the hardware changed. Run it again.",
            )
        return encoder

    def provenance(self) -> dict[str, Any]:
        """Model, weights and versions, as stored beside class embeddings."""
        return self._provenance

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D), unit norm."""
        return self._encoder.encode_images(pixels)

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        """Each to (H, W, 3) uint8 on the encoder's GPU; None where that fails."""
        return self._encoder.decode_jpegs(jpegs)

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D), unit norm."""
        return self._encoder.encode_texts(texts)


def recall(cache: FeatureCache, spec: ModelSpec, device: str, precision: str) -> ModelFacts | None:
    """What an earlier run on this machine knew of the model, if its weights are still the same file."""
    known = cache.recall(_key(spec, device, precision))
    if known is None or _version(known["weights"]) != tuple(known["weights_version"]):
        return None
    recipe: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in known["preprocess"].items()
    }
    return ModelFacts(**{**known, "preprocess": Preprocess(**recipe)})


def remember(
    cache: FeatureCache, spec: ModelSpec, device: str, precision: str, encoder: Encoder, weights: Path
) -> None:
    """Keep what is known of a model for the next run."""
    version = _version(weights)
    if version is None:
        return
    facts = ModelFacts(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        cache_key=encoder.cache_key,
        preprocess=encoder.preprocess,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
        batch_size=encoder.batch_size,
        provenance=encoder.provenance(),
        weights=str(weights),
        weights_version=version,
        in_flight=encoder.in_flight,
    )
    cache.remember(_key(spec, device, precision), asdict(facts))


def _version(path: str | Path) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _key(spec: ModelSpec, device: str, precision: str) -> str:
    """The request, the versions that answer it, and what decides how `auto` is understood."""
    config = _version(Path(spec.model_name, CONFIG_NAME)) if spec.source == "local-dir" else None
    versions = [importlib.metadata.version(package) for package in ("open_clip_torch", "torch")]
    gpu = Path("/dev/nvidiactl").exists(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return repr((__version__, versions, spec, config, device, precision, platform.node(), gpu))
