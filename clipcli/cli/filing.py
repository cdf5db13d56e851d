"""What `sort` and `tag` share: options, plans and what is left on the terminal, carrying out and undoing."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from clipcli.cli import console, options
from clipcli.cli.interrupts import Interrupted, StopOnSignal
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.inputs.predictions import PredictedImage
    from clipcli.output.filing.images import Left
    from clipcli.output.filing.journal import Journal, Record
    from clipcli.output.filing.runs import Run

_SHOWN_NAMES, _SHOWN_REASONS = 5, 8
_Plan = TypeVar("_Plan")

# --- Options -------------------------------------------------------------------------------------

Predictions = Annotated[
    str | None,
    typer.Argument(
        metavar="PREDICTIONS",
        help="The output of `clipcli classify`, in any format and layout, or corrections of it.",
        show_default=False,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        metavar="N",
        help="Only use labels with at least this score. An image that has none is unknown.",
        rich_help_panel=options.SCORES,
    ),
]
Apply = Annotated[
    bool,
    typer.Option(
        "--apply",
        help="Do it. Without this option you only see the plan, and nothing is changed.",
        rich_help_panel=options.RUN,
    ),
]
Undo = Annotated[
    Path | None,
    typer.Option(
        "--undo",
        metavar="JOURNAL",
        help="Undo the run that wrote this journal, whether it was completed or interrupted."
        " What has changed since is left alone, and named.",
        rich_help_panel=options.RUN,
    ),
]


def check_options(predictions: str | None, undo: Path | None, others: bool, min_score: float | None) -> None:
    """See that there is either a table of predictions or a journal, and that the score can be one.

    Args:
        predictions: the table.
        undo: the journal.
        others: whether there are options that do not go with a journal.
        min_score: the least score.

    Raises:
        UsageError: it is not so.
    """
    from clipcli.inputs.tables.parted import is_parted

    if undo is not None and (predictions is not None or others):
        raise UsageError("`undo` goes without predictions and their options", "The journal knows them all.")
    if undo is None and predictions is None:
        raise UsageError("no predictions given", "Name the output of `clipcli classify`.")
    if predictions is not None and not (Path(predictions).is_file() or is_parted(predictions)):
        raise UsageError(f"no such file: {predictions}", "Name the output of `clipcli classify`.")
    if min_score is not None and not -1 <= min_score <= 1:
        raise UsageError(f"`min_score` must be a number from -1 to 1, not {min_score:g}")


# --- A run ---------------------------------------------------------------------------------------


class Job(ABC, Generic[_Plan]):
    """One command that changes files.

    Args:
        command: its name.
        predictions: the table.
        folder: where its journals lie.
        chosen: the options, a dataclass.
    """

    def __init__(self, command: str, predictions: str, folder: Path, chosen: Any) -> None:
        self.command, self.predictions, self.folder, self.chosen = command, predictions, folder, chosen

    @abstractmethod
    def planned(self, images: Iterable[PredictedImage], earlier: Sequence[Journal]) -> _Plan:
        """The plan for these images, after earlier runs."""

    @abstractmethod
    def tell(self, plan: _Plan) -> list[Left]:
        """Show the plan; returns what it leaves."""

    @abstractmethod
    def begin(self, asked: Record, plan: _Plan) -> Journal | None:
        """The journal of a run by this plan; None if there is nothing to do."""

    @abstractmethod
    def run(self, journal: Journal) -> Run:
        """Its steps."""

    @abstractmethod
    def summary(self, done: int, count: int) -> str:
        """What has been done, for so many images out of so many."""

    @contextlib.contextmanager
    def in_folder(self) -> Iterator[None]:
        """Keep other runs away."""
        from clipcli.output.filing import journal as journals

        with journals.locked(self.folder):
            yield

    def show(self) -> list[Left]:
        """Show what would be done; returns what would be left."""
        if (journal := self._interrupted(self._asked())) is None:
            left = self.tell(self._planned())
            console.note("this is the plan, and nothing has been changed; --apply does it")
            return left
        done = sum(journal.has(number, "done") for number in range(len(journal.steps)))
        console.note(f"interrupted after {done} of {len(journal.steps)} images: {journal.path}")
        console.note("nothing has been changed now; --apply completes it")
        return []

    def apply(self) -> list[Left]:
        """Do it, or complete what an interrupted run has left; returns what was left."""
        asked = self._asked()
        with self.in_folder():
            journal, left = self._interrupted(asked), list["Left"]()
            if journal is None:
                plan = self._planned()
                left = self.tell(plan)
                journal = self.begin(asked, plan)
            return left + (self._carried_out(journal) if journal else [])

    def _carried_out(self, journal: Journal) -> list[Left]:
        from clipcli.output.filing.runs import carry_out

        undo = f"clipcli {self.command} --undo {journal.path}"
        console.note(f"journal: {journal.path}")
        to_go_on = f"run the same command again to go on, or undo it: {undo}"
        left = _consumed(carry_out(self.run(journal)), len(journal.steps), to_go_on)
        tell_left(left)
        console.tell(self.summary(len(journal.steps) - len(left), len(journal.steps)))
        console.tell(f"to undo it: {undo}")
        return left

    def _asked(self) -> Record:
        """What an interrupted run must have been asked for to be completed."""
        from clipcli.inputs.tables.parted import is_parted, parts_of
        from clipcli.output.filing.placing import digest_of

        path = os.path.realpath(self.predictions)
        digests = map(digest_of, parts_of(path) if is_parted(path) else [path])
        return {"predictions": path, "sha256": " ".join(digests), **asdict(self.chosen)}

    def _interrupted(self, asked: Record) -> Journal | None:
        from clipcli.output.filing import journal as journals

        return journals.unfinished(journals.journals(self.folder, self.command), asked)

    def _planned(self) -> _Plan:
        from clipcli.output.filing import journal as journals

        earlier = journals.journals(self.folder, self.command)
        return self.planned(self._images(), earlier)

    def _images(self) -> Iterator[PredictedImage]:
        """The images of the table, with paths that start at the working directory."""
        from clipcli.inputs.predictions import located, read_predictions

        for image in read_predictions(self.predictions):
            yield replace(image, image=located(image.image, self.predictions))


def undone(journal: Journal, run: Run) -> list[Left]:
    """Undo a run; returns what was left as it is.

    Raises:
        UsageError: a run is at work beside the journal.
        typer.Exit: the undo was interrupted.
        OutputError: the disk is full, or the journal cannot be written.
    """
    from clipcli.output.filing.journal import locked
    from clipcli.output.filing.runs import take_back

    count = len(journal.steps)
    with locked(journal.path.parent):
        left = _consumed(take_back(run), count, "run it again to undo the rest")
    tell_left(left, "left as they are")
    kept = f"; the journal is kept: {journal.path}" if left else ", and removed the journal"
    console.tell(f"undid {count - len(left)} of {count} steps{kept}")
    return left


def _consumed(steps: Iterator[Left | None], count: int, how_to_go_on: str) -> list[Left]:
    """Let the steps of a run happen, with a bar; returns what was left.

    Raises:
        typer.Exit: the run was interrupted, after a note that says how to go on.
    """
    from clipcli.cli import progress

    left: list[Left] = []
    try:
        with StopOnSignal() as stop, progress.tracked(steps, lambda: count) as tracked:
            for one in tracked:
                left += [one] if one else []
                stop.check()
    except (Interrupted, KeyboardInterrupt) as error:
        console.note(f"{str(error) or 'interrupted'}: {how_to_go_on}")
        code = error.exit_code if isinstance(error, Interrupted) else console.INTERRUPTED
        raise typer.Exit(code) from None
    return left


# --- What is told --------------------------------------------------------------------------------


def tell_left(left: Sequence[Left], how: str = "left where they are") -> None:
    """Say why images are left, with the names of some, the most frequent reason first."""
    names: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for one in left:
        names[one.is_problem, one.reason].append(one.image)
        console.record(f"left: {one.image}: {one.reason}")
    reasons = sorted(names, key=lambda key: (-key[0], -len(names[key])))
    for is_problem, reason in reasons[:_SHOWN_REASONS]:
        images = names[is_problem, reason]
        console.tell(f"{len(images)} {how}: {reason}: {some(images)}", warning=is_problem)
    if more := len(reasons) - _SHOWN_REASONS:
        console.tell(f"others are left for {more} further reasons", warning=True) if more > 0 else None


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many there are besides."""
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def leave(left: Iterable[Left], allow_failures: bool) -> None:
    """Exit with the code for failures if there are some.

    Raises:
        typer.Exit: there are.
    """
    if any(one.is_problem for one in left) and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)
