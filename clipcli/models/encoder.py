"""open_clip behind the `Encoder` seam: pixels and texts in, unit-norm features out."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transformer import TextTransformer, text_global_pool

from clipcli.cache import default_folder
from clipcli.choices import Activation, Precision
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.models.build import build_model, build_tokenizer
from clipcli.models.devices import (
    Replica,
    fastest_batch_size,
    has_convolutions,
    resolve_devices,
    resolve_precision,
)
from clipcli.models.nvjpeg import decode_jpegs
from clipcli.models.optimize import int8
from clipcli.models.optimize.cls_token import has_plain_attention, one_token, read_class_token_only
from clipcli.models.optimize.fuse_batchnorm import fuse_batch_norms
from clipcli.models.registry import ModelFiles
from clipcli.records import Float32Array, Jpeg, Preprocess, Uint8Array
from clipcli.version import __version__

TokenArray: TypeAlias = npt.NDArray[np.int64]

_DTYPES = {  # of torch's tensors; in int8, ONNX Runtime takes over where the image tower begins
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,
}
_LENGTH_STEP = 4  # texts are grouped by length rounded up to this, see encode_texts
_LARGE_TOWER = 8_000_000  # weights of a tower for which few rows keep a core busy: groups are filled
_TOKENS_AT_ONCE = 190  # of a large image tower: with fewer a core is slower, with more hardly faster
_LEAST_BATCH = 32  # images on a CPU
_BATCHES = (32, 512)  # smallest and largest that are tried on a GPU


class OpenClipEncoder:
    """An open_clip model, ready to encode.

    Args:
        files: from `clipcli.models.registry.locate`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, or several such as `cuda:0,cuda:2`;
            `auto` and `cuda` are all GPUs of the machine that are of the first one's model.
        precision: `auto` is bf16 where the hardware has it natively, fp16 on other GPUs, else fp32;
            `int8` runs the image tower in 8 bits on a CPU, and texts in fp32.
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
        self.device, *others = resolve_devices(device)
        self.precision = resolve_precision(precision, self.device)
        self.model = build_model(files)
        self.logit_scale = float(self.model.logit_scale.detach().exp())  # read before it is rounded to bf16
        self.logit_bias = None if self.model.logit_bias is None else float(self.model.logit_bias.detach())
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())  # of both towers
        read_class_token_only(self.model.visual)
        if self.precision != "int8":  # which begins with the tower as it is, and folds by itself
            self.model.visual = fuse_batch_norms(self.model.visual, self.preprocess.size)
        self.model.to(dtype=_DTYPES[self.precision])
        self.tokenizer = build_tokenizer(files)
        self._int8_tower = self._load_int8(folder or default_folder()) if self.precision == "int8" else None
        self.replica, self._users, self._dealing = Replica(self.device), 0, threading.Lock()
        self.copies = tuple(self._copy_on(device) for device in others)
        self._place()

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
        """The fingerprint with what else changes a feature's bits: precision and kind of device."""
        return f"{self.fingerprint}-{self.precision}-{self.device.type}"

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
        """Images a batch: groups for all cores; on a GPU as many as still make it faster, measured once."""
        if self.device.type == "cpu":
            for_all = self._image_group_size * torch.get_num_threads()
            return -(-_LEAST_BATCH // for_all) * for_all
        return fastest_batch_size(self._images_per_second, *_BATCHES)

    @property
    def in_flight(self) -> int:
        """Batches to encode at once: one a device, and on a GPU one more that waits for its turn."""
        return (1 + len(self.copies)) * (2 if self.device.type == "cuda" else 1)

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D) float32, unit norm; from several threads, on several devices.

        An image's features do not depend on the batch it is in: elsewhere than on a CPU up to rounding in
        the precision used; on a CPU to the bit, for which an image that is alone is filled up to a group, and
        takes one core.
        """
        with self._least_used() as one:
            return one._encode_images(pixels)

    def decode_jpegs(self, jpegs: Sequence[Jpeg]) -> list[Uint8Array | None]:
        """Each to (H, W, 3) uint8 on the GPU that has least to do; None where that fails.

        Raises:
            UsageError: the model is not on a CUDA GPU, or TorchCodec is not installed.
        """
        if self.device.type != "cuda":
            raise UsageError(f"--gpu-decode needs a CUDA GPU; {self.name} runs on {self.device}")
        with self._least_used() as one:
            return decode_jpegs(jpegs, one.preprocess, one.device)

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D) float32, unit norm. A text past the context length is cut, with a warning.

        Texts are run at their real length, rounded up to a multiple of 4, so that a text's features
        depend on the text alone and not on what it is encoded with.
        """
        tokens = self._tokenize(texts)
        features = np.empty((len(texts), self.embed_dim), dtype=np.float32)
        lengths = self._lengths(tokens)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            features[rows] = self.replica.encode_in_groups(
                tokens[rows, :length], self._encode_tokens, self._text_group_size, self.embed_dim
            )
        return features

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

    # --- Devices ----------------------------------------------------------------------------

    def _copy_on(self, device: torch.device) -> OpenClipEncoder:
        """This encoder with a copy of its weights on another device."""
        other = copy.copy(self)
        other.device, other.replica, other.copies = device, Replica(device), ()
        other.model = copy.deepcopy(self.model)
        other._place()
        return other

    def _place(self) -> None:
        """Bring the weights to the device, in the layout of pixels where that is what convolutions like."""
        if self.device.type == "cpu":
            return  # where they are; pixels come in that layout there too, and weights in it bring nothing
        self.model.to(self.device)
        if has_convolutions(self.model.visual):
            self.model.visual.to(memory_format=torch.channels_last)

    @contextlib.contextmanager
    def _least_used(self) -> Iterator[OpenClipEncoder]:
        """This encoder or one of its copies, whichever has least to do."""
        with self._dealing:
            one = min((self, *self.copies), key=lambda encoder: encoder._users)
            one._users += 1
        try:
            yield one
        finally:
            with self._dealing:
                one._users -= 1

    @cached_property
    def _image_group_size(self) -> int:
        """In a group on a CPU: as few as keep a core busy, because groups are filled up."""
        return 1 if self._int8_tower else image_group_size(self.model.visual)

    def _images_per_second(self, batch_size: int) -> float:
        """Encode so many black images at once, the first time for nothing."""
        pixels = np.zeros((batch_size, *self.preprocess.size, 3), dtype=np.uint8)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            self.replica.encode(pixels, self._encode_pixels)
            seconds.append(time.perf_counter() - start)
        return batch_size / min(seconds[1:])

    # --- Images -----------------------------------------------------------------------------

    def _encode_images(self, pixels: Uint8Array) -> Float32Array:
        group_size = self._image_group_size if self.device.type == "cpu" else max(1, len(pixels))
        return self.replica.encode_in_groups(pixels, self._encode_pixels, group_size, self.embed_dim)

    def _encode_pixels(self, pixels: Uint8Array) -> torch.Tensor:
        batch = self._normalized(self.replica.put(pixels).permute(0, 3, 1, 2))
        if self._int8_tower is not None:
            return torch.from_numpy(self._int8_tower(batch.contiguous().numpy()))
        return cast(torch.Tensor, self.model.encode_image(batch))

    def _normalized(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) uint8 -> normalised, in the model's precision; arithmetic as torchvision's in fp32."""
        mean, std = self._mean_and_std
        return batch.float().div_(255).sub_(mean).div_(std).to(_DTYPES[self.precision])

    @cached_property
    def _mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, 3, 1, 1) each; on the device once, because a GPU is waited for while it gets them."""
        recipe = (self.preprocess.mean, self.preprocess.std)
        mean, std = (torch.tensor(values, device=self.device).view(1, 3, 1, 1) for values in recipe)
        return mean, std

    def _load_int8(self, folder: Path) -> int8.Int8Tower:
        tower = int8.load(self.model, self.preprocess.size, self.fingerprint, folder)
        self.model.visual.to(device="meta")  # frees the weights that it replaces
        return tower

    # --- Texts ------------------------------------------------------------------------------

    def _tokenize(self, texts: Sequence[str]) -> TokenArray:
        """(M, context_length) token ids; warns of each text that had to be cut."""
        if getattr(self.tokenizer, "tokenizer_mode", ""):  # its end token stands last, whatever the length
            return np.asarray(self.tokenizer(list(texts)).numpy())
        with_one_more = self.tokenizer(list(texts), context_length=self.context_length + 1).numpy()
        tokens = np.asarray(with_one_more[:, :-1])
        for index in np.flatnonzero(with_one_more[:, -1] != self._pad_id).tolist():
            tokens[index] = self.tokenizer([texts[index]])[0].numpy()
            warnings.warn(
                f"prompt longer than {self.context_length} tokens, its end is not seen: {texts[index]!r}",
                ClipcliWarning,
                stacklevel=3,
            )
        return tokens

    @property
    def _pad_id(self) -> int:
        return pad_id(self.tokenizer)

    def _lengths(self, tokens: TokenArray) -> TokenArray:
        """(M,) columns that each text needs: its own, in steps of 4, where cutting the padding is exact."""
        full = tokens.shape[1]
        if self._causal_tower is None:
            return np.full(len(tokens), full)
        used = full - np.argmax(tokens[:, ::-1] != self._pad_id, axis=1)
        return np.asarray(np.minimum(-(-used // _LENGTH_STEP) * _LENGTH_STEP, full))

    @cached_property
    def _causal_tower(self) -> Any:
        return causal_tower(self.model)

    @cached_property
    def _text_group_size(self) -> int:
        """In a group: on a CPU as few as keep a core busy, because groups are filled up."""
        if self.device.type != "cpu":
            return 256
        tower = getattr(self.model, "text", self.model)
        weights = sum(weight.numel() for weight in getattr(tower, "transformer", tower).parameters())
        return 8 if weights > _LARGE_TOWER else 16

    def _encode_tokens(self, tokens: TokenArray) -> torch.Tensor:
        batch = self.replica.put(tokens)
        if self._causal_tower is None:
            return cast(torch.Tensor, self.model.encode_text(batch))
        return encode_causal_texts(self._causal_tower, batch)


def pad_id(tokenizer: Any) -> int:
    """The token that fills a text up to the context length."""
    inner = getattr(tokenizer, "tokenizer", None)
    return 0 if inner is None else int(inner.pad_token_id)


def image_group_size(tower: torch.nn.Module) -> int:
    """How many images an image tower needs at once to keep a core busy: a power of two.

    The products of a vision transformer have a row for each patch of each image, so that large images want
    few at once.
    """
    if sum(weight.numel() for weight in tower.parameters()) <= _LARGE_TOWER:
        return 16
    positions = getattr(tower, "positional_embedding", None)  # (T, W)
    if positions is None:
        positions = getattr(getattr(tower, "trunk", None), "pos_embed", None)  # timm's (1, T, W)
    if not isinstance(positions, torch.Tensor) or positions.ndim > 3:
        return 4
    images = 1
    while images * positions.shape[-2] < _TOKENS_AT_ONCE:
        images *= 2
    return images


def causal_tower(model: Any) -> Any:
    """The text tower if padding cannot reach the result: causal, and pooled at the end-of-text token."""
    tower = getattr(model, "text", model)
    is_clip = isinstance(model, open_clip.CLIP) or type(tower) is TextTransformer
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    if not (is_clip and causal and pool in ("argmax", "eos", "first")):
        return None
    return tower if has_plain_attention(tower.transformer.resblocks[-1]) else None


def encode_causal_texts(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L) token ids -> (M, D), for L up to the context length.

    The steps are those of open_clip's `encode_text`, with positions and causal mask cut to L, and the last
    block for the token alone that is read. A token never looks at what follows it, so the result is the same.
    """
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)  # (M, L, W)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        x = block(x, attn_mask=tower.attn_mask[:length, :length])
    positions = torch.arange(length, device=tokens.device).expand_as(tokens)  # (M, L)
    unseen = positions > _read_token(tower, positions, tokens)[:, None]
    x = tower.ln_final(one_token(last, x, _read_token(tower, x, tokens)[:, None], unseen)[:, 0])  # (M, W)
    projection = tower.text_projection
    if projection is not None:
        x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
    return cast(torch.Tensor, x)


def _read_token(tower: Any, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L, ...) -> (M, ...), each row's value at the token that becomes its text's features."""
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    end = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
    return cast(torch.Tensor, text_global_pool(rows, tokens, pool, eos_token_id=end))
