"""Options of commands that write tables, each declared once. Nothing else lives here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli import choices
from clipcli.cli.options import OUTPUT

Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the results to a .csv, .tsv, .jsonl, .parquet or .xlsx file, or to a .html page with"
        " thumbnails; - is standard output. Can be given several times.",
        rich_help_panel=OUTPUT,
    ),
]
FormatName = Annotated[
    choices.FormatName | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        case_sensitive=False,
        help="The output format, if the file's suffix does not tell: csv, tsv, jsonl, parquet, xlsx or html.",
        rich_help_panel=OUTPUT,
    ),
]
Excel = Annotated[
    bool,
    typer.Option(
        "--excel",
        help="Write CSV and TSV for Excel: with a byte-order mark, and with cells that Excel would run"
        " as formulas made harmless.",
        rich_help_panel=OUTPUT,
    ),
]
Table = Annotated[
    bool | None,
    typer.Option(
        "--table/--no-table",
        help="Show the first results as a table. [default: on a terminal, if there is no -o]",
        rich_help_panel=OUTPUT,
    ),
]
