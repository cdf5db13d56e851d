"""`clipcli sort`: images into folders by their labels, and back."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import console, filing, options
from clipcli.cli.grouped import grouped
from clipcli.cli.run_options import Messages
from clipcli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from clipcli.choices import SortMode
    from clipcli.inputs.predictions import PredictedImage
    from clipcli.output.filing.images import Left
    from clipcli.output.filing.journal import Journal, Record
    from clipcli.output.filing.runs import Run
    from clipcli.output.filing.sort_plan import SortPlan

_DONE = {"link": "linked", "hardlink": "hard-linked", "copy": "copied", "move": "moved"}


@grouped
def sort(
    predictions: filing.Predictions = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="DIR",
            help="The folder in which each label gets a folder. It is created if needed.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Make symbolic links to the images, which stay where they are. This is the default.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    hardlink: Annotated[
        bool,
        typer.Option(
            "--hardlink",
            help="Give the same files further names. Both must be on one file system.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the images.", rich_help_panel=options.OUTPUT)
    ] = False,
    move: Annotated[
        bool, typer.Option("--move", help="Move the images.", rich_help_panel=options.OUTPUT)
    ] = False,
    keep_tree: Annotated[
        bool,
        typer.Option(
            "--keep-tree",
            help="Keep the subfolders that the images lie in, below the folder of the label.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="Put images that could not be read into the folder _failed. Without it, they are left.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    min_score: filing.MinScore = None,
    apply: filing.Apply = False,
    undo: filing.Undo = None,
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Put images into folders by their labels: as links, copies, or by moving them.

    Each image goes into the folder of its best label. If the predictions have a column `group`, that folder
    is in a folder of the group. Unknown images go into the folder _unknown.

    You see the plan first: nothing is changed without `--apply`. No file is ever overwritten; if a name is
    taken, the image gets a number, as in `a (2).jpg`. Every step is written to a journal in DIR before it
    happens. Run an interrupted command again to complete it; `--undo` puts everything back.

    Exit codes: 0 all fine; 1 failed; 2 wrong usage; 3 some images are missing or could not be sorted;
    130 or 143 interrupted.

    Example: `clipcli sort predictions.csv --into sorted/ --move --apply`

    To take it back: `clipcli sort --undo sorted/clipcli-sort-1.jsonl`
    """
    messages.begin()
    mode = _mode({"link": link, "hardlink": hardlink, "copy": copy, "move": move})
    filing.check_options(predictions, undo, into is not None or apply, min_score)
    if undo is not None:
        filing.leave(_undone(undo), allow_failures)
        return
    if into is None:
        raise UsageError("no folder to sort into", "Name it with `into`.")
    from clipcli.output.filing.sort_plan import SortOptions

    chosen = SortOptions(mode, min_score, keep_tree, failed)
    job = _Sort("sort", str(predictions), Path(os.path.realpath(into)), chosen)
    filing.leave(job.apply() if apply else job.show(), allow_failures)


def _mode(flags: dict[SortMode, bool]) -> SortMode:
    chosen: list[SortMode] = [mode for mode, is_chosen in flags.items() if is_chosen]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "Choose one of them.")
    return chosen[0] if chosen else "link"


class _Sort(filing.Job["SortPlan"]):
    made = 0

    @contextlib.contextmanager
    def in_folder(self) -> Iterator[None]:
        """Make the folder for as long as it is needed, and keep other runs away."""
        from clipcli.output.filing import sorting

        self.made = sorting.make_folder(self.folder)
        try:
            with super().in_folder():
                yield
        finally:
            sorting.remove_empty(self.folder, self.made)

    def planned(self, images: Iterable[PredictedImage], earlier: Sequence[Journal]) -> SortPlan:
        """A place for each image."""
        from clipcli.output.filing.sort_plan import plan_sort

        return plan_sort(images, str(self.folder), self.chosen, earlier)

    def tell(self, plan: SortPlan) -> list[Left]:
        """Show the folders, and what is unusual.

        Raises:
            OutputError: the copies do not fit on the disk.
        """
        from clipcli.cli.tables import print_table

        if plan.counts:
            print_table(["folder", "images"], [[name, str(n)] for name, n in sorted(plan.counts.items())])
        new = len(plan.steps)
        what = f"{new} image{'s' * (new != 1)} to be {_DONE[self.chosen.mode]}"
        console.tell(f"{what} into {self.folder}, with {len(plan.folders)} new folders")
        for count, what in (
            (plan.already, "in their folder already"),
            (plan.renamed, "with a number, because another file has the name"),
            (plan.elsewhere, "that stay in another folder too, where an earlier run has put them"),
        ):
            console.tell(f"{count} {what}") if count else None
        renamed = [f"{one.label!r} becomes {one.folder!r}" for one in plan.names if one.is_renamed]
        if renamed:
            console.warn(f"labels that cannot name a folder as they are: {filing.some(renamed)}")
        filing.tell_left(plan.left)
        _check_room(plan.needed, self.folder)
        return plan.left

    def begin(self, asked: Record, plan: SortPlan) -> Journal | None:
        """The journal of a run by this plan."""
        from clipcli.output.filing import sorting

        return sorting.begin(self.folder, asked, plan, self.made) if plan.steps else None

    def run(self, journal: Journal) -> Run:
        """Its steps."""
        from clipcli.output.filing.sorting import Sorting

        return Sorting(journal)

    def summary(self, done: int, count: int) -> str:
        """How many images have their place."""
        return f"{_DONE[self.chosen.mode]} {done} of {count} images into {self.folder}"


def _check_room(needed: int, into: Path) -> None:
    if not needed:
        return
    free = shutil.disk_usage(next(one for one in (into, *into.parents) if one.is_dir())).free
    console.tell(f"copies take {needed / 1e6:,.1f} MB; free on the disk: {free / 1e6:,.1f} MB")
    if needed > free:
        raise OutputError(f"the copies do not fit on the disk of {into}", "Make room, or use links.")


def _undone(path: Path) -> list[Left]:
    from clipcli.output.filing import journal as journals
    from clipcli.output.filing import sorting

    journal = journals.read(path.resolve(), sorting.COMMAND)
    sorting.check_undo(journal)
    left = filing.undone(journal, sorting.Sorting(journal))
    sorting.remove_empty(journal.path.parent, journal.header["made"])
    return left
