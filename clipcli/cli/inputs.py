"""`clipcli inputs`: lists what would be classified, and reads none of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli import choices
from clipcli.cli import console, options, output_options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import Picked
from clipcli.cli.run_options import Messages

if TYPE_CHECKING:
    from clipcli.output.listing import Listing
    from clipcli.records import ImageFailure, Item

_MOST_ROWS = 60  # of the table on a terminal


@grouped
def inputs(
    inputs: options.Inputs = None,
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    keep: options.Keep = None,
    picked: Picked = Picked(),
    count: Annotated[
        bool,
        typer.Option(
            "--count",
            help="Only print how many images there are.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the list to a .csv, .tsv, .jsonl, .parquet or .xlsx file; - is standard output. Can"
            " be given several times.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    format_name: Annotated[
        choices.TableFormatName | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            case_sensitive=False,
            help="The output format, if the file's suffix does not tell: csv, tsv, jsonl, parquet or xlsx.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    excel: output_options.Excel = False,
    messages: Messages = Messages(),
) -> None:
    """List the images that other commands would read, without reading them.

    Each image is listed with its name, what it is (a file, a member of an archive, …), its version, which
    changes when the image does, and the columns that travel with it. What folders hold and would not be
    taken is counted at the end.

    Exit codes: 0 all could be listed; 1 the run failed; 2 the command was used wrongly;
    3 something could not be listed.

    Example: `clipcli inputs photos/ --exclude drafts/ --count`
    """
    messages.begin()
    from clipcli.cli import session, startup
    from clipcli.cli.left_out import told
    from clipcli.output.listing import Listing
    from clipcli.records import ImageFailure

    startup.prepare_hub_client(offline=False)
    found = picked.inputs(inputs, from_file, image_column, session.columns_to_keep(keep))
    kinds: Counter[str] = Counter()
    listed = _counted(session.at_least_one(found), kinds)
    if count:
        failed = sum(isinstance(one, ImageFailure) for one in listed)
        sys.stdout.write(f"{kinds.total()}\n")
    else:
        failed = _write(listed, Listing(found.columns), output, format_name, excel)
    parts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    console.tell(f"{kinds.total()} image{'s' * (kinds.total() != 1)}: {parts}")
    if left_out := told(found.left_out):
        console.tell(left_out)
    if failed:
        console.tell(f"{failed} could not be listed", warning=True)
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _counted(images: Iterable[Item | ImageFailure], kinds: Counter[str]) -> Iterator[Item | ImageFailure]:
    """Pass on the images, counting those that can be listed by what they are."""
    from clipcli.cli import progress
    from clipcli.records import ImageFailure

    with progress.working("listing"):
        for one in images:
            if not isinstance(one, ImageFailure):
                kinds[one.kind] += 1
            yield one


def _write(
    images: Iterable[Item | ImageFailure],
    listing: Listing,
    output: list[Path] | None,
    format_name: str | None,
    excel: bool,
) -> int:
    """Write the rows to files, or to standard output, or show the first ones; returns how many failed."""
    from clipcli.output.sinks import open_sinks
    from clipcli.output.xlsx.options import WorkbookOptions

    shows_table = not output and not format_name and sys.stdout.isatty()
    places = output or ([] if shows_table else [Path("-")])
    paths = [None if str(path) == "-" else path for path in places]
    shown: list[list[str]] = []
    rows = failed = 0
    error = list(listing.columns).index("error")
    with ExitStack() as stack:
        sinks = open_sinks(listing.columns, paths, format_name, excel, WorkbookOptions(title="images"))
        for sink in sinks:
            stack.enter_context(sink)
        for row in listing.rows(images):
            rows += 1
            failed += row[error] is not None
            for sink in sinks:
                sink.write(row)
            if len(shown) < _MOST_ROWS:
                shown.append(["" if cell is None else str(cell) for cell in row])
    if shows_table:
        _show(shown, list(listing.columns), rows)
    return failed


def _show(shown: list[list[str]], columns: list[str], rows: int) -> None:
    """A table of the first rows, without columns that are empty there."""
    from clipcli.cli import tables

    used = [number for number in range(len(columns)) if any(row[number] for row in shown)]
    tables.print_table([columns[one] for one in used], [[row[one] for one in used] for row in shown])
    if rows > len(shown):
        console.note(f"shown: the first {len(shown)} of {rows} rows; -o images.csv keeps them all")
