"""`clipcli prompts`: words in, class embeddings out."""

from __future__ import annotations

import contextlib
import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli import console, options, progress
from clipcli.errors import UsageError


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
            help="Write .safetensors (for `classify --class-embeddings`), .npz, .csv or .parquet.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every prompt as CSV; load no model.")
    ] = False,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
) -> None:
    """Build class embeddings from labels and templates, to be used again and again.

    `clipcli prompts --classes oxford-pets --templates pets -o pets.safetensors`
    """
    prompt_set = options.prompt_set(labels, label, classes, templates, concept)
    if dry_run:
        _print_prompts(prompt_set.classnames, prompt_set.prompts)
        return
    if output is None:
        raise UsageError(
            "no output file named", "Use -o classes.safetensors, or --dry-run to see the prompts."
        )
    from clipcli.scoring.classifier_file import check_output, save_classifier

    check_output(output)
    spec = options.model_spec(model, pretrained)
    from clipcli.scoring.classifier import build_classifier

    with contextlib.nullcontext() if no_cache else options.opened_cache(cache) as store:
        with options.loading(spec, quiet):
            encoder = options.lazy_encoder(spec, device, precision, offline, store)
        with progress.working("encoding prompts", not quiet):
            classifier = build_classifier(encoder, prompt_set, store)
    save_classifier(classifier, output)
    if not quiet:
        texts = sum(map(len, prompt_set.prompts))
        console.note(f"{len(prompt_set.classnames)} classes from {texts} prompts by {encoder.name}")
        console.note(f"wrote {output}")


def _print_prompts(classnames: tuple[str, ...], prompts_of: tuple[tuple[str, ...], ...]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["label", "prompt"])
    for classname, texts in zip(classnames, prompts_of, strict=True):
        writer.writerows([classname, text] for text in texts)
