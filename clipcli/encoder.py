"""open_clip behind the `Encoder` seam: pixels and texts in, unit-norm features out.

With `quick_import.py`, `int8.py` and the modules of training (`train.py` and what it imports), the only one
that imports torch.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast
from unittest import mock

from clipcli.quick_import import load_hf_towers, open_clip  # before anything else imports open_clip

# isort: split
import numpy as np
import numpy.typing as npt
import torch
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer, text_global_pool

from clipcli import __version__, int8
from clipcli.cache import default_folder
from clipcli.errors import ClipcliWarning, ModelError, UsageError, WeightsDamagedError
from clipcli.hub import digest_in_cache, sha256_of
from clipcli.models import ModelFiles
from clipcli.records import Activation, Float32Array, Preprocess, Uint8Array
from clipcli.silence import quiet

TokenArray: TypeAlias = npt.NDArray[np.int64]
Rows = TypeVar("Rows", Uint8Array, TokenArray)
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]

_DTYPES = {  # of torch's tensors; in int8, ONNX Runtime takes over where the image tower begins
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,
}
_TEXTS_AT_ONCE = 32
_LENGTH_STEP = 8  # texts are grouped by length rounded up to this, see encode_texts
_LARGE_TOWER = 8_000_000  # weights of an image tower for which few images keep a CPU busy, see _in_groups


class OpenClipEncoder:
    """An open_clip model, ready to encode.

    Args:
        files: from `clipcli.models.locate`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
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
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.model = build_model(files)
        self.logit_scale = float(self.model.logit_scale.detach().exp())  # read before it is rounded to bf16
        self.logit_bias = None if self.model.logit_bias is None else float(self.model.logit_bias.detach())
        self.model.to(device=self.device, dtype=_DTYPES[self.precision])
        self.tokenizer = build_tokenizer(files)
        self._int8_tower = self._load_int8(folder or default_folder()) if self.precision == "int8" else None
        self.batch_size = 32 if self.device.type == "cpu" else 128
        self.largest_group = sys.maxsize  # until the device runs out of memory

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

    def encode_images(self, pixels: Uint8Array) -> Float32Array:
        """(N, H, W, 3) uint8 -> (N, D) float32, unit norm.

        An image's features do not depend on the batch it is in: on a CPU to the bit for most
        models, elsewhere up to rounding in the precision used.
        """
        if self._int8_tower is not None:
            return self._encode_in_int8(pixels, self._int8_tower)
        at_once = self._images_at_once if self.device.type == "cpu" else len(pixels)
        return self._in_groups(pixels, self._encode_pixels, at_once)

    def encode_texts(self, texts: Sequence[str]) -> Float32Array:
        """M texts -> (M, D) float32, unit norm. A text past the context length is cut, with a warning.

        Texts are run at their real length, rounded up to a multiple of 8, so that a text's features
        depend on the text alone and not on what it is encoded with.
        """
        tokens = self._tokenize(texts)
        features = np.empty((len(texts), self.embed_dim), dtype=np.float32)
        lengths = self._lengths(tokens)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            features[rows] = self._in_groups(tokens[rows, :length], self._encode_tokens, _TEXTS_AT_ONCE)
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

    @property
    def parameters(self) -> int:
        """Number of weights of both towers."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    # --- Batches ----------------------------------------------------------------------------

    def _in_groups(self, rows: Rows, encode: Callable[[Rows], torch.Tensor], at_once: int) -> Float32Array:
        """Encode rows (N, ...) a group at a time -> (N, D) float32, unit norm.

        Matrix kernels of CPUs are chosen by the number of rows, and sum in another order each. So that
        a row gets the same bits whatever it is encoded with, every group on a CPU is filled up to the
        same size. (With several threads, SigLIP's pooling still differs in the last bit.)
        """
        features = np.empty((len(rows), self.embed_dim), dtype=np.float32)
        start, at_once = 0, min(at_once, self.largest_group)
        while start < len(rows):
            group = rows[start : start + at_once]
            missing = at_once - len(group) if self.device.type == "cpu" else 0
            filled = np.concatenate([group, np.repeat(group[-1:], missing, axis=0)]) if missing else group
            try:
                with torch.inference_mode():
                    encoded = torch.nn.functional.normalize(encode(filled).float(), dim=-1)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error) or at_once == 1:
                    raise
                at_once = self._halve(at_once)
                continue
            features[start : start + len(group)] = encoded[: len(group)].cpu().numpy()
            start += len(group)
        return features

    @cached_property
    def _images_at_once(self) -> int:
        """In a group on a CPU: as few as keep it busy, because groups are filled up."""
        weights = sum(weight.numel() for weight in self.model.visual.parameters())
        return 8 if weights > _LARGE_TOWER else 32

    def _halve(self, at_once: int) -> int:
        """A smaller group after the device ran out of memory, for the rest of the run."""
        self.largest_group = at_once // 2
        message = f"out of memory on {self.device}; going on with batches of {self.largest_group}"
        warnings.warn(message, ClipcliWarning, stacklevel=2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.largest_group

    # --- Images -----------------------------------------------------------------------------

    def _encode_pixels(self, pixels: Uint8Array) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2)
        return cast(torch.Tensor, self.model.encode_image(self._normalized(batch)))

    def _normalized(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) uint8 -> normalised, in the model's precision; arithmetic as torchvision's in fp32."""
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.preprocess.mean, device=self.device).view(shape)
        std = torch.tensor(self.preprocess.std, device=self.device).view(shape)
        return batch.float().div_(255).sub_(mean).div_(std).to(_DTYPES[self.precision])

    def _load_int8(self, folder: Path) -> int8.Int8Tower:
        tower = int8.load(self.model, self.preprocess.size, self.fingerprint, folder)
        self.model.visual.to(device="meta")  # frees the weights that it replaces
        return tower

    def _encode_in_int8(self, pixels: Uint8Array, tower: int8.Int8Tower) -> Float32Array:
        if not len(pixels):
            return np.empty((0, self.embed_dim), dtype=np.float32)
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        features = torch.from_numpy(tower(self._normalized(batch).contiguous().numpy()))
        return cast(Float32Array, torch.nn.functional.normalize(features, dim=-1).numpy())

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
        """(M,) columns that each text needs: its own, in steps of 8, where cutting the padding is exact."""
        full = tokens.shape[1]
        if self._causal_tower is None:
            return np.full(len(tokens), full)
        used = full - np.argmax(tokens[:, ::-1] != self._pad_id, axis=1)
        return np.asarray(np.minimum(-(-used // _LENGTH_STEP) * _LENGTH_STEP, full))

    @cached_property
    def _causal_tower(self) -> Any:
        return causal_tower(self.model)

    def _encode_tokens(self, tokens: TokenArray) -> torch.Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(tokens)).to(self.device)
        if self._causal_tower is None or batch.shape[1] == self.context_length:
            return cast(torch.Tensor, self.model.encode_text(batch))
        return encode_short_texts(self._causal_tower, batch)


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own class; CPU and MPS allocators a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error) for part in ("out of memory", "can't allocate memory")
    )


