"""`clipcli tag`: labels as keywords for photo programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli import choices
from clipcli.cli import console, filing, options
from clipcli.cli.grouped import grouped
from clipcli.cli.run_options import Messages
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.inputs.predictions import PredictedImage
    from clipcli.output.filing.images import Left
    from clipcli.output.filing.journal import Journal, Record
    from clipcli.output.filing.runs import Run
    from clipcli.output.filing.tagging import TagPlan


@grouped
def tag(
    predictions: filing.Predictions = None,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            "-k",
            metavar="N",
            help="The most labels that an image gets as keywords, best first.",
            rich_help_panel=options.SCORES,
        ),
    ] = 1,
    min_score: filing.MinScore = None,
    rating: Annotated[
        bool,
        typer.Option(
            "--rating",
            help="Also rate images without a rating: 1 star for a best score below 0.2, up to 5 from 0.8.",
            rich_help_panel=options.SCORES,
        ),
    ] = False,
    sidecars: Annotated[
        choices.SidecarNames,
        typer.Option(
            "--sidecars",
            metavar="NAMES",
            help="How the sidecar of a.jpg is called. darktable: a.jpg.xmp. lightroom: a.xmp.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "darktable",
    embed: Annotated[
        bool,
        typer.Option(
            "--embed",
            help="Write into the images (JPEG, PNG or TIFF) instead of sidecars. This needs exiftool.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    apply: filing.Apply = False,
    undo: filing.Undo = None,
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Give images their labels as keywords, which photo programs show and search.

    The keywords are written to XMP sidecars beside the images, and all else that a sidecar holds is kept.
    Unknown images get no keyword. If the predictions have a column `group`, there are hierarchical keywords
    too, such as animal|cat. Keywords that an earlier run has added are replaced.

    You see the plan first: nothing is changed without `--apply`. What a file held is written to a journal
    beside PREDICTIONS before the file is changed. Run an interrupted command again to complete it; `--undo`
    gives every file its former bytes.

    Exit codes: 0 all fine; 1 failed; 2 wrong usage; 3 some images are missing or could not be tagged;
    130 or 143 interrupted.

    Example: `clipcli tag predictions.csv -k 3 --min-score 0.3 --apply`

    To take it back: `clipcli tag --undo clipcli-tag-1.jsonl`
    """
    messages.begin()
    filing.check_options(predictions, undo, apply or embed or rating, min_score)
    if top_k < 1:
        raise UsageError(f"`top_k` must be 1 or more, not {top_k}")
    from clipcli.output.filing import exiftool
    from clipcli.output.filing.tagging import COMMAND, TagOptions

    if undo is not None:
        filing.leave(_undone(undo), allow_failures)
        return
    if embed:
        exiftool.check_installed()
    chosen = TagOptions(top_k, min_score, rating, sidecars, embed)
    folder = Path(os.path.realpath(str(predictions))).parent
    job = _Tag(COMMAND, str(predictions), folder, chosen)
    filing.leave(job.apply() if apply else job.show(), allow_failures)


class _Tag(filing.Job["TagPlan"]):
    def planned(self, images: Iterable[PredictedImage], earlier: Sequence[Journal]) -> TagPlan:
        """Keywords for each image."""
        from clipcli.output.filing.tagging import plan_tags

        return plan_tags(images, self.chosen, earlier)

    def tell(self, plan: TagPlan) -> list[Left]:
        """Show the keywords, and what is unusual."""
        from clipcli.cli.tables import print_table

        if plan.counts:
            print_table(["keyword", "images"], [[name, str(n)] for name, n in plan.counts.most_common()])
        where = "images" if self.chosen.embed else f"sidecars, of which {plan.existing} exist"
        console.tell(f"keywords to be written to {len(plan.steps)} {where}")
        if plan.without:
            console.tell(f"{plan.without} images have no label that would be written")
        filing.tell_left(plan.left)
        return plan.left

    def begin(self, asked: Record, plan: TagPlan) -> Journal | None:
        """The journal of a run by this plan."""
        from clipcli.output.filing import tagging

        return tagging.begin(self.folder, asked, plan) if plan.steps else None

    def run(self, journal: Journal) -> Run:
        """Its steps."""
        from clipcli.output.filing.tagging import Tagging

        return Tagging(journal)

    def summary(self, done: int, count: int) -> str:
        """How many images have their keywords."""
        return f"tagged {done} of {count} images"


def _undone(path: Path) -> list[Left]:
    from clipcli.output.filing import journal as journals
    from clipcli.output.filing import tagging

    journal = journals.read(path.resolve(), tagging.COMMAND)
    return filing.undone(journal, tagging.Tagging(journal))
