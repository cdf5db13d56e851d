"""`clipcli prompts`: words in, class embeddings out."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import console, options, reject_options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import Picked
from clipcli.cli.run_options import Encoding, Messages, ModelChoice
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.prompts.templates import PromptSet


@grouped
def prompts(
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    chosen_model: ModelChoice = ModelChoice(),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the class embeddings to this file: .safetensors for `clipcli classify"
            " --classifier`; .npz, .csv or .parquet for other tools.",
        ),
    ] = None,
    weight_on: reject_options.WeightOn = None,
    weight_by: reject_options.WeightBy = "carprt",
    prior: reject_options.Prior = None,
    reject: reject_options.Reject = None,
    reject_on: reject_options.RejectOn = None,
    reject_rate: reject_options.RejectRate = None,
    picked: Picked = Picked(),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print all prompts as CSV and stop, without loading a model."),
    ] = False,
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Turn labels and templates into class embeddings, and save them.

    `clipcli classify` can use the file with `--classifier` instead of labels and templates.

    With `--weight-on`, templates that suit the images of a folder count more. With `--reject` and
    `--reject-on`, the file has a threshold below which images show none of the labels. The images need no
    labels of their own.

    Example: `clipcli prompts --classes oxford-pets --templates pets -o pets.safetensors`
    """
    messages.begin()
    from clipcli.cli import adapting, session, startup, values

    prompt_set = session.prompt_set(labels, label, classes, templates, concept)
    if dry_run:
        _print_prompts(prompt_set)
        return
    if output is None:
        raise UsageError(
            "no output file named", "Use -o classes.safetensors, or --dry-run to see the prompts."
        )
    from clipcli import api
    from clipcli.cli.passes import Passes
    from clipcli.scoring.classifier_file import check_output

    check_output(output)
    startup.lift_pillow_limit()
    startup.prepare_hub_client(chosen_model.offline)
    shares = values.numbers("prior", prior)
    asked = adapting.Asked(weight_on, weight_by, shares, reject, reject_on, reject_rate, picked)
    template_sets = session.template_sets(labels, label, classes, templates, concept) if weight_on else []
    asked.check(template_sets)
    passes = Passes(encoding, [output], allow_failures)
    with encoding.opened(chosen_model.request()) as run:
        classifier = adapting.learned(asked, prompt_set, template_sets, run, passes)
        api.save_classifier(classifier, output)
    texts = sum(map(len, prompt_set.prompts))
    name = classifier.provenance["model"]
    console.tell(f"{len(prompt_set.classnames)} classes from {texts} prompts by {name}")
    console.tell(f"wrote {output}")


def _print_prompts(prompt_set: PromptSet) -> None:
    """A row for each prompt; with the group of the label, if there are groups."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    parents = prompt_set.parents
    writer.writerow(["label", "prompt", *(["group"] if parents else [])])
    for index, (classname, texts) in enumerate(zip(prompt_set.classnames, prompt_set.prompts, strict=True)):
        group = ["|".join(parents[index])] if parents else []
        writer.writerows([classname, text, *group] for text in texts)
