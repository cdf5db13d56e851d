"""An encoder without a model: the vectors are chosen by the test, or drawn from the text itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clipcli.inputs.item import FileItem
from clipcli.records import Activation, Float32Array, ImageFailure, Item, Preprocess, Uint8Array


def items(images: Iterable[str | ImageFailure]) -> Iterator[Item | ImageFailure]:
    """Paths as the items that `Inputs` makes of them; of an input without end, too."""
    for image in images:
        yield FileItem(image) if isinstance(image, str) else image


def names(found: Iterable[Item | ImageFailure]) -> list[str | ImageFailure]:
    """What `Inputs` found, each item by its name."""
    return [one if isinstance(one, ImageFailure) else one.name for one in found]


@dataclass
class FakeEncoder:
    """Deterministic unit vectors: `vectors` gives some, `encoded` lists the texts asked for."""

    vectors: dict[str, Sequence[float]] = field(default_factory=dict)
    name: str = "fake"
    fingerprint: str = "fake-1"
    cache_key: str = "fake-1-cpu"
    text_key: str = "fake-1-cpu-words"
    devices: tuple[str, ...] = ("cpu",)
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(size=(8, 8)))
    logit_scale: float = 100.0
    logit_bias: float | None = None
    activation: Activation = "softmax"
    batch_size: int = 4
    in_flight: int = 1
    dim: int = 8
    encoded: list[str] = field(default_factory=list)

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D), unit norm."""
        return np.stack([self._drawn(image.tobytes()) for image in pixels])

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D), unit norm."""
        self.encoded.extend(texts)
        return np.stack([self._chosen(text) for text in texts])

    def provenance(self) -> dict[str, Any]:
        """Which model this is."""
        return {"model": self.name}

    def _chosen(self, text: str) -> Float32Array:
        return unit(self.vectors[text]) if text in self.vectors else self._drawn(text.encode())

    def _drawn(self, seed: bytes) -> Float32Array:
        return unit(np.random.default_rng(zlib.crc32(seed)).normal(size=self.dim))


def unit(vector: Sequence[float] | np.ndarray) -> Float32Array:
    """Scale to length one."""
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
