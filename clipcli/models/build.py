"""Building open_clip's models and tokenizers, with weights that are never random by accident."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from clipcli.models.quick_import import load_hf_towers, open_clip  # before anything else imports open_clip

# isort: split
import torch
from open_clip.tokenizer import HFTokenizer

from clipcli.errors import ModelError, WeightsDamagedError
from clipcli.models.hub import digest_in_cache, sha256_of
from clipcli.models.locate import ModelFiles
from clipcli.models.silence import quiet


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
