"""`clipcli classify`: images in, ranked labels out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipcli.cli import console, options, startup
from clipcli.cli.interrupts import Interrupted, StopOnSignal
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.inputs.walk import Inputs
    from clipcli.output.sinks import Layout, Sink
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import ImageFailure, Outcome
    from clipcli.scoring.classifier import Classifier

_IMAGES, _SCORES, _OUTPUT, _ENGINE = "Images", "Scores", "Output", "Engine"


def classify(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="INPUT...", help="Files, folders, globs; - reads a list.")
    ] = None,
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    class_embeddings: Annotated[
        Path | None,
        typer.Option(
            "--class-embeddings",
            metavar="FILE",
            help="Embeddings from `clipcli prompts`, instead of labels.",
            rich_help_panel="Classes",
        ),
    ] = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    from_file: Annotated[
        str | None,
        typer.Option(
            "--from-file",
            "-f",
            metavar="LIST",
            help="A file that lists images, newline- or NUL-separated; - is stdin.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="GLOB", help="In folders, only these; repeat.", rich_help_panel=_IMAGES
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="GLOB", help="In folders, not these; repeat.", rich_help_panel=_IMAGES
        ),
    ] = None,
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", help="Labels an image.", rich_help_panel=_SCORES)
    ] = 5,
    score: Annotated[
        Literal["auto", "softmax", "sigmoid", "cosine"],
        typer.Option("--score", help="auto: as the model was trained.", rich_help_panel=_SCORES),
    ] = "auto",
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", help="A lower best score is labelled `unknown`.", rich_help_panel=_SCORES
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            "--min-margin",
            help="A smaller lead over the second is labelled `unknown`.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write .csv, .tsv, .jsonl, .parquet or .xlsx; - is stdout.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="Format, whatever the suffix.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    layout: Annotated[
        Literal["long", "wide", "matrix"],
        typer.Option(
            "--layout",
            help="long: a row a label; wide: a row an image; matrix: a column a class.",
            rich_help_panel=_OUTPUT,
        ),
    ] = "long",
    excel: Annotated[
        bool,
        typer.Option(
            "--excel", help="Byte-order mark, and no cell that runs as a formula.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    table: Annotated[
        bool | None,
        typer.Option(
            "--table/--no-table",
            help="Show the first images as a table. [default: on a terminal without -o]",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    allow_failures: options.AllowFailures = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", "-b", help="Images encoded together. [default: auto]", rich_help_panel=_ENGINE
        ),
    ] = None,
    workers: options.Workers = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", help="Refuse larger images. [default: 268 million]", rich_help_panel=_ENGINE
        ),
    ] = None,
    exact_decode: Annotated[
        bool,
        typer.Option(
            "--exact-decode",
            help="Decode large JPEGs at full size, pixel for pixel as open_clip: slower.",
            rich_help_panel=_ENGINE,
        ),
    ] = False,
    gpu_decode: Annotated[
        bool,
        typer.Option(
            "--gpu-decode",
            help="Decode JPEGs on the CUDA GPU that encodes them, with clipcli\\[gpu].",
            rich_help_panel=_ENGINE,
        ),
    ] = False,
    truncated: Annotated[
        Literal["error", "ok"],
        typer.Option(
            "--truncated", help="ok: use what can be read of a damaged image.", rich_help_panel=_ENGINE
        ),
    ] = "error",
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
) -> None:
    """Classify images by labels that you choose.

    One row a label and image, best first: `image,rank,label,score,cosine,error`. An image that
    cannot be read keeps its row, with the reason. Exit codes: 0 all fine, 1 failed, 2 wrong
    usage, 3 finished with images that could not be read, 130 interrupted. An interrupted run goes
    on where it stopped when it is run again: what was encoded is in the cache.

    `clipcli classify photos/ --labels "cat,dog,receipt" -o predictions.csv`
    """
    from clipcli import pipeline
    from clipcli.images.decode import MAX_PIXELS, DecodeOptions
    from clipcli.inputs.walk import Inputs
    from clipcli.output.sinks import Layout
    from clipcli.scoring.classifier import Classifier, Ranking, build_classifier

    startup.lift_pillow_limit()
    ranking = Ranking(top_k, score, min_score, min_margin)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    decoding = DecodeOptions(limit, exact_decode, truncated, gpu_decode)
    engine = pipeline.EngineOptions(batch_size, workers, decoding)
    found = Inputs(tuple(inputs or ()), from_file, tuple(include or ()), tuple(exclude or ()))
    named = _named_classes(class_embeddings, labels, label, classes, templates, concept)
    shows_table = table if table is not None else output is None and not format_name and sys.stdout.isatty()
    sink = None
    if output is not None or format_name or not shows_table:
        sink = _sink(Layout(layout, top_k, named.classnames), output, format_name, excel)
    images = _at_least_one(found)

    if isinstance(named, Classifier):
        model = model or named.provenance.get("model")
    spec = options.model_spec(model, pretrained)
    shown = console.PredictionTable(min(top_k, len(named.classnames))) if shows_table else None
    total = None if found.reads_stdin else lambda: sum(1 for _ in found)
    with contextlib.nullcontext() if no_cache else options.opened_cache(cache) as store:
        with options.loading(spec, quiet):
            encoder = options.lazy_encoder(spec, device, precision, offline, store)
        with console.working("encoding prompts", not quiet):
            classifier = named if isinstance(named, Classifier) else build_classifier(encoder, named, store)
        with StopOnSignal() as stop:
            outcomes = pipeline.classify(images, encoder, classifier, ranking, engine, store, stop)
            with console.progress(outcomes, total, quiet) as tracked:
                summary = _write(tracked, sink, shown, stop)
    if shown is not None:
        shown.print()
    summary.print(str(sink.path) if sink is not None and sink.path else "", quiet)
    if summary.failed and not allow_failures:
        raise typer.Exit(options.FINISHED_WITH_FAILURES)


def _named_classes(
    class_embeddings: Path | None,
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> Classifier | PromptSet:
    """The classes by name, or with their embeddings already made."""
    if class_embeddings is None:
        return options.prompt_set(labels, label, classes, templates, concept)
    if labels or label or classes or templates or concept:
        raise UsageError("--class-embeddings brings its own classes", "Leave labels and templates out.")
    from clipcli.scoring.classifier_file import load_classifier

    return load_classifier(class_embeddings)


def _sink(layout: Layout, output: Path | None, format_name: str | None, excel: bool) -> Sink:
    from clipcli.output.sinks import open_sink

    return open_sink(layout, None if output is None or str(output) == "-" else output, format_name, excel)


def _at_least_one(found: Inputs) -> Iterator[str | ImageFailure]:
    """The images, after making sure that there is one."""
    images = iter(found)
    first = next(images, None)
    if first is None:
        where = ", ".join(found.paths) or found.from_file
        raise UsageError(
            f"no images found in {where}", "Hidden files and files without an image suffix are left out."
        )
    return chain([first], images)


def _write(
    outcomes: Iterable[Outcome],
    sink: Sink | None,
    table: console.PredictionTable | None,
    stop: StopOnSignal,
) -> console.Summary:
    """Write every outcome as it comes."""
    summary = console.Summary()
    try:
        with sink or contextlib.nullcontext():
            for outcome in outcomes:
                if sink is not None:
                    sink.write(outcome)
                if table is not None:
                    table.add(outcome)
                summary.add(outcome)
            stop.check()
    except (Interrupted, KeyboardInterrupt) as error:
        kept = f" are in {sink.partial}" if sink is not None and sink.partial and sink.images else ""
        why = str(error) or "interrupted"
        console.note(f"{why}: {summary.images} images{kept}; run it again to go on")
        raise typer.Exit(error.exit_code if isinstance(error, Interrupted) else console.INTERRUPTED) from None
    return summary
