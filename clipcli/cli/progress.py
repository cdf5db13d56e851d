"""How far a run is, and what it did, on stderr."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from clipcli.cli import console
from clipcli.cli.left_out import first_pages, told
from clipcli.errors import ClipcliError
from clipcli.output.counts import Counts

if TYPE_CHECKING:
    from clipcli.inputs.left_out import LeftOut
    from clipcli.records import ImageFailure
    from clipcli.train.data import ReadReport
    from clipcli.train.loop import EpochReport, StepReport
    from clipcli.train.validation import Metrics

_T = TypeVar("_T")

_SHOWN_FAILURES = 5
_SHOWN_LABELS = 5


@contextlib.contextmanager
def working(what: str, shown: bool = True) -> Iterator[None]:
    """On a terminal, say what takes its time, until it is done."""
    if not shown or not console.shows_progress():
        yield
        return
    from rich.text import Text

    with console.stderr().status(Text(console.visible(what))):
        yield


@contextlib.contextmanager
def polled(report: Callable[[], str], seconds: float) -> Iterator[None]:
    """Say how far a run is that goes on elsewhere: on a terminal every so often, otherwise once a minute.

    Args:
        report: says it.
        seconds: between two looks.
    """
    with EveryMinute(report):
        if not console.shows_progress():
            yield
            return
        from rich.text import Text

        over = threading.Event()
        with console.stderr().status(Text("running")) as status:

            def show() -> None:
                while not over.wait(seconds):
                    status.update(Text(console.visible(report())))

            threading.Thread(target=show, name="progress", daemon=True).start()
            try:
                yield
            finally:
                over.set()


class EveryMinute:
    """A context in which a line says how far the run is, once a minute: for logs, and without a terminal.

    Args:
        report: says it, or an empty text where there is nothing to say.
    """

    seconds: ClassVar[float] = 60

    def __init__(self, report: Callable[[], str]) -> None:
        self._report = report
        self._over = threading.Event()

    def __enter__(self) -> EveryMinute:
        if console.reports_progress():
            threading.Thread(target=self._run, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self.seconds):
            if message := self._report():
                console.tell_progress(message)


class _Position:
    """How far a run is, as a line of text.

    Args:
        count: finds the number of images; None where it cannot be known.
    """

    def __init__(self, count: Callable[[], int] | None) -> None:
        self.done = 0
        self.total: int | None = None
        self._count = count
        self._before = (0, time.perf_counter())

    def __call__(self) -> str:
        done, now = self.done, time.perf_counter()
        before, then = self._before
        self._before = (done, now)
        rate = (done - before) / (now - then)
        line = f"{done}{self._of_total()} images, {rate:.1f} images/s"
        left = (self.total - done) / rate if self.total and rate else 0
        return f"{line}, about {duration(left)} left" if left > 0 else line

    def _of_total(self) -> str:
        """Counted when it is first asked for: a short run needs no total."""
        if self._count is not None:
            count, self._count = self._count, None
            with contextlib.suppress(ClipcliError):  # the run itself meets it too, and tells it
                self.total = count()
        return f" of {self.total}" if self.total else ""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours and minutes, as one says them."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextlib.contextmanager
def tracked(
    outcomes: Iterable[_T], count: Callable[[], int] | None, shows_rows: bool = False
) -> Iterator[Iterable[_T]]:
    """Pass outcomes on and show how far they are, images/s and the time left.

    On a terminal this is a bar, elsewhere a line once a minute.

    Args:
        outcomes: of the run, one for each image.
        count: finds the number of images in the background; None where it cannot be known.
        shows_rows: whether rows go to the terminal: they show how far the run is, and a bar would not.
    """
    position = _Position(count)
    with EveryMinute(position):
        if shows_rows or not console.shows_progress():
            yield _counted(outcomes, position)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=console.stderr(), transient=True) as bar:
            task = bar.add_task("images", total=None, rate="")
            if count is not None:
                threading.Thread(target=_set_total, args=(bar, task, count), daemon=True).start()
            yield _advancing(_counted(outcomes, position), bar, task)


def _counted(outcomes: Iterable[_T], position: _Position) -> Iterator[_T]:
    for outcome in outcomes:
        position.done += 1
        yield outcome


def _set_total(bar: Any, task: Any, count: Callable[[], int]) -> None:
    with contextlib.suppress(ClipcliError):  # the run itself meets it too, and tells it
        bar.update(task, total=count())


def _advancing(outcomes: Iterable[_T], bar: Any, task: Any) -> Iterator[_T]:
    start = time.perf_counter()
    for done, outcome in enumerate(outcomes, 1):
        yield outcome
        bar.update(task, completed=done, rate=f"{done / (time.perf_counter() - start):.1f} images/s")


def counted(made: Iterable[_T], count: int, what: str = "thumbnails") -> Iterator[_T]:
    """Pass on what is being made and show how far it is: a bar on a terminal, elsewhere a line once a minute.

    Args:
        made: one by one.
        count: how many there will be.
        what: they are, as the bar says it.
    """
    done = 0
    with EveryMinute(lambda: f"{what}: {done} of {count}"), contextlib.ExitStack() as stack:
        bar = task = None
        if console.shows_progress():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            bar = stack.enter_context(Progress(*columns, console=console.stderr(), transient=True))
            task = bar.add_task(what, total=count)
        for done, one in enumerate(made, 1):
            yield one
            if bar is not None and task is not None:
                bar.update(task, completed=done)


class Summary(Counts):
    """Counts what a run did, names its first failures as they happen, and tells the whole at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.start = self.begun = time.perf_counter()

    def __enter__(self) -> Summary:
        self.begun = time.perf_counter()
        return self

    def tell(self, failure: ImageFailure) -> None:
        """Name an image that could not be read: the first ones on the terminal, all of them in the log."""
        if self.failed <= _SHOWN_FAILURES:
            console.warn(f"{failure.image}: {failure.reason}")
        else:
            console.record(f"failed: {failure.image}: {failure.reason}")
        if self.failed == _SHOWN_FAILURES:
            console.note("more failures are listed only in the error column")

    def print(self, output: str, left_out: LeftOut | None = None) -> None:
        """Images, failures by reason, speed, the most frequent labels, and where the output is.

        Args:
            output: the files that were written.
            left_out: what folders held and was not taken.
        """
        console.tell(self._counts())
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
            console.tell(f"{self.failed} failed: {reasons}", warning=True)
        labels = ", ".join(f"{label} {count}" for label, count in self.labels.most_common(_SHOWN_LABELS))
        if labels:
            more = len(self.labels) - _SHOWN_LABELS
            console.tell(f"labels: {labels}" + (f" and {more} more" if more > 0 else ""))
        if self.unknown:
            console.tell(f"{self.unknown} unknown: the best label does not reach a threshold")
        if left_out is not None and (others := told(left_out)):
            console.tell(others)
        if left_out is not None and (note := first_pages(left_out)):
            console.tell(note)
        if output:
            console.tell(f"wrote {output}")

    def _counts(self) -> str:
        """How many images were known and how many new, and how fast the new ones were."""
        now = time.perf_counter()
        new = self.images - self.failed - self.known
        parts = [f"{self.known} known from the cache"] if self.known else []
        parts.append(f"{new} new at {new / (now - self.begun):.1f} images/s" if new else "0 new")
        return (
            f"{self.images} image{'s' * (self.images != 1)} in {now - self.start:.1f} s: {', '.join(parts)}"
        )


class TrainingProgress:
    """Shows a training: on a terminal images read, then steps, loss, images/s and time left; elsewhere the
    same once a minute; anywhere, a line per epoch.
    """

    def __init__(self) -> None:
        self.failed = 0
        self._bar: Any = None
        self._line = ""
        self._reports = EveryMinute(lambda: self._line)

    def __enter__(self) -> TrainingProgress:
        self._reports.__enter__()
        if console.shows_progress():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            what, figures = TextColumn("{task.description}"), TextColumn("{task.fields[figures]}")
            columns = (what, BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
            self._bar = Progress(*columns, console=console.stderr(), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._reports.__exit__()
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
        else:
            measured = f": {metrics(report.metrics)}" if report.metrics else ""
            console.tell(f"epoch {report.epoch} of {report.epochs}{measured}")

    def _show(self, what: str, done: int, total: int, figures: str = "") -> None:
        """Move the bar; for other work a new one, whose speed is its own."""
        self._line = f"{what}: {done} of {total}" + (f", {figures}" if figures else "")
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
