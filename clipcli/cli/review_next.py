"""`clipcli review-next`: predictions in, the images to label next out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli import console, options
from clipcli.errors import UsageError


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
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    max_pixels: options.MaxPixels = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log: options.Log = None,
) -> None:
    """Choose the images whose labels would teach most.

    The images are divided into as many groups of similar ones as you ask for. Of each group, one is chosen:
    an image of which the model is unsure, and that is like many others.

    Name the --model that made the predictions: its features are in the cache already.

    Example: `clipcli review-next predictions.csv -n 50 -o next.csv`
    """
    console.begin(quiet, verbose, log)
    from clipcli.cli import reviewing, startup
    from clipcli.cli.passes import Passes
    from clipcli.images.decode import MAX_PIXELS, DecodeOptions
    from clipcli.inputs.predictions import read_predictions
    from clipcli.models.registry import DEFAULT_MODEL
    from clipcli.models.request import ModelRequest

    startup.lift_pillow_limit()
    found = [one for one in read_predictions(predictions) if one.status != "error" and one.labels]
    if not found:
        raise UsageError(f"{predictions} has no labelled image", "Write it with `clipcli classify -o`.")
    request = ModelRequest(model or DEFAULT_MODEL, pretrained, device, precision, offline)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    passes = Passes(cache, no_cache, False, batch_size, workers, DecodeOptions(limit), [], True)
    reviewing.write(reviewing.chosen(found, predictions, count, request, passes), output)
