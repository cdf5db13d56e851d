"""A model in training: which parts of it are trained, and features with gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import normalize

from clipcli.choices import Loss
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.models.build import build_model, build_random, build_tokenizer
from clipcli.models.devices import without_tf32
from clipcli.models.locate import ModelFiles
from clipcli.models.text_tower import causal_tower, encode_causal_texts, longest, token_counts
from clipcli.records import Uint8Array
from clipcli.train.losses import contrastive_loss, sigmoid_loss

MAX_SCALE = 100.0
"""The limit of the learned temperature in the softmax loss (CLIP paper, section 2.5)."""

_SIGLIP_SCALE, _SIGLIP_BIAS = 10.0, -10.0  # initial values in the SigLIP paper, section 3.2


class Trainable:
    """An open_clip model with fp32 weights that computes in `dtype`.

    Args:
        files: from `models.locate`, or `locate_config` for random weights.
        loss: `clip` (softmax), `siglip` (sigmoid), or `auto`: siglip for a model with a bias, else clip.
        seed: the seed of random weights.
        device: where it computes.
        dtype: bfloat16 or float32.

    Raises:
        ModelError: it cannot be built.
    """

    def __init__(
        self, files: ModelFiles, loss: Loss, seed: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.preprocess, self.device, self.dtype = files.preprocess, device, dtype
        self.model = build_random(files, seed) if files.spec.source == "config" else build_model(files)
        self.model_cfg = _match_loss(self.model, files.model_cfg, loss)
        self.model.to(device)
        self.tokenizer = build_tokenizer(files)
        self._causal = causal_tower(self.model)
        self._tokens: dict[str, torch.Tensor] = {}  # (L,) of each caption
        self._warned = False

    @property
    def scale(self) -> float:
        """The temperature, exponentiated."""
        return float(self.model.logit_scale.detach().exp())

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Keep the temperature within its limit; the sigmoid loss has none."""
        if self.model.logit_bias is None:
            self.model.logit_scale.clamp_(0, math.log(MAX_SCALE))

    def loss(self, images: torch.Tensor, texts: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
        """The fp32 loss of all features (N, D) of a step; `positive` (N, N) says which pairs are right."""
        scale = self.model.logit_scale.exp()
        if self.model.logit_bias is None:
            return contrastive_loss(images, texts, scale, positive)
        return sigmoid_loss(images, texts, scale, self.model.logit_bias, positive)

    def image_features(self, pixels: Uint8Array) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, D), fp32, unit norm."""
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.preprocess.mean, device=self.device).view(shape)
        std = torch.tensor(self.preprocess.std, device=self.device).view(shape)
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        batch = batch.float().div_(255).sub_(mean).div_(std)
        with self._autocast():
            features = self.model.encode_image(batch)
        return normalize(features.float(), dim=-1)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """M texts -> (M, D), fp32, unit norm.

        They are cut to the longest of them, where that does not change the result.
        """
        tokens = torch.stack([self._tokens_of(text) for text in texts]).to(self.device)  # (M, L)
        with self._autocast():
            if self._causal is None:
                features = self.model.encode_text(tokens)
            else:
                features = encode_causal_texts(self._causal, tokens[:, : longest(self._causal, tokens)])
        return normalize(features.float(), dim=-1)

    def exactly(self) -> AbstractContextManager[None]:
        """A context in which fp32 is fp32, backwards too: on CUDA GPUs torch would round to TF32."""
        fp32_on_cuda = self.device.type == "cuda" and self.dtype == torch.float32
        return without_tf32() if fp32_on_cuda else nullcontext()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def _tokens_of(self, text: str) -> torch.Tensor:
        if text not in self._tokens:
            self._tokens[text] = self.tokenizer([text])[0]
            self._warn_if_cut(text)
        return self._tokens[text]

    def _warn_if_cut(self, text: str) -> None:
        """Warn once, about the first caption that is longer than the context."""
        limit = int(self.tokenizer.context_length)
        if not self._warned and token_counts(self.tokenizer, [text])[0] > limit:
            message = f"captions longer than {limit} tokens are cut; the first is {text!r}"
            warnings.warn(message, ClipcliWarning, stacklevel=2)
            self._warned = True


def _match_loss(model: Any, model_cfg: dict[str, Any], loss: Loss) -> dict[str, Any]:
    """Add or remove the model's bias, as the loss requires; returns the configuration to save."""
    has_bias = model.logit_bias is not None
    if loss == "siglip" and not has_bias:
        model.logit_bias = torch.nn.Parameter(torch.full_like(model.logit_scale, _SIGLIP_BIAS))
        with torch.no_grad():
            model.logit_scale.fill_(math.log(_SIGLIP_SCALE))
        return model_cfg | {"init_logit_bias": _SIGLIP_BIAS}
    if loss == "clip" and has_bias:
        model.logit_bias = None
        return {key: value for key, value in model_cfg.items() if key != "init_logit_bias"}
    return model_cfg


# --- What is trained -----------------------------------------------------------------------------


def lock_towers(model: Any, image: bool, text: bool, unlocked_layers: int = 0) -> None:
    """Freeze towers; the temperature and the bias are always trained.

    Args:
        model: an open_clip model.
        image: freeze the image tower.
        text: freeze the text tower.
        unlocked_layers: train this many of the last layer groups of frozen towers after all. Groups are
            counted as in open_clip: the projection of its own towers is a group; that of an image tower from
            timm is not, and is trained with the last group.

    Raises:
        ModelError: open_clip cannot unlock layers of this tower.
    """
    if unlocked_layers:
        _lock_but_last(model, image, text, unlocked_layers)
        return
    for name, weight in model.named_parameters():
        locked = image if name.startswith("visual.") else text
        if locked and not name.startswith("logit_"):
            weight.requires_grad_(False)


def _lock_but_last(model: Any, image: bool, text: bool, unlocked_layers: int) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # open_clip imports timm by a deprecated path
            if image:
                model.lock_image_tower(unlocked_groups=unlocked_layers)
            if text:
                model.lock_text_tower(unlocked_layers=unlocked_layers)
    except Exception as error:
        raise ModelError(
            f"open_clip cannot unlock layers of this model: {error}", "Leave out --unlocked-layers."
        ) from error


def set_training(model: torch.nn.Module) -> None:
    """Training mode; entirely frozen modules keep their running statistics and have no dropout."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()
