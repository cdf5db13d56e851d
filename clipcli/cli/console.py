"""What the user sees on stderr and in the log, and the one place where errors become text and exit codes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from clipcli.errors import ClipcliError, ClipcliWarning
from clipcli.remote.addresses import without_secrets
from clipcli.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import typer
    from rich.console import Console

_FLAGS = {"exact": "--exact-decode", "on_gpu": "--gpu-decode"}
"""The flags of fields that are called otherwise on the command line; the others differ by dashes only."""

_FIELDS = (
    *(
        "batch_size",
        "captions",
        "query",
        "classes",
        "compare_classes",
        "compare_models",
        "compare_templates",
        "classifier",
        "concept",
    ),
    *(
        "coverage",
        "device",
        "exclude",
        "fit",
        "from_file",
        "image_column",
        "include",
        "into",
        "keep",
        "label",
    ),
    *("outliers", "prior", "reject", "reject_below", "reject_on", "reject_rate", "weight_by", "weight_on"),
    *("labels", "max_pixels", "min_margin", "min_precision", "min_score", "model", "precision", "pretrained"),
    *(
        "roll_up",
        "score",
        "seed",
        "templates",
        "top_k",
        "truncated",
        "truth",
        "truth_column",
        "no_words",
        "seeds",
        "shots",
        "undo",
        "workers",
        *_FLAGS,
    ),
    *("like", "near_duplicates", "within"),
    *("all_frames", "archives", "every", "frames", "pages", "per_video", "prefer"),
)

INTERRUPTED = 130
FINISHED_WITH_FAILURES = 3
"""The exit code of a run in which images could not be read."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_BIDIRECTIONAL = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_OBEYED = {code: f"\\x{code:02x}" for code in _CONTROLS} | {code: f"\\u{code:04x}" for code in _BIDIRECTIONAL}


class PassedOn(Exception):
    """What Typer or rich would end the program for by itself, with an exit code of its own.

    Args:
        error: what was raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


# --- Messages ------------------------------------------------------------------------------------


class _Settings:
    """How much is told, and where: one command runs in a process."""

    quiet = False
    verbose = False
    log: int | None = None  # a descriptor: a line reaches the file at once, and whole


def begin(quiet: bool, verbose: bool, log: Path | None) -> None:
    """Set how much is told from now on.

    Args:
        quiet: leave progress and the summary out on stderr.
        verbose: tell details there too.
        log: the file to which all messages are appended, with their times; it is never quiet.

    Raises:
        OutputError: the log cannot be written.
    """
    _Settings.quiet, _Settings.verbose = quiet, verbose
    if log is not None:
        from clipcli.files import write_errors

        with write_errors(log):
            _Settings.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        record(f"clipcli {__version__}: {' '.join(sys.argv[1:])}")


def _end(code: int) -> None:
    record(f"exit code {code}")
    if _Settings.log is not None:
        os.close(_Settings.log)
    _Settings.quiet, _Settings.verbose, _Settings.log = False, False, None


@lru_cache
def stderr() -> Console:
    """The console for progress, notes and errors."""
    from rich.console import Console

    class Messages(Console):
        def on_broken_pipe(self) -> None:
            """Nobody reads the messages any more; rich would end the program."""
            self.quiet = True

    return Messages(stderr=True, highlight=False, soft_wrap=True)


def shows_progress() -> bool:
    """Whether there is a terminal on which a bar can move."""
    return not _Settings.quiet and stderr().is_terminal


def reports_progress() -> bool:
    """Whether progress is told in lines: there is a log, or no terminal."""
    return _Settings.log is not None or not (_Settings.quiet or stderr().is_terminal)


def note(message: str) -> None:
    """Tell something that needs no action, but must be read."""
    record(message)
    _show(message)


def tell(message: str, warning: bool = False) -> None:
    """Tell how a run goes: not on stderr if the user wants quiet."""
    if not _Settings.quiet:
        (warn if warning else note)(message)
    else:
        record(f"{'warning: ' * warning}{message}")


def tell_progress(message: str) -> None:
    """Tell how far a run is, with the time; not on a terminal, which has a bar."""
    record(message)
    if not _Settings.quiet and not stderr().is_terminal:
        _show(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}")


def detail(message: str) -> None:
    """Tell what only a user who asks for details wants to know."""
    record(message)
    if _Settings.verbose:
        _show(message)


def warn(message: str) -> None:
    """Tell something that the user may want to act on."""
    record(f"warning: {message}")
    _show(message, "warning: ", "yellow")


def record(message: str) -> None:
    """Append a line with the present time to the log, if there is one."""
    if _Settings.log is not None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} {visible(without_secrets(message))}\n"
        with contextlib.suppress(OSError):  # a full disk must not end the run
            os.write(_Settings.log, line.encode())


def _show(message: str, label: str = "", style: str = "") -> None:
    """Print on stderr; if that is not possible, the run goes on."""
    from rich.text import Text

    with contextlib.suppress(OSError):
        stderr().print(Text.assemble((label, style), visible(without_secrets(message))))


def visible(text: str) -> str:
    """What a terminal would obey, or turn around, instead of showing it: as an escape such as \\x1b."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.translate(_OBEYED)


def with_flags(message: str) -> str:
    """A message about fields of the API as the command line says it: `top_k` is --top-k there."""
    field = f"`({'|'.join(_FIELDS)})`"
    return re.sub(field, lambda match: _FLAGS.get(match[1], f"--{match[1].replace('_', '-')}"), message)


# --- Errors --------------------------------------------------------------------------------------


def run(app: typer.Typer) -> NoReturn:
    """Run the application and exit with its code."""
    code = 1
    try:
        code = _code_of(app)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        raise
    finally:
        _settle_output()
        _end(code)
    sys.exit(code)


def _code_of(app: typer.Typer) -> int:
    _route_warnings()
    try:
        code = app(prog_name="clipcli", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error.error if isinstance(error, PassedOn) else error)
    return code if isinstance(code, int) else 0


def _failed(error: BaseException) -> int:
    """Tell what went wrong; returns the exit code."""
    from clipcli.cli import mistakes

    if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
        return 0
    if os.environ.get("CLIPCLI_DEBUG"):
        raise error
    if isinstance(error, ClipcliError):
        return _told(with_flags(error.message), with_flags(error.hint), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return _told("interrupted", "", INTERRUPTED)
    if (mistake := mistakes.explained(error)) is not None:
        return _told(*mistake)
    if isinstance(error, PermissionError) and error.filename:
        return _told(f"{os.fsdecode(error.filename)}: {error.strerror}", "", 1)
    hint = "This is a bug. Run again with CLIPCLI_DEBUG=1 and report what it prints."
    return _told(f"{type(error).__name__}: {error}", hint, 1)


def _told(message: str, hint: str, code: int) -> int:
    if message:
        record(f"error: {message}")
        _show(message, "error: ", "bold red")
    if hint:
        note(hint)
    return code


def _settle_output() -> None:
    """Write what is left of output and messages; what cannot be written was told, or nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ClipcliError, PassedOn):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _route_warnings() -> None:
    """Our own warnings become lines on stderr; those of libraries are noise to a user."""
    if os.environ.get("CLIPCLI_DEBUG"):
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", ClipcliWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: warn(with_flags(str(message)))
