"""The options of what is fitted to labelled images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli.values import fraction

FIT = "Fit"

Fit = Annotated[
    Path | None,
    typer.Option(
        "--fit",
        metavar="FILE",
        help="Fit a classifier to one half of the images, measure it on the other half, and write it to this"
        " .safetensors file for `clipcli classify --classifier`. It has calibrated scores, a threshold for"
        " each label, and sets of labels.",
        rich_help_panel=FIT,
    ),
]
MinPrecision = Annotated[
    float | None,
    typer.Option(
        "--min-precision",
        metavar="0..1",
        parser=partial(fraction, "min_precision"),
        help="Fit the lowest threshold of each label at which this share of its images is right."
        " [default: the threshold with the best F1]",
        rich_help_panel=FIT,
    ),
]
Coverage = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        metavar="0..1",
        parser=partial(fraction, "coverage"),
        help="Fit sets of labels of which this share holds the true label. [default: 0.9]",
        rich_help_panel=FIT,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="The seed that draws the two halves of the images. [default: 0]", rich_help_panel=FIT
    ),
]
