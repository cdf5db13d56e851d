"""`clipcli prompts`: words in, class embeddings out."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import console, options
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.prompts.templates import PromptSet


def prompts(
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print all prompts as CSV and stop, without loading a model."),
    ] = False,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    verify: options.Verify = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log: options.Log = None,
) -> None:
    """Turn labels and templates into class embeddings, and save them.

    `clipcli classify` can use the file with `--classifier` instead of labels and templates.

    Example: `clipcli prompts --classes oxford-pets --templates pets -o pets.safetensors`
    """
    console.begin(quiet, verbose, log)
    from clipcli.cli import session

    prompt_set = session.prompt_set(labels, label, classes, templates, concept)
    if dry_run:
        _print_prompts(prompt_set)
        return
    if output is None:
        raise UsageError(
            "no output file named", "Use -o classes.safetensors, or --dry-run to see the prompts."
        )
    from clipcli import api
    from clipcli.models.registry import DEFAULT_MODEL
    from clipcli.models.request import ModelRequest
    from clipcli.scoring.classifier_file import check_output

    check_output(output)
    request = ModelRequest(model or DEFAULT_MODEL, pretrained, device, precision, offline)
    with session.opened(request, cache, no_cache, verify) as run:
        encoder = run.encoder()
        api.save_classifier(run.classifier(encoder, prompt_set), output)
    texts = sum(map(len, prompt_set.prompts))
    console.tell(f"{len(prompt_set.classnames)} classes from {texts} prompts by {encoder.name}")
    console.tell(f"wrote {output}")


def _print_prompts(prompt_set: PromptSet) -> None:
    """A row for each prompt; with the group of the label, if there are groups."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    parents = prompt_set.parents
    writer.writerow(["label", "prompt", *(["group"] if parents else [])])
    for index, (classname, texts) in enumerate(zip(prompt_set.classnames, prompt_set.prompts, strict=True)):
        group = ["|".join(parents[index])] if parents else []
        writer.writerows([classname, text, *group] for text in texts)
