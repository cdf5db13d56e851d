"""What the `clipcli` command sets up in its own process, and only there: streams, a home, a fast start.

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
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clipcli.cli.console import PassedOn
from clipcli.files import write_errors

if TYPE_CHECKING:  # importing it takes 10 ms
    from importlib.abc import Loader, MetaPathFinder
else:
    Loader = MetaPathFinder = object

TEMPORARY_HOME = "_CLIPCLI_TEMPORARY_HOME"
"""The environment variable that says where `find_home` has put the home folder."""
_COMPILER, _HF_TOWERS = "torch._dynamo.utils", "open_clip.hf_model"


def prepare() -> None:
    """Make the first `import open_clip` of this process a fast one, drop the log lines of libraries, and
    have standard streams and a home folder in any environment.

    Call it in the command's own process, and nowhere else: it changes how modules are imported.
    """
    open_closed_streams()
    prepare_output()
    find_home()
    sys.meta_path.insert(0, _OpenClipFinder())
    if not os.environ.get("CLIPCLI_DEBUG"):
        logging.disable(logging.ERROR)


# --- Streams and the home folder -----------------------------------------------------------------


def open_closed_streams() -> None:
    """Put something in the place of standard streams that are closed, so that no file takes their numbers.

    Nothing comes from standard input then, errors vanish, and writing to standard output is an error.
    """
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


class _Output(io.TextIOWrapper):
    """Standard output, whose errors are called so, and reach `console.run`."""

    def write(self, text: str) -> int:
        with _output_errors():
            return super().write(text)

    def flush(self) -> None:
        with _output_errors():
            super().flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        with write_errors("standard output"):
            yield
    except BrokenPipeError as error:
        raise PassedOn(error) from error


def prepare_output() -> None:
    """Data is UTF-8 whatever the locale; what a terminal cannot show is escaped there, as in \\u732b."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    encoding = sys.stdout.encoding
    if sys.stdout.isatty():
        sys.stdout = _Output(sys.stdout.detach(), encoding, "backslashreplace", line_buffering=True)
    else:
        sys.stdout = _Output(sys.stdout.detach(), "utf-8", "surrogateescape")
    vars(sys)["__stdout__"] = sys.stdout


def find_home() -> None:
    """Have a home folder if the system names none, as for a user whom it does not know: a temporary one."""
    if os.environ.get("HOME") or os.name == "nt" or os.path.expanduser("~") != "~":  # noqa: PTH111 (raises)
        return
    import tempfile

    os.environ["HOME"] = "/"
    with contextlib.suppress(OSError):
        home = Path(tempfile.gettempdir(), f"clipcli-{os.getuid()}")
        home.mkdir(mode=0o700, exist_ok=True)
        if home.lstat().st_uid == os.getuid():  # not one that somebody else has put there
            os.environ["HOME"] = os.environ[TEMPORARY_HOME] = str(home)


def lift_pillow_limit() -> None:
    """Switch Pillow's own limit off, in favour of `DecodeOptions.max_pixels`."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None


def prepare_hub_client(offline: bool) -> None:
    """Set what the hub's client reads when it is imported, which the images may ask for before the model."""
    from clipcli.cli import console

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if not console.stderr().is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


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
