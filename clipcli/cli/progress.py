"""How far a run is, and what it did, on stderr."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from clipcli.cli import console
from clipcli.errors import ClipcliError
from clipcli.output.consumers import Consumer

if TYPE_CHECKING:
    from clipcli.records import ImageFailure, Outcome
    from clipcli.train.data import ReadReport
    from clipcli.train.loop import EpochReport, StepReport
    from clipcli.train.validation import Metrics

_SHOWN_FAILURES = 5
_SHOWN_LABELS = 5


@contextlib.contextmanager
def working(what: str, shown: bool) -> Iterator[None]:
    """On a terminal, say what takes its time, until it is done."""
    if not shown or not console.stderr().is_terminal:
        yield
        return
    with console.stderr().status(console.escaped(what)):
        yield


@contextlib.contextmanager
def tracked(
    outcomes: Iterable[Outcome], count: Callable[[], int] | None, quiet: bool
) -> Iterator[Iterable[Outcome]]:
    """Pass outcomes on and, on a terminal, show how far they are, images/s and the time left.

    `count` finds out the total in the background; None where it cannot be known.
    """
    if quiet or not console.stderr().is_terminal:
        yield outcomes
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console.stderr(), transient=True) as bar:
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


class Summary(Consumer):
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
            console.warn(f"{failure.image}: {failure.reason}")
        if self.failed == _SHOWN_FAILURES:
            console.note("more failures are listed only in the error column")

    def print(self, output: str, quiet: bool) -> None:
        """Images, failures by reason, speed, the most frequent labels, and where the output is."""
        if quiet:
            return
        seconds = time.perf_counter() - self.start
        console.note(f"{self.images} images in {seconds:.1f} s, {self.images / seconds:.1f} images/s")
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
            console.warn(f"{self.failed} failed: {reasons}")
        labels = ", ".join(f"{label} {count}" for label, count in self.labels.most_common(_SHOWN_LABELS))
        if labels:
            more = len(self.labels) - _SHOWN_LABELS
            console.note(f"labels: {labels}" + (f" and {more} more" if more > 0 else ""))
        if output:
            console.note(f"wrote {output}")


class TrainingProgress:
    """Shows a training: on a terminal images read, then steps, loss, images/s and time left; anywhere, a
    line per epoch.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.failed = 0
        self._bar: Any = None

    def __enter__(self) -> TrainingProgress:
        if not self.quiet and console.stderr().is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            what, figures = TextColumn("{task.description}"), TextColumn("{task.fields[figures]}")
            columns = (what, BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
            self._bar = Progress(*columns, console=console.stderr(), transient=True)
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
                console.warn(f"{report.image}: {report.reason}")
        elif isinstance(report, ReadReport):
            self._show("reading images", report.done, report.total)
        elif isinstance(report, StepReport):
            figures = f"loss {report.loss:.3f}, {report.images_per_second:.1f} images/s"
            self._show("training", report.step, report.steps, figures)
        elif not self.quiet:
            measured = f": {metrics(report.metrics)}" if report.metrics else ""
            console.note(f"epoch {report.epoch} of {report.epochs}{measured}")

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
