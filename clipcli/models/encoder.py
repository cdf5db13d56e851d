"""open_clip behind the `Encoder` seam: pixels and texts in, unit-norm features out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from clipcli.cache import default_folder
from clipcli.choices import Activation, Precision
from clipcli.libraries import tokenizer_libraries, tower_libraries
from clipcli.models.build import build_model, build_tokenizer
from clipcli.models.devices import DTYPES, resolve_devices, resolve_precision
from clipcli.models.locate import ModelFiles
from clipcli.models.optimize import int8
from clipcli.models.optimize.cls_token import read_class_token_only
from clipcli.models.optimize.fuse_batchnorm import fuse_batch_norms
from clipcli.models.pool import Pool
from clipcli.models.replica import Replica, fastest_batch_size
from clipcli.models.text_tower import tokenize, unknown_texts
from clipcli.records import Float32Array, Preprocess, Uint8Array
from clipcli.version import __version__

_LEAST_BATCH = 32  # images on a CPU
_BATCHES = (32, 512)  # smallest and largest that are tried on a GPU


class OpenClipEncoder:
    """An open_clip model, ready to encode, with a replica on each of its devices.

    Args:
        files: from `clipcli.models.locate.locate`.
        device: as in `clipcli.models.request.ModelRequest`.
        precision: as there.
        folder: where int8 towers are kept; None is the user's cache folder.

    Raises:
        UsageError: the device is not there, int8 is asked of a GPU or its extra is not installed.
        WeightsDamagedError: the weights are truncated, unsafe to load, or of another architecture.
        ModelError: the image tower cannot run in int8.
    """

    def __init__(
        self,
        files: ModelFiles,
        device: str = "auto",
        precision: Precision = "auto",
        folder: Path | None = None,
    ) -> None:
        self.files = files
        first, *others = resolve_devices(device)
        self.precision = resolve_precision(precision, first)
        model = build_model(files)
        self.logit_scale = float(model.logit_scale.detach().exp())  # read before it is rounded to bf16
        self.logit_bias = None if model.logit_bias is None else float(model.logit_bias.detach())
        self.parameters = sum(parameter.numel() for parameter in model.parameters())  # of both towers
        self.tokenizer = build_tokenizer(files)
        tower = self._optimized(model, folder or default_folder())

        def replica(model: Any, device: torch.device) -> Replica:
            return Replica(model, device, self.precision, files.preprocess, tower)

        copies = [replica(copy.deepcopy(model), device) for device in others]
        self._pool = Pool([replica(model, first), *copies])

    def _optimized(self, model: Any, folder: Path) -> int8.Int8Tower | None:
        """Bring the model to its precision and make it faster; returns the int8 tower, if there is one."""
        read_class_token_only(model.visual)
        if self.precision == "int8":  # made from the tower in fp32; ONNX Runtime fuses by itself
            tower = int8.load(model, self.preprocess.size, self.fingerprint, folder)
            model.visual.to(device="meta")  # frees the weights that it replaces
            return tower
        model.visual = fuse_batch_norms(model.visual, self.preprocess.size)
        model.to(dtype=DTYPES[self.precision])
        return None

    # --- What the Encoder protocol asks for -------------------------------------------------

    @property
    def name(self) -> str:
        """The model as a user would name it."""
        return self.files.spec.name

    @property
    def fingerprint(self) -> str:
        """Identity of weights, configuration and preprocessing."""
        return self.files.fingerprint

    @property
    def cache_key(self) -> str:
        """The fingerprint with what else changes the bits of image features."""
        libraries = tower_libraries(self.precision)
        return f"{self.fingerprint}-{self.precision}-{self._replica.device.type}-{libraries}"

    @property
    def text_key(self) -> str:
        """The same for text features; CLIP's own tokenizer comes with open_clip, and is always the same."""
        digest = self.files.tokenizer_digest
        return f"{self.cache_key}-{digest}-{tokenizer_libraries()}" if digest else self.cache_key

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of each replica."""
        return tuple(str(replica.device) for replica in self.replicas)

    @property
    def preprocess(self) -> Preprocess:
        """The model's own recipe for pixels."""
        return self.files.preprocess

    @property
    def activation(self) -> Activation:
        """A learned bias means that the model was trained with a sigmoid loss."""
        return "softmax" if self.logit_bias is None else "sigmoid"

    def provenance(self) -> dict[str, Any]:
        """Model, weights and versions, as stored beside class embeddings."""
        return {
            "model": self.name,
            "model_name": self.files.spec.model_name,
            "pretrained": self.files.spec.pretrained,
            "weights_sha256": self.files.sha256,
            "preprocess": self.preprocess.__dict__,
            "precision": self.precision,
            "clipcli": __version__,
            "open_clip": open_clip.__version__,
            "torch": torch.__version__,
        }

    @cached_property
    def batch_size(self) -> int:
        """Images per batch: groups for all cores; on a GPU as many as still make it faster, measured once."""
        if self._replica.device.type == "cpu":
            for_all = self._replica.image_group_size * torch.get_num_threads()
            return -(-_LEAST_BATCH // for_all) * for_all
        return fastest_batch_size(self._replica.images_per_second, *_BATCHES)

    @property
    def in_flight(self) -> int:
        """Batches to encode at a time: one per device, and on a GPU one more that waits for its turn."""
        return len(self.replicas) * (2 if self._replica.device.type == "cuda" else 1)

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D) float32, unit norm; from several threads, on several devices.

        An image's features do not depend on the batch it is in: elsewhere than on a CPU up to rounding in
        the precision used; on a CPU to the bit, for which an image that is alone is filled up to a group, and
        takes one core.
        """
        if len(pixels) == 0:
            return np.empty((0, self.embed_dim), dtype=np.float32)
        with self._pool.least_used() as replica:
            return replica.encode_images(pixels)

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D) float32, unit norm. A text past the context length is cut, with a warning.

        Where that is exact, texts are run at the length that they need, so that a text's features depend on
        the text alone and not on what it is encoded with.
        """
        tokens = tokenize(self.tokenizer, texts)
        lengths = self._replica.needed_lengths(tokens)
        features = np.empty((len(texts), self.embed_dim), dtype=np.float32)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            features[rows] = self._replica.encode_tokens(tokens[rows, :length])
        return features

    def unknown_texts(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts of which the model knows no token."""
        embedding = getattr(getattr(self.model, "text", self.model), "token_embedding", None)
        return unknown_texts(self.tokenizer, texts, None if embedding is None else embedding.weight)

    # --- Replicas ---------------------------------------------------------------------------

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """One for each device."""
        return self._pool.workers

    @property
    def _replica(self) -> Replica:
        """The first, which encodes the texts."""
        return self.replicas[0]

    @property
    def model(self) -> Any:
        """The open_clip model of the first replica."""
        return self._replica.model

    # --- What `models info` shows -----------------------------------------------------------

    @property
    def embed_dim(self) -> int:
        """D, the width of the shared space."""
        return int(self.files.model_cfg["embed_dim"])

    @property
    def context_length(self) -> int:
        """Tokens a text may have."""
        return int(self.tokenizer.context_length)

    @property
    def quick_gelu(self) -> bool:
        """Whether the towers were built with QuickGELU."""
        return any(type(module).__name__ == "QuickGELU" for module in self.model.modules())
