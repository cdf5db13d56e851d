"""The records that pass between the stages, and the one seam between pixels and numbers: `Encoder`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Uint8Array: TypeAlias = npt.NDArray[np.uint8]
Activation: TypeAlias = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its pixels; the fields and their meaning are open_clip's `PreprocessCfg`.

    `size` is (height, width) in pixels, `mean` and `std` are per RGB channel on a 0..1 scale.
    """

    size: tuple[int, int] = (224, 224)
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    fill_color: int = 0


class Jpeg(NamedTuple):
    """A file that a GPU may decode, how many pixels it has, and what else decides its colours."""

    data: bytes
    pixels: int
    mode: str
    profile: bytes | None


class Prediction(NamedTuple):
    """One label of one image. `rank` starts at 1; `cosine` is the similarity before scale and softmax."""

    image: str
    rank: int
    label: str
    score: float
    cosine: float


class ImagePredictions(NamedTuple):
    """The ranked predictions of one image, best first, and its scores (C,) in class order."""

    image: str
    predictions: tuple[Prediction, ...]
    scores: Float32Array


class ImageFailure(NamedTuple):
    """An image that could not be read, and why."""

    image: str
    reason: str


Outcome: TypeAlias = ImagePredictions | ImageFailure
"""Every input has exactly one."""


class Encoder(Protocol):
    """A CLIP model as the rest of the package sees it."""

    @property
    def name(self) -> str:
        """The model as a user would name it."""

    @property
    def fingerprint(self) -> str:
        """Identity of weights, configuration and preprocessing; equal means equal features."""

    @property
    def cache_key(self) -> str:
        """The fingerprint with what else changes a feature's bits: precision and kind of device."""

    @property
    def preprocess(self) -> Preprocess:
        """What `encode_images` expects."""

    @property
    def logit_scale(self) -> float:
        """The learned scale, already exponentiated."""

    @property
    def logit_bias(self) -> float | None:
        """The learned bias of a sigmoid model, else None."""

    @property
    def activation(self) -> Activation:
        """How the model was trained to turn logits into probabilities."""

    @property
    def batch_size(self) -> int:
        """Images a batch that suit the device."""

    @property
    def in_flight(self) -> int:
        """Batches that may be encoded at once, from as many threads; 1 where threads bring nothing."""

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D), unit norm."""

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        """Each to (H, W, 3) uint8 on the encoder's GPU; None where that fails.

        Raises:
            UsageError: there is no GPU that decodes.
        """

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D), unit norm."""

    def provenance(self) -> dict[str, Any]:
        """Model, weights and versions, as stored beside class embeddings."""