def pad_id(tokenizer: Any) -> int:
    """The token that fills a text up to the context length."""
    inner = getattr(tokenizer, "tokenizer", None)
    return 0 if inner is None else int(inner.pad_token_id)


def causal_tower(model: Any) -> Any:
    """The text tower if padding cannot reach the result: causal, and pooled at the end-of-text token."""
    tower = getattr(model, "text", model)
    is_clip = isinstance(model, open_clip.CLIP) or type(tower) is TextTransformer
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    return tower if is_clip and causal and pool in ("argmax", "eos", "first") else None


def encode_short_texts(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L) token ids -> (M, D), for L below the context length.

    The steps are those of open_clip's `encode_text`, with positions and causal mask cut to L.
    A causal token never looks at what follows it, so the result is the same.
    """
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)  # (M, L, W)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    x = text_global_pool(
        x, tokens, pool, eos_token_id=getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
    )
    projection = tower.text_projection
    if projection is not None:
        x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
    return cast(torch.Tensor, x)


# --- Building ------------------------------------------------------------------------------------


def resolve_device(device: str) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU.

    Raises:
        UsageError: no such device on this machine.
    """
    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", "Use auto, cpu, cuda, cuda:0 or mps.") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (resolved.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(resolved.type, False):
        raise UsageError(f"this machine has no device {device!r}", "Use --device auto or cpu.")
    return resolved


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """`auto` is bf16 where the hardware has it natively, fp16 on other GPUs, else fp32; never int8.

    Raises:
        UsageError: int8 on another device than a CPU.
    """
    if precision == "int8" and device.type != "cpu":
        raise UsageError(f"int8 is for CPUs, not for {device}", "Use --device cpu, or --precision auto.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp16"
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"


def build_model(files: ModelFiles) -> Any:
    """Build the architecture and load the weights; random weights are impossible.

    Raises:
        WeightsDamagedError: the weights are truncated, unsafe to load, or of another architecture.
    """
    try:
        _verify(files.weights)
        with quiet(), _no_initialisation():
            model = open_clip.create_model(
                _register(files),
                pretrained=str(files.weights),
                require_pretrained=True,
                weights_only=True,
            )
    except Exception as error:
        raise WeightsDamagedError(*_build_failure(files, error)) from error
    return model.eval()


def build_random(files: ModelFiles, seed: int) -> Any:
    """Build the architecture of a configuration with random weights, the same for the same seed.

    Raises:
        ModelError: open_clip cannot build it.
    """
    torch.manual_seed(seed)
    try:
        with quiet():
            return open_clip.create_model(_register(files), load_weights=False, pretrained_text=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{files.spec.name} cannot be built: {reason}") from error


def _verify(weights: Path) -> None:
    """Compare weights from the hub with their digest there: a flipped bit would be a wrong answer."""
    expected = digest_in_cache(weights)
    found = sha256_of(weights) if expected else expected
    if found != expected:
        raise ValueError(f"its SHA-256 is {found}, and should be {expected}")


def _register(files: ModelFiles) -> str:
    """Make the configuration, wherever it comes from, known to open_clip under a name of its own."""
    if files.model_cfg["text_cfg"].get("hf_model_name"):
        load_hf_towers()
    name = f"clipcli-{files.fingerprint}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.json")
        path.write_text(json.dumps(files.model_cfg), encoding="utf-8")
        open_clip.add_model_config(path)
    return name


def _build_failure(files: ModelFiles, error: Exception) -> tuple[str, str]:
    text = str(error)
    if "Weights only load failed" in text or "UnpicklingError" in type(error).__name__:
        return (
            f"{files.weights} was not loaded: it is damaged, or a pickle that would run code",
            "Use a .safetensors file, or weights saved as a plain state dict.",
        )
    reason = " ".join(text.split())[:200] or type(error).__name__
    if "state_dict" in text or "size mismatch" in text:
        return (
            f"{files.weights} does not fit {files.spec.model_name}: {reason}",
            "Is it another architecture?",
        )
    from_hub = files.spec.source in ("hf-hub", "pretrained")
    again = f"`clipcli models pull {files.spec.name}` mends it." if from_hub else "Copy or save it again."
    return f"{files.weights} is damaged: {reason}", again


def build_tokenizer(files: ModelFiles) -> Any:
    """CLIP's own tokenizer, or that of Hugging Face which the text tower names.

    Raises:
        ModelError: its files cannot be loaded.
    """
    text_cfg = files.model_cfg["text_cfg"]
    arguments = {"context_length": text_cfg.get("context_length", 77), **text_cfg.get("tokenizer_kwargs", {})}
    if files.tokenizer is None:
        return open_clip.SimpleTokenizer(**arguments)
    try:
        mode = text_cfg.get("tokenizer_mode")
        with quiet():
            return HFTokenizer(str(files.tokenizer), tokenizer_mode=mode, **arguments)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the tokenizer in {files.tokenizer} cannot be loaded: {reason}") from error


@contextlib.contextmanager
def _no_initialisation() -> Iterator[None]:
    """Do not draw random weights that the checkpoint replaces; for ViT-B-32 that is most of the loading time.

    Loading is strict: a weight that the checkpoint lacks is an error, never left undefined.
    """
    with contextlib.ExitStack() as stack:
        for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"):
            stack.enter_context(mock.patch.object(torch.nn.init, name, lambda tensor, *_, **__: tensor))
        yield
