"""Building open_clip's models and tokenizers, with weights that are never random by accident."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer
from torch.overrides import TorchFunctionMode

from clipcli.errors import ModelError, WeightsDamagedError
from clipcli.models.hub import digest_in_cache, sha256_of
from clipcli.models.locate import ModelFiles
from clipcli.models.memory import is_out_of_memory


def build_model(files: ModelFiles) -> Any:
    """Build the architecture and load the weights; random weights are impossible.

    Raises:
        WeightsDamagedError: the weights are truncated, unsafe to load, or of another architecture.
        ModelError: the architecture cannot be built here, or the weights are of a kind that cannot be loaded.
    """
    _verify(files)
    with _ParametersToBeLoaded(), torch.device("cpu"):
        model = _built(files)
    try:
        with _root_logger_unchanged():
            open_clip.load_checkpoint(model, str(files.weights), strict=True, weights_only=True)
    except Warning:  # of a library, in a host that has made warnings errors
        raise
    except Exception as error:
        raise _loading_failure(files, error) from error
    return model.eval()


def build_random(files: ModelFiles, seed: int) -> Any:
    """Build the architecture of a configuration with random weights, the same for the same seed.

    Raises:
        ModelError: open_clip cannot build it.
    """
    torch.manual_seed(seed)
    return _built(files)


def _built(files: ModelFiles) -> Any:
    try:
        return _architecture(files)
    except Warning:
        raise
    except Exception as error:
        raise _building_failure(files, error) from error


def _architecture(files: ModelFiles) -> Any:
    """The model of a configuration, as `open_clip.create_model` chooses and builds it.

    That function itself would take the configuration from open_clip's registry or a folder only, and gives
    the host's root logger a handler.
    """
    model_cfg = copy.deepcopy(files.model_cfg)
    vision_cfg, text_cfg = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    custom_text = model_cfg.pop("custom_text", False) or "hf_model_name" in text_cfg
    if "timm_model_name" in vision_cfg:
        vision_cfg["timm_model_pretrained"] = False
        if vision_cfg["timm_model_name"].startswith("clipcli_"):  # a network that timm does not have
            import clipcli.models.two_trunks  # noqa: F401
    if files.text_tower is not None:
        text_cfg |= {"hf_model_name": str(files.text_tower), "hf_model_pretrained": False}
    custom = open_clip.CoCa if "multimodal_cfg" in model_cfg else open_clip.CustomTextCLIP
    return (custom if custom_text else open_clip.CLIP)(**model_cfg)


class _ParametersToBeLoaded(TorchFunctionMode):
    """In this thread, create parameters without drawing their values, which a checkpoint then replaces.

    For ViT-B-32 drawing would be most of the loading time. Loading is strict: a parameter that the checkpoint
    lacks is an error, never left undefined. What is no parameter, such as a mask, is computed as always.
    Random numbers for it come from a generator of its own, so that those of the host go on as if no model
    had been built.
    """

    _DRAWN = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"})
    _FITTED = frozenset(
        {"erfinv_", "mul_", "add_", "div_", "clamp_"}
    )  # how a normal distribution is truncated
    _NEW = frozenset({"rand", "randn"})

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        filled = args[0] if args else kwargs.get("tensor")
        if name in self._DRAWN | self._FITTED and isinstance(filled, torch.nn.Parameter):
            return filled
        if name in self._DRAWN | self._NEW:
            kwargs = {"generator": self._generator, **kwargs}
        return func(*args, **kwargs)


@contextlib.contextmanager
def _root_logger_unchanged() -> Iterator[None]:
    """Take back the handler that `logging.info`, by which open_clip tells what it resizes, may add."""
    had_handlers = bool(logging.root.handlers)
    try:
        yield
    finally:
        for handler in () if had_handlers else tuple(logging.root.handlers):
            logging.root.removeHandler(handler)


def _verify(files: ModelFiles) -> None:
    """Compare weights from the hub with their digest there: a flipped bit would be a wrong answer."""
    expected = digest_in_cache(files.weights)
    found = sha256_of(files.weights) if expected else expected
    if found != expected:
        raise WeightsDamagedError(
            f"{files.weights} is damaged: its SHA-256 is {found}, and should be {expected}", _mended(files)
        )


# --- What went wrong -----------------------------------------------------------------------------


def _building_failure(files: ModelFiles, error: Exception) -> ModelError:
    """Why an architecture was not built; the weights have not been touched yet."""
    return _failure_of_machine(files, error) or ModelError(
        f"{files.spec.name} cannot be built: {_in_a_line(error)}",
        "Its configuration may be damaged, or made for other versions of open_clip, timm or transformers.",
    )


def _loading_failure(files: ModelFiles, error: Exception) -> ModelError:
    """Why weights were not loaded. They are called damaged only if nothing else explains it."""
    text, weights = str(error), files.weights
    if found := _failure_of_machine(files, error):
        return found
    if "TorchScript" in text:
        return ModelError(
            f"{weights} is a TorchScript file, which open_clip cannot load as weights",
            "Save the state dict of the model instead, best as .safetensors.",
        )
    if "Weights only load failed" in text or "UnpicklingError" in type(error).__name__:
        return WeightsDamagedError(
            f"{weights} was not loaded: it is damaged, or a pickle that would run code",
            "Use a .safetensors file, or weights saved as a plain state dict.",
        )
    if "state_dict" in text or "size mismatch" in text:
        return WeightsDamagedError(
            f"{weights} does not fit {files.spec.model_name}: {_in_a_line(error)}",
            "Is it another architecture?",
        )
    return WeightsDamagedError(f"{weights} is damaged: {_in_a_line(error)}", _mended(files))


def _mended(files: ModelFiles) -> str:
    from_hub = files.spec.source in ("hf-hub", "pretrained")
    return f"`clipcli models pull {files.spec.name}` mends it." if from_hub else "Copy or save it again."


def _failure_of_machine(files: ModelFiles, error: Exception) -> ModelError | None:
    """What is missing on this machine: memory, a library, a disk; None if it is nothing of that kind."""
    name, text = files.spec.name, str(error)
    if is_out_of_memory(error):
        return ModelError(
            f"not enough memory to load {name}, whose weights are {_size(files.weights)}",
            "Close other programs, or choose a smaller model: `clipcli models list` shows their sizes.",
        )
    if isinstance(error, ImportError):
        missing = error.name or text
        return ModelError(f"{name} needs {missing}, which cannot be imported", f"pip install {missing}")
    if "No usable temporary directory" in text:
        return ModelError(
            f"{name} was not loaded: no folder for temporary files can be written",
            "Name one that can in the variable TMPDIR.",
        )
    if isinstance(error, OSError) and error.errno is not None:
        about = f"{error.filename}: " if error.filename else ""
        return ModelError(f"{name} was not loaded: {about}{error.strerror or text}")
    return None


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e9:.1f} GB" if path.is_file() else "not there"


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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
        return HFTokenizer(str(files.tokenizer), tokenizer_mode=mode, **arguments)
    except Exception as error:
        raise ModelError(
            f"the tokenizer in {files.tokenizer} cannot be loaded: {_in_a_line(error)}"
        ) from error
