"""What the user sees on stderr, and the one place where errors become text and exit codes."""

from __future__ import annotations

import os
import re
import sys
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from clipcli.errors import ClipcliError, ClipcliWarning

if TYPE_CHECKING:
    import typer
    from rich.console import Console

_FLAGS = {"exact": "--exact-decode", "on_gpu": "--gpu-decode"}
"""The flags of fields that are called otherwise on the command line; the others differ by dashes only."""

_FIELDS = (
    *("batch_size", "classes", "device", "exclude", "from_file", "image_column", "include", "keep", "label"),
    *("labels", "max_pixels", "min_margin", "min_score", "model", "precision", "pretrained", "score"),
    *("templates", "top_k", "truncated", "workers", *_FLAGS),
)
_FIELD = re.compile(f"`({'|'.join(_FIELDS)})`")

INTERRUPTED = 130
FINISHED_WITH_FAILURES = 3
"""The exit code of a run in which images could not be read."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_BIDIRECTIONAL = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_OBEYED = {code: f"\\x{code:02x}" for code in _CONTROLS} | {code: f"\\u{code:04x}" for code in _BIDIRECTIONAL}


@lru_cache
def stderr() -> Console:
    """The console for progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Tell something that needs no action."""
    stderr().print(visible(message), markup=False)


def warn(message: str) -> None:
    """Tell something that the user may want to act on."""
    stderr().print(f"[yellow]warning:[/] {escaped(message)}")


def visible(text: str) -> str:
    """What a terminal would obey, or turn around, instead of showing it: as an escape such as \\x1b."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.translate(_OBEYED)


def with_flags(message: str) -> str:
    """A message about fields of the API as the command line says it: `top_k` is --top-k there."""
    return _FIELD.sub(lambda match: _FLAGS.get(match[1], f"--{match[1].replace('_', '-')}"), message)


def escaped(text: str) -> str:
    """A text that is shown as it is: neither the terminal nor rich's markup finds anything to obey."""
    from rich.markup import escape

    return escape(visible(text))


# --- Errors --------------------------------------------------------------------------------------


def run(app: typer.Typer) -> NoReturn:
    """Run the application and exit with its code."""
    _route_warnings()
    try:
        app()
    except ClipcliError as error:
        _fail(error, with_flags(error.message), with_flags(error.hint), error.exit_code)
    except KeyboardInterrupt as error:
        _fail(error, "interrupted", "", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush to
        sys.exit(0)
    except Exception as error:
        hint = "This is a bug. Run again with CLIPCLI_DEBUG=1 and report what it prints."
        _fail(error, f"{type(error).__name__}: {error}", hint, 1)
    sys.exit(0)


def _fail(error: BaseException, message: str, hint: str, code: int) -> NoReturn:
    if os.environ.get("CLIPCLI_DEBUG"):
        raise error
    stderr().print(f"[bold red]error:[/] {escaped(message)}")
    if hint:
        note(hint)
    sys.exit(code)


def _route_warnings() -> None:
    """Our own warnings become lines on stderr; those of libraries are noise to a user."""
    if os.environ.get("CLIPCLI_DEBUG"):
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", ClipcliWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: warn(with_flags(str(message)))
