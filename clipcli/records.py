"""The records that pass between the stages, and the seams: `Item`, `Encoder` and `BatchDecoder`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from clipcli.choices import Activation, Status

if TYPE_CHECKING:
    from PIL import Image

Float32Array: TypeAlias = npt.NDArray[np.float32]
Uint8Array: TypeAlias = npt.NDArray[np.uint8]
Value: TypeAlias = str | int | float | bool | datetime | date | None
"""One cell of a table: of the user's, or of the output."""
Columns: TypeAlias = Mapping[str, Value]
"""The cells of the user's table that belong to an image, by the names of their columns."""
NO_COLUMNS: Columns = {}


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


class Version(NamedTuple):
    """Identifies an item's content without reading it: equal versions mean equal content.

    `name` identifies the item on this machine or anywhere (an absolute path, a URL, an archive and its
    member); `token` changes when its content does (size, times and inode of a file, an ETag, a checksum).
    """

    name: bytes
    token: str


class Item(Protocol):
    """What one outcome is about: an image that can be read, wherever it lies."""

    kind: ClassVar[str]
    """Where it lies: "file", "in memory", …"""

    @property
    def name(self) -> str:
        """What the output calls it: a path, a URL, `scans.zip!/a.png`, `array 17`."""

    @property
    def columns(self) -> Columns:
        """Cells of the user's table that travel to the output."""

    @property
    def truth(self) -> str | None:
        """Its true label, where that is known."""

    def version(self) -> Version | None:
        """Its present version, or None where only reading it can show that."""

    def read(self) -> bytes | Image.Image:
        """An encoded image, or one that is decoded already.

        Raises:
            ImageError: it cannot be read.
        """


def is_remote(item: object) -> bool:
    """Whether an item says that it lies on a network: then it is read before it is decoded, among many."""
    return getattr(item, "is_remote", False)


class Prediction(NamedTuple):
    """One label of one image. `rank` starts at 1; `cosine` is the similarity before scale and softmax."""

    image: str
    rank: int
    label: str
    score: float
    cosine: float


class LabelGroup(NamedTuple):
    """The group of a label, below those that it lies in (`living thing|animal`), and the group's score."""

    name: str
    score: float


class ImagePredictions(NamedTuple):
    """The ranked predictions of one image, best first, and its scores (C,) in class order.

    `known` tells whether its features were in the cache. `status` is `unknown` if the best label does not
    reach a threshold of the run; the labels are the ranked ones all the same. `margin` is the distance from
    the best to the second score, None where there is one class only. `label_set` holds the labels that are
    probable enough, best first, if the classifier makes such sets. `groups` are those of the predictions, in
    the same order, None for a label without one; empty if the classifier has no groups. In a run that rolls
    up, the first prediction may be a group itself. `reject_score` is the lower, the less an image looks like
    any label, if the classifier has a rejector.
    """

    image: str
    predictions: tuple[Prediction, ...]
    scores: Float32Array
    columns: Columns = NO_COLUMNS
    truth: str | None = None
    known: bool = False
    status: Status = "ok"
    margin: float | None = None
    label_set: tuple[str, ...] | None = None
    groups: tuple[LabelGroup | None, ...] = ()
    reject_score: float | None = None

    def of_item(self, item: Item, known: bool) -> ImagePredictions:
        """The same with what the item brings along; there is one for each image, and `_replace` is slow."""
        return ImagePredictions._make((*self[:3], item.columns, item.truth, known, *self[6:]))


class ImageFailure(NamedTuple):
    """An image that could not be read, and why."""

    image: str
    reason: str
    columns: Columns = NO_COLUMNS
    truth: str | None = None

    @property
    def status(self) -> Literal["error"]:
        """What the output has where predictions are `ok` or `unknown`."""
        return "error"


class ImageFeatures(NamedTuple):
    """The features (D,) of one image, of unit norm; `known` tells whether they were in the cache."""

    image: str
    features: Float32Array
    columns: Columns = NO_COLUMNS
    truth: str | None = None
    known: bool = False


class Hit(NamedTuple):
    """An image that a search found. `rank` starts at 1.

    `score` is the cosine of image and query; `relative` how far it is above that of a neutral text.
    """

    query: str
    rank: int
    image: str
    score: float
    relative: float
    columns: Columns = NO_COLUMNS


class Duplicate(NamedTuple):
    """An image of a group of near-equal ones; `group` starts at 1.

    `score` is its cosine to the first image of the group.
    """

    group: int
    image: str
    score: float
    columns: Columns = NO_COLUMNS


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
        """The fingerprint with what else changes the bits of image features: precision, device, libraries."""

    @property
    def text_key(self) -> str:
        """The same for text features: with the tokenizer."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Where the model runs: `("cpu",)`, or `("cuda:0", "cuda:1")` for a replica on each of two GPUs."""

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
        """Images per batch that suit the device."""

    @property
    def in_flight(self) -> int:
        """Batches that may be encoded at once, from as many threads; 1 where threads bring nothing."""

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D), unit norm."""

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D), unit norm."""

    def unknown_texts(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts of which the model knows no token, so that they say nothing to it."""

    def provenance(self) -> dict[str, Any]:
        """Model, weights and versions, as stored beside class embeddings."""


class BatchDecoder(Protocol):
    """Decodes JPEGs many at a time, as a GPU does; from several threads."""

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        """Each, in order, to (H, W, 3) uint8 sRGB as the model wants it; None for one that cannot be decoded.

        Raises:
            UsageError: what decodes is not installed.
        """
