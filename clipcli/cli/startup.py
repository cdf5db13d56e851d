"""What makes the `clipcli` command start faster and keeps libraries quiet, in the command's own process only.

`import open_clip` takes about twice as long as this program needs. torchvision and timm import torch's
compiler only to mark functions that the compiler should skip, and open_clip imports transformers for text
towers that few models have and for writing captions, which this program does not do. torch offers no way to
leave its compiler out, so while open_clip is imported, and only then, two modules are replaced by stand-ins
whose functions import the real module when they are called.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing it takes 10 ms
    from importlib.abc import Loader, MetaPathFinder
else:
    Loader = MetaPathFinder = object

_COMPILER, _HF_TOWERS = "torch._dynamo.utils", "open_clip.hf_model"


def prepare() -> None:
    """Make the first `import open_clip` of this process a fast one, and drop the log lines of libraries.

    Call it in the command's own process, and nowhere else: it changes how modules are imported.
    """
    sys.meta_path.insert(0, _OpenClipFinder())
    if not os.environ.get("CLIPCLI_DEBUG"):
        logging.disable(logging.ERROR)


def lift_pillow_limit() -> None:
    """Switch Pillow's own limit off, in favour of `DecodeOptions.max_pixels`."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None


class _OpenClipFinder(MetaPathFinder):
    """Finds open_clip with the other finders, and lets it be loaded with shortcuts."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "open_clip":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _OpenClipLoader(spec.loader, self)
        return spec


class _OpenClipLoader(Loader):
    """Loads open_clip with another loader, which is the module's loader from then on."""

    def __init__(self, loader: Loader, finder: MetaPathFinder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        sys.meta_path.remove(self._finder)
        with contextlib.ExitStack() as shortcuts:
            shortcuts.enter_context(_no_garbage_collection())
            shortcuts.enter_context(_in_place_of(_COMPILER, _StandIn(_COMPILER)))
            shortcuts.enter_context(_no_compiler_marks())
            if "transformers" not in sys.modules:
                shortcuts.enter_context(_in_place_of(_HF_TOWERS, _StandIn(_HF_TOWERS)))
                shortcuts.enter_context(_in_place_of("transformers", None))  # CoCa's writing of captions
            self._loader.exec_module(module)


class _StandIn(ModuleType):
    """A module whose functions import the real one when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def real(*args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **kwargs)

        return real


@contextlib.contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Iterator[None]:
    """Have another module imported under this name, unless the real one was imported before.

    None: importing it fails, as if it were not installed.
    """
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
def _no_compiler_marks() -> Iterator[None]:
    """Let `torch.compiler.disable`, which imports the compiler, return functions as they are."""
    compiler: Any = importlib.import_module("torch.compiler")

    def unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
        return unmarked if function is None else function

    original = compiler.disable
    compiler.disable = unmarked
    try:
        yield
    finally:
        compiler.disable = original


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Imports create many objects and no garbage; looking for it takes a sixth of their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
