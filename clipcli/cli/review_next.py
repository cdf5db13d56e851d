"""`clipcli review-next`: predictions in, the images to label next out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli import options
from clipcli.cli.grouped import grouped
from clipcli.cli.run_options import Encoding, Messages, ModelChoice
from clipcli.errors import UsageError


@grouped
def review_next(
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Predictions that `clipcli classify` wrote: a .csv, .tsv, .jsonl, .parquet or .xlsx file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the images with their labels to a .csv, .tsv, .jsonl, .parquet or .xlsx file, of"
            " which `clipcli report` makes a page. [default: CSV on standard output]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option("--number", "-n", metavar="N", min=1, help="The number of images to choose.")
    ] = 50,
    chosen_model: ModelChoice = ModelChoice(),
    encoding: Encoding = Encoding(),
    messages: Messages = Messages(),
) -> None:
    """Choose the images whose labels would teach most.

    The images are divided into as many groups of similar ones as you ask for. Of each group, one is chosen:
    an image of which the model is unsure, and that is like many others.

    Name the --model that made the predictions: its features are in the cache already.

    Example: `clipcli review-next predictions.csv -n 50 -o next.csv`
    """
    messages.begin()
    from clipcli.cli import reviewing, startup
    from clipcli.cli.passes import Passes
    from clipcli.inputs.predictions import read_predictions

    startup.lift_pillow_limit()
    found = [one for one in read_predictions(predictions) if one.status != "error" and one.labels]
    if not found:
        raise UsageError(f"{predictions} has no labelled image", "Write it with `clipcli classify -o`.")
    passes = Passes(encoding, [], allow_failures=True)
    reviewing.write(reviewing.chosen(found, predictions, count, chosen_model.request(), passes), output)
