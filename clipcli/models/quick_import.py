"""open_clip, imported in half the time: `from clipcli.models.quick_import import open_clip`.

With it come torchvision and timm, which import torch's compiler only to ask whether it is there and to mark
functions that it shall leave alone, and transformers, which only a few text towers use. Nothing here
compiles, so neither is imported until it is needed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest import mock

__all__ = ["load_hf_towers", "open_clip"]

_COMPILER = "torch._dynamo.utils"


class _CompilerLater(ModuleType):
    """Stands for `torch._dynamo.utils`, which is imported once something of it is really used."""

    @staticmethod
    def is_compile_supported(device: str) -> Any:
        """What torchvision imports."""
        return importlib.import_module(_COMPILER).is_compile_supported(device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(_COMPILER, None)
        return getattr(importlib.import_module(_COMPILER), name)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """In place of `torch.compiler.disable`."""
    return _unmarked if function is None else function


@contextlib.contextmanager
def _standing_in(name: str, module: ModuleType | None) -> Iterator[None]:
    """Another module under a name that was not imported yet; None: as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Imports make many objects and no garbage; looking for it takes a sixth of their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


with _without_collection():
    import torch

    with (
        _standing_in(_COMPILER, _CompilerLater(_COMPILER)),
        _standing_in("transformers", None),
        mock.patch.object(torch.compiler, "disable", _unmarked),
    ):
        import open_clip


def load_hf_towers() -> None:
    """Let open_clip build text towers of transformers, too."""
    import open_clip.hf_model
    import open_clip.model

    if open_clip.hf_model.transformers is None:
        open_clip.model.HFTextEncoder = importlib.reload(open_clip.hf_model).HFTextEncoder
