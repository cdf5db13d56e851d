"""The options of images that show none of the labels, of weighted prompts, and of known class shares."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from clipcli import choices
from clipcli.cli.options import SCORES
from clipcli.cli.values import fraction

REJECT, ADAPT = "Images that show none of the labels", "Learn from a folder"

Reject = Annotated[
    choices.RejectMethod | None,
    typer.Option(
        "--reject",
        metavar="METHOD",
        help="Score how much an image looks like any of the labels, in a column `reject_score`. msp: the best"
        " softmax probability. mcm: the best softmax probability of the cosines. energy: the logarithm of the"
        " sum over all labels. negatives: the share of the labels in a comparison with thousands of nouns.",
        rich_help_panel=REJECT,
    ),
]
Rejects = Annotated[
    choices.RejectMethod | None,
    typer.Option(
        "--reject",
        metavar="METHOD",
        help="With --outliers, measure this way to reject alone: msp, mcm, energy or negatives (see `clipcli"
        " classify --help`). With --fit, fit a threshold to its scores.",
        rich_help_panel=REJECT,
    ),
]
RejectBelow = Annotated[
    float | None,
    typer.Option(
        "--reject-below",
        metavar="NUMBER",
        help="Give an image the status `unknown` if its reject score is below this."
        " [default: the threshold of the --classifier file; otherwise none]",
        rich_help_panel=REJECT,
    ),
]
RejectRate = Annotated[
    float | None,
    typer.Option(
        "--reject-rate",
        metavar="0..1",
        parser=partial(fraction, "reject_rate"),
        help="Fit the threshold that rejects at most this share of images that show one of the labels."
        " [default: 0.05; with outliers, the threshold that tells both best]",
        rich_help_panel=REJECT,
    ),
]
RejectOn = Annotated[
    str | None,
    typer.Option(
        "--reject-on",
        metavar="FOLDER",
        help="Fit the threshold of --reject to this folder, all of whose images show one of the labels.",
        rich_help_panel=REJECT,
    ),
]
Outliers = Annotated[
    str | None,
    typer.Option(
        "--outliers",
        metavar="FOLDER",
        help="Measure how well each way to reject tells the images from those of this folder, which show none"
        " of the labels.",
        rich_help_panel=REJECT,
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="A,B,C",
        help="How frequent each label is among the images, in the order of the labels, such as 0.7,0.2,0.1 or"
        " 70,20,10.",
        rich_help_panel=SCORES,
    ),
]
WeightOn = Annotated[
    str | None,
    typer.Option(
        "--weight-on",
        metavar="FOLDER",
        help="Weigh the templates by the images of this folder, which need no labels.",
        rich_help_panel=ADAPT,
    ),
]
WeightBy = Annotated[
    choices.WeightMethod,
    typer.Option(
        "--weight-by",
        metavar="METHOD",
        help="How templates are weighed. carprt: for each label by itself. zpe: for all labels alike.",
        rich_help_panel=ADAPT,
    ),
]
