"""What the user sees on stderr, and the one place where errors become text and exit codes."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from clipcli.errors import ClipcliError, ClipcliWarning

if TYPE_CHECKING:
    import typer
    from rich.console import Console

    from clipcli.records import ImageFailure, Outcome
    from clipcli.train.data import ReadReport
    from clipcli.train.loop import EpochReport, StepReport
    from clipcli.train.validation import Metrics

INTERRUPTED = 130
_SHOWN_FAILURES = 5
_SHOWN_LABELS = 5
_SHOWN_IMAGES = 60
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
    stderr().print(f"[yellow]warning:[/] {_escaped(message)}")


def visible(text: str) -> str:
    """What a terminal would obey, or turn around, instead of showing it: as an escape such as \\x1b."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.translate(_OBEYED)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(visible(text))


# --- Errors --------------------------------------------------------------------------------------


def run(app: typer.Typer) -> NoReturn:
    """Run the application and exit with its code."""
    _route_warnings()
    try:
        app()
    except ClipcliError as error:
        _fail(error, error.message, error.hint, error.exit_code)
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
    stderr().print(f"[bold red]error:[/] {_escaped(message)}")
    if hint:
        note(hint)
    sys.exit(code)


def _route_warnings() -> None:
    """Our own warnings become lines on stderr; those of libraries are noise to a user."""
    if os.environ.get("CLIPCLI_DEBUG"):
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", ClipcliWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: warn(str(message))


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: aligned on a terminal, CSV when piped."""
    if not sys.stdout.isatty():
        csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
        return
    from rich.console import Console
    from rich.table import Column, Table

    names, *others = columns
    table = Table(Column(names, no_wrap=True, overflow="fold"), *others, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(_escaped, row))
    Console(highlight=False).print(table)


# --- Progress and summary ------------------------------------------------------------------------


@contextlib.contextmanager
def working(what: str, shown: bool) -> Iterator[None]:
    """On a terminal, say what takes its time, until it is done."""
    if not shown or not stderr().is_terminal:
        yield
        return
    with stderr().status(_escaped(what)):
        yield


@contextlib.contextmanager
def progress(
    outcomes: Iterable[Outcome], count: Callable[[], int] | None, quiet: bool
) -> Iterator[Iterable[Outcome]]:
    """Pass outcomes on and, on a terminal, show how far they are, images/s and the time left.

    `count` finds out the total in the background; None where it cannot be known.
    """
    if quiet or not stderr().is_terminal:
        yield outcomes
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("images", total=None, rate="")
        if count is not None:
            threading.Thread(target=_set_total, args=(bar, task, count), daemon=True).start()
        yield _advancing(outcomes, bar, task)


def _set_total(bar: Any, task: Any, count: Callable[[], int]) -> None:
    with contextlib.suppress(ClipcliError):  # the run itself meets it too, and tells it
        bar.update(task, total=count())


def _advancing(outcomes: Iterable[Outcome], bar: Any, task: Any) -> Iterator[Outcome]:
    start = time.perf_counter()
    for done, outcome in enumerate(outcomes, 1):
        yield outcome
        bar.update(task, completed=done, rate=f"{done / (time.perf_counter() - start):.1f} images/s")


class Summary:
    """Counts what a run did, names its first failures as they happen, and tells the whole at the end."""

    def __init__(self) -> None:
        self.images = 0
        self.reasons: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.start = time.perf_counter()

    @property
    def failed(self) -> int:
        """Images that could not be read."""
        return self.reasons.total()

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        from clipcli.records import ImageFailure

        self.images += 1
        if isinstance(outcome, ImageFailure):
            self._add_failure(outcome)
        else:
            self.labels[outcome.predictions[0].label] += 1

    def _add_failure(self, failure: ImageFailure) -> None:
        self.reasons[failure.reason.partition(":")[0]] += 1
        if self.failed <= _SHOWN_FAILURES:
            warn(f"{failure.image}: {failure.reason}")
        if self.failed == _SHOWN_FAILURES:
            note("further failures are in the error column only")

    def print(self, output: str, quiet: bool) -> None:
        """Images, failures by reason, speed, the most frequent labels, and where the output is."""
        if quiet:
            return
        seconds = time.perf_counter() - self.start
        note(f"{self.images} images in {seconds:.1f} s, {self.images / seconds:.1f} images/s")
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
            warn(f"{self.failed} failed: {reasons}")
        labels = ", ".join(f"{label} {count}" for label, count in self.labels.most_common(_SHOWN_LABELS))
        if labels:
            more = len(self.labels) - _SHOWN_LABELS
            note(f"labels: {labels}" + (f" and {more} more" if more > 0 else ""))
        if output:
            note(f"wrote {output}")


class TrainingProgress:
    """Shows a training: on a terminal images read, then steps, loss, images/s and time left; anywhere, a
    line an epoch.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.failed = 0
        self._bar: Any = None

    def __enter__(self) -> TrainingProgress:
        if not self.quiet and stderr().is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            what, figures = TextColumn("{task.description}"), TextColumn("{task.fields[figures]}")
            columns = (what, BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
            self._bar = Progress(*columns, console=stderr(), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, report: ReadReport | StepReport | EpochReport | ImageFailure) -> None:
        """Show what happened."""
        from clipcli.records import ImageFailure
        from clipcli.train.data import ReadReport
        from clipcli.train.loop import StepReport

        if isinstance(report, ImageFailure):
            self.failed += 1
            if self.failed <= _SHOWN_FAILURES:
                warn(f"{report.image}: {report.reason}")
        elif isinstance(report, ReadReport):
            self._show("reading images", report.done, report.total)
        elif isinstance(report, StepReport):
            figures = f"loss {report.loss:.3f}, {report.images_per_second:.1f} images/s"
            self._show("training", report.step, report.steps, figures)
        elif not self.quiet:
            measured = f": {metrics(report.metrics)}" if report.metrics else ""
            note(f"epoch {report.epoch} of {report.epochs}{measured}")

    def _show(self, what: str, done: int, total: int, figures: str = "") -> None:
        """Move the bar; for other work a new one, whose speed is its own."""
        if self._bar is None:
            return
        tasks = {task.description: task.id for task in self._bar.tasks}
        if what not in tasks:
            for before in tasks.values():
                self._bar.remove_task(before)
            tasks[what] = self._bar.add_task(what, figures="")
        self._bar.update(tasks[what], completed=done, total=total, figures=figures)


def metrics(values: Metrics) -> str:
    """Validation metrics in a line."""
    return (
        f"top-1 {values.acc1:.1%}, image to text {values.image_to_text_r1:.1%} (first 5:"
        f" {values.image_to_text_r5:.1%}), text to image {values.text_to_image_r1:.1%}"
        f" (first 5: {values.text_to_image_r5:.1%})"
    )


class PredictionTable:
    """The first images of a run as a table on stdout."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k
        self.shown: list[Outcome] = []
        self.images = 0

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome while the table has room."""
        self.images += 1
        if len(self.shown) < _SHOWN_IMAGES:
            self.shown.append(outcome)

    def print(self) -> None:
        """Print the table, and how many images it leaves out."""
        from rich.console import Console
        from rich.table import Column, Table

        image = Column("image", no_wrap=True, overflow="fold")
        table = Table(image, *(f"{rank}." for rank in range(1, self.top_k + 1)), box=None, pad_edge=False)
        for outcome in self.shown:
            table.add_row(*map(_escaped, _cells(outcome)))
        Console(highlight=False).print(table)
        if self.images > len(self.shown):
            note(f"shown: {len(self.shown)} of {self.images} images; -o predictions.csv keeps them all")


def _cells(outcome: Outcome) -> list[str]:
    from clipcli.records import ImageFailure

    if isinstance(outcome, ImageFailure):
        return [outcome.image, "(failed)"]  # the reason is on stderr and in the file
    return [
        outcome.image,
        *(f"{prediction.label} {prediction.score:.3f}" for prediction in outcome.predictions),
    ]
