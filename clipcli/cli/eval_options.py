"""Options of `clipcli eval` alone. Nothing else lives here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli.options import CLASSES, COMPARISONS, IMAGES, SCORES
from clipcli.cli.values import fraction

Captions = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="FILE",
        help="Measure how well images and captions find each other: a .csv, .tsv, .jsonl, .parquet or .xlsx"
        " table with the columns image and caption, and a row for each caption. Captions are used as they"
        " stand, unless you name --templates.",
        rich_help_panel=IMAGES,
    ),
]
CompareTemplates = Annotated[
    str | None,
    typer.Option(
        "--compare-templates",
        metavar="A,B,C",
        help="Measure the same images with each of these sets or files of templates, and tell whether the"
        " differences may be chance.",
        rich_help_panel=COMPARISONS,
    ),
]
CompareModels = Annotated[
    str | None,
    typer.Option(
        "--compare-models",
        metavar="A,B,C",
        help="Measure the same images with each of these models, and tell whether the differences may be"
        " chance.",
        rich_help_panel=COMPARISONS,
    ),
]
CompareClasses = Annotated[
    str | None,
    typer.Option(
        "--compare-classes",
        metavar="A,B,C",
        help="Measure the same images with each of these class lists, and tell whether the differences may be"
        " chance. Images whose true label is not in all of them are left out.",
        rich_help_panel=COMPARISONS,
    ),
]
ClassifierFile = Annotated[
    Path | None,
    typer.Option(
        "--classifier",
        "--class-embeddings",
        metavar="FILE",
        help="Measure the classifier that `clipcli prompts`, `clipcli probe` or `clipcli eval --fit` saved in"
        " this file, instead of labels and templates.",
        rich_help_panel=CLASSES,
    ),
]
RollUp = Annotated[
    float | None,
    typer.Option(
        "--roll-up",
        metavar="0..1",
        parser=partial(fraction, "roll_up"),
        help="Measure the answers of `clipcli classify --roll-up`: the best label if it has at least this"
        " score, otherwise the deepest group of labels that has it.",
        rich_help_panel=SCORES,
    ),
]
