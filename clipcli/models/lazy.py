"""Models that are built when they are needed: cached images are scored without importing torch.

What a run learns of a model (fingerprint, scale, preprocessing) is kept in the feature cache. The next run
starts from that, and builds the model itself only when something has to be encoded.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from clipcli.cache import FeatureCache
from clipcli.choices import Activation
from clipcli.errors import ModelError
from clipcli.libraries import tokenizer_libraries, tower_libraries
from clipcli.models.locate import identities, locate
from clipcli.models.registry import ModelSpec
from clipcli.models.request import ModelRequest
from clipcli.records import Encoder, Float32Array, Preprocess, Uint8Array
from clipcli.version import __version__

if TYPE_CHECKING:
    from clipcli.models.encoder import OpenClipEncoder

_HUB_FOLDERS = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")


def load_encoder(request: ModelRequest, cache_folder: Path | None = None) -> OpenClipEncoder:
    """Find or download a model, and load it.

    Args:
        request: which model, and how it is to run.
        cache_folder: where int8 towers are kept; None is the user's cache folder.

    Raises:
        UnknownModelError: no such model.
        UsageError: the device is not there, or int8 cannot run.
        WeightsUnavailableError: neither cached nor reachable.
        WeightsDamagedError: truncated weights, or of another architecture.
    """
    return _load(request.spec(), request, cache_folder)


def open_encoder(
    request: ModelRequest, cache: FeatureCache | None = None, cache_folder: Path | None = None
) -> Encoder:
    """A model as the cache knows it from an earlier run, built only when something must be encoded.

    A model that the cache does not know is loaded now, and its facts are kept there.

    Args:
        request: which model, and how it is to run.
        cache: where the facts are; without a cache the model is loaded now.
        cache_folder: where int8 towers are kept; None is the cache's folder, or else the user's.

    Returns:
        a `LazyEncoder`, which another process can use too, or without a cache a loaded `OpenClipEncoder`.

    Raises:
        UnknownModelError: no such model.
        UsageError: the device is not there, or int8 cannot run.
        WeightsUnavailableError: neither cached nor reachable.
        WeightsDamagedError: truncated weights, or of another architecture.
    """
    if cache is None:
        return load_encoder(request, cache_folder)
    spec, folder = request.spec(), cache_folder or cache.path.parent
    load = partial(_load, spec, request, folder)  # the spec has absolute paths, wherever it is called
    key = _key(spec, request)

    def remember(encoder: OpenClipEncoder) -> ModelFacts:
        facts = _facts_of(encoder)
        cache.remember(key, asdict(facts))
        return facts

    facts = None if cache.verify else _known_facts(cache, key)
    if facts is not None:
        return LazyEncoder(facts, load, changed=remember)
    encoder = load()
    return LazyEncoder(remember(encoder), load, encoder)


def _load(spec: ModelSpec, request: ModelRequest, folder: Path | None) -> OpenClipEncoder:
    files = locate(spec, request.offline)
    from clipcli.models.encoder import OpenClipEncoder

    return OpenClipEncoder(files, request.device, request.precision, folder)


class LazyEncoder:
    """An `Encoder` whose model is built when the first image or text has to be encoded.

    It can be pickled if `load` can; a loaded model stays behind, and is built anew where it is needed.

    Args:
        facts: what is known of the model.
        load: builds the model.
        loaded: the model, where it is built already.
        changed: is given a model that is not what was known of it, so that the next run knows.
    """

    def __init__(
        self,
        facts: ModelFacts,
        load: Callable[[], Encoder],
        loaded: Encoder | None = None,
        changed: Callable[[Any], object] = lambda _: None,
    ) -> None:
        self.name = facts.name
        self.fingerprint = facts.fingerprint
        self.cache_key = facts.cache_key
        self.text_key = facts.text_key
        self.devices = facts.devices
        self.preprocess = facts.preprocess
        self.logit_scale = facts.logit_scale
        self.logit_bias = facts.logit_bias
        self.activation = facts.activation
        self.batch_size = facts.batch_size
        self.in_flight = facts.in_flight
        self.weights = facts.weights
        self._facts = facts
        self._load = load
        self._loaded = loaded
        self._changed = changed
        self._loading = threading.Lock()  # several batches may ask for it at once

    def __reduce__(self) -> tuple[type[LazyEncoder], tuple[ModelFacts, Callable[[], Encoder]]]:
        return LazyEncoder, (self._facts, self._load)

    def provenance(self) -> dict[str, Any]:
        """Model, weights and versions, as stored beside class embeddings."""
        return self._facts.provenance

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D), unit norm."""
        return self._encoder().encode_images(pixels)

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D), unit norm."""
        return self._encoder().encode_texts(texts)

    def unknown_texts(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts of which the model knows no token."""
        return self._encoder().unknown_texts(texts)

    def _encoder(self) -> Encoder:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._checked(self._load())
            return self._loaded

    def _checked(self, encoder: Encoder) -> Encoder:
        if (encoder.cache_key, encoder.text_key) != (self.cache_key, self.text_key):
            self._changed(encoder)
            raise ModelError(
                f"{self.name} is not what it was when this run began",
                "The model or the hardware changed. Run it again.",
            )
        return encoder


# --- Facts in the cache --------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelFacts:
    """What `Encoder` tells without encoding, and by which files it can be checked.

    `sources` are the files and folders that decided it, with what they were then.
    """

    name: str
    fingerprint: str
    cache_key: str
    text_key: str
    devices: tuple[str, ...]
    preprocess: Preprocess
    logit_scale: float
    logit_bias: float | None
    activation: Activation
    batch_size: int
    in_flight: int
    provenance: dict[str, Any]
    weights: str
    sources: dict[str, str]


def _facts_of(encoder: OpenClipEncoder) -> ModelFacts:
    return ModelFacts(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        cache_key=encoder.cache_key,
        text_key=encoder.text_key,
        devices=encoder.devices,
        preprocess=encoder.preprocess,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias,
        activation=encoder.activation,
        batch_size=encoder.batch_size,
        in_flight=encoder.in_flight,
        provenance=encoder.provenance(),
        weights=str(encoder.files.weights),
        sources=encoder.files.sources,
    )


def _known_facts(cache: FeatureCache, key: str) -> ModelFacts | None:
    """What an earlier run on this machine knew of the model, if its files are still the same."""
    stored = cache.recall(key) or {}
    recipe = stored.get("preprocess")
    if not (_has_fields(stored, ModelFacts) and _has_fields(recipe, Preprocess)):
        return None  # nothing is stored, or what another version wrote
    facts = ModelFacts(**_with_tuples(stored) | {"preprocess": Preprocess(**_with_tuples(recipe))})
    return facts if facts.sources == identities(facts.sources) else None


def _has_fields(stored: Any, kind: type) -> TypeGuard[dict[str, Any]]:
    return isinstance(stored, dict) and set(stored) == {field.name for field in fields(kind)}


def _with_tuples(stored: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists alone."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}


def _key(spec: ModelSpec, request: ModelRequest) -> str:
    """The request, the versions that answer it, and what decides how `auto` and the hub are understood."""
    versions = (__version__, tower_libraries("int8"), tokenizer_libraries())
    gpu = Path("/dev/nvidiactl").exists(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    hub = [os.environ.get(name, "") for name in _HUB_FOLDERS]
    return repr((*versions, spec, request.device, request.precision, platform.node(), gpu, hub))
