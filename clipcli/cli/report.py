"""`clipcli report`: predictions in, a page to look at them and to correct them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli import console, options
from clipcli.cli.grouped import grouped
from clipcli.cli.run_options import Messages
from clipcli.errors import UsageError


@grouped
def report(
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="Predictions that `clipcli classify` wrote: a .csv, .tsv, .jsonl, .parquet or .xlsx file.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .html file to write.")],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="The folder at which the image paths in the table start. [default: the folder of the table;"
            " for images that are not there, the working directory]",
            rich_help_panel=options.IMAGES,
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.", rich_help_panel=options.OUTPUT)
    ] = False,
    max_pixels: options.MaxPixels = None,
    workers: options.Workers = None,
    messages: Messages = Messages(),
) -> None:
    """Make a page to look at predictions and to correct them.

    The report is one HTML file that needs no network. It shows all images with their labels: search them,
    filter and sort them, and correct labels with the keyboard. Corrections stay in your browser until you
    export them as corrections.csv, which `clipcli eval --truth` reads.

    The thumbnails of more than 2,000 images lie in a folder beside the file: report_files for report.html.

    Example: `clipcli report predictions.csv -o report.html --open`
    """
    messages.begin()
    from clipcli.cli import reports, startup
    from clipcli.images.decode import MAX_PIXELS
    from clipcli.inputs.predictions import read_predictions
    from clipcli.output.report.about import About
    from clipcli.output.report.records import ReportImage
    from clipcli.output.report.writer import ReportWriter

    startup.lift_pillow_limit()
    writer = ReportWriter(output)
    found = read_predictions(predictions)
    writer.images = [ReportImage(one, path=_place(one.image, predictions, images)) for one in found]
    if not writer.images:
        raise UsageError(f"{predictions} has no predictions", "Write them with `clipcli classify -o`.")
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    reports.write_all([writer], About(Path(predictions).name), limit, workers)
    console.tell(f"wrote {output}")
    if open_page:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


def _place(image: str, table: str, folder: Path | None) -> str:
    """Where an image lies that a table names."""
    from clipcli.inputs.predictions import located

    return str(folder / image) if folder else located(image, table)
