"""`clipcli probe`: a few examples of each class in, a classifier out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipcli import choices
from clipcli.cli import options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import Picked
from clipcli.cli.run_options import Encoding, Messages, ModelChoice

PROBE = "Probe"


@grouped
def probe(
    examples: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXAMPLES",
            help="Folders with a subfolder of images for each class, archives of such folders, or tables with"
            " a column of images and one of labels, such as corrections.csv.",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--truth-column",
            metavar="NAME",
            help="The column with the labels in tables, or in WebDataset shards."
            " [default: the one named label, labels, class or truth]",
            rich_help_panel=options.IMAGES,
        ),
    ] = None,
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    no_words: Annotated[
        bool,
        typer.Option(
            "--no-words",
            help="Learn from the examples alone, where the names of the classes say nothing.",
            rich_help_panel=options.CLASSES,
        ),
    ] = False,
    method: Annotated[
        choices.ProbeChoice,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="What is fitted: gda (Gaussians with one covariance), linear (logistic regression),"
            " prototype (the mean of each class), or auto (what does best on examples held out; words alone,"
            " if nothing does certainly better).",
            rich_help_panel=PROBE,
        ),
    ] = "auto",
    seed: Annotated[
        int,
        typer.Option("--seed", help="The seed that draws the examples held out.", rich_help_panel=PROBE),
    ] = 0,
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            metavar="1,2,4,…",
            help="Measure how probes of so many examples a class do on the other images, and write no"
            " classifier.",
            rich_help_panel=PROBE,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            help="How often --shots draws examples; figures are means over the draws. [default: 5]",
            rich_help_panel=PROBE,
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the classifier to a .safetensors file, or the figures of --shots to a .csv file or an"
            " .svg chart. Can be given several times. [default: only show the figures]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    picked: Picked = Picked(),
    chosen_model: ModelChoice = ModelChoice(),
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Learn classes from a few examples of each.

    The names of the classes are words that help, unless --labels or --classes name others. A class that is
    named there needs no examples, and one that is not needs no words.

    How much the examples count beside the words is chosen by how well examples are labelled that were not
    learned from. Where that shows no gain, words alone are used. You see the accuracy of both.

    `clipcli classify --classifier FILE` uses the classifier that -o writes.

    Exit codes: 0 all examples were used; 1 the run failed; 2 the command was used wrongly; 3 some examples
    could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli probe labelled/ corrections.csv -o mine.safetensors`
    """
    messages.begin()
    from clipcli.cli import probing, startup
    from clipcli.cli.passes import Passes
    from clipcli.scoring.probe import ProbeOptions

    startup.lift_pillow_limit()
    startup.prepare_hub_client(chosen_model.offline)
    asked = probing.asked(ProbeOptions(method, seed), shots, seeds, output or [])
    passes = Passes(encoding, asked.outputs, allow_failures)
    found = probing.examples_of(examples or [], label_column, picked)
    words = probing.Words(labels, label, classes, templates, concept, no_words)
    probing.measure(asked, found, words.prompts(found), chosen_model.request(), passes)
