"""`clipcli classify`: images in, ranked labels out."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clipcli import choices
from clipcli.cli import console, options, output_options, reject_options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import PerVideoOption, Picked, counted
from clipcli.cli.ray_options import OnRay
from clipcli.cli.run_options import Encoding, Messages, ModelChoice
from clipcli.cli.values import fraction
from clipcli.files import shown as shown_path


@grouped
def classify(
    inputs: options.Inputs = None,
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    classifier_file: Annotated[
        Path | None,
        typer.Option(
            "--classifier",
            "--class-embeddings",
            metavar="FILE",
            help="Use the classifier that `clipcli prompts`, `clipcli probe` or `clipcli eval --fit` saved in"
            " this file, instead of labels and templates.",
            rich_help_panel=options.CLASSES,
        ),
    ] = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    keep: options.Keep = None,
    picked: Picked = Picked(),
    per_video: PerVideoOption = None,
    chosen_model: ModelChoice = ModelChoice(),
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            "-k",
            metavar="N",
            help="The number of labels to report for each image, best first.",
            rich_help_panel=options.SCORES,
        ),
    ] = 5,
    score: Annotated[
        choices.Score,
        typer.Option(
            "--score",
            metavar="SCORE",
            help="What a score is. softmax: probabilities that sum to 1 over the labels. sigmoid: the"
            " probability of each label by itself. cosine: the similarity of image and label."
            " auto: softmax or sigmoid, as the model was trained.",
            rich_help_panel=options.SCORES,
        ),
    ] = "auto",
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="0..1",
            parser=partial(fraction, "min_score"),
            help="Give an image the status `unknown` if its best score is below this.",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            "--min-margin",
            metavar="0..1",
            parser=partial(fraction, "min_margin"),
            help="Give an image the status `unknown` if its best score exceeds the second best by less than"
            " this.",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    roll_up: Annotated[
        float | None,
        typer.Option(
            "--roll-up",
            metavar="0..1",
            parser=partial(fraction, "roll_up"),
            help="If the best label of an image scores less than this, answer with a group of labels: the"
            " deepest that has this score comes before the labels. If none has, the status is `unknown`."
            " Class lists have groups in a column `parent`, or in nested YAML.",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    prior: reject_options.Prior = None,
    reject: reject_options.Reject = None,
    reject_below: reject_options.RejectBelow = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the results to a .csv, .tsv, .jsonl, .parquet or .xlsx file, or to a report, an .html"
            " page to look at; - is standard output. Can be given several times.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    format_name: Annotated[
        choices.FormatName | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            case_sensitive=False,
            help="The output format, if the file's suffix does not tell: csv, tsv, jsonl, parquet, xlsx or"
            " html.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    layout: Annotated[
        choices.LayoutName | None,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help="long: one row for each label of an image. wide: one row for each image. matrix: one row"
            " for each image, with the score of every class in a column of its own. nested: one JSON object"
            " for each image, with its labels as a list; for .jsonl only. [default: wide for .xlsx, otherwise"
            " long]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    excel: output_options.Excel = False,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Show small copies of the images in .xlsx files, of the first 2,000 at most.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance",
            help="Write FILE.meta.json beside each output FILE: the command, the model, the prompts,"
            " versions, and how many images have which label.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    table: output_options.Table = None,
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
    on_ray: OnRay = OnRay(),
) -> None:
    """Classify images by labels that you choose.

    The output has a row for each image and label, best first:
    `image,rank,label,score,cosine,error,status,margin`. An image that cannot be read keeps its row, with
    the reason in `error`.

    If a run is interrupted, run the same command again: images that were encoded are in the cache,
    unless you use `--no-cache`.

    Exit codes: 0 all images were classified; 1 the run failed; 2 the command was used wrongly;
    3 some images could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli classify photos/ --labels "cat,dog" -o predictions.csv`
    """
    messages.begin()
    from clipcli import api
    from clipcli.cli import (
        mistakes,
        outputs,
        progress,
        ray_runs,
        rejecting,
        reports,
        session,
        startup,
        tables,
        values,
    )
    from clipcli.output.report.about import About
    from clipcli.output.rows import Layout
    from clipcli.output.run_record import RunRecord
    from clipcli.scoring.classifier import Classifier
    from clipcli.scoring.groups import check_roll_up
    from clipcli.scoring.ranking import Ranking

    startup.lift_pillow_limit()
    folder = ray_runs.folder(on_ray, output, format_name, per_video)
    startup.prepare_hub_client(chosen_model.offline)
    ranking = Ranking(top_k, score, min_score, min_margin, roll_up, per_video)
    engine = encoding.engine
    columns = session.columns_to_keep(keep)
    with mistakes.told_from_labels(inputs or (), labels):
        found = picked.inputs(inputs, from_file, image_column, columns)
    named = session.named_classes(classifier_file, labels, label, classes, templates, concept)
    check_roll_up(ranking, named.parents)
    shows_table = table if table is not None else not output and not format_name and sys.stdout.isatty()
    named_outputs = output or ([Path("-")] if format_name or not shows_table else [])
    if folder is not None:
        named_outputs, shows_table = [], False
    summary = progress.Summary()
    record = RunRecord(["clipcli", *sys.argv[1:]], summary, ranking)
    choice = rejecting.Choice(values.numbers("prior", prior), score, reject, reject_below)
    layout_of = partial(
        Layout,
        top_k=top_k,
        classnames=named.classnames,
        carried=found.columns,
        has_sets=isinstance(named, Classifier) and named.conformal_quantile is not None,
        has_groups=bool(named.parents),
        has_rejector=choice.check(named),
    )
    written_to = outputs.Choice(tuple(named_outputs), format_name, layout, excel, thumbnails, provenance)
    written = outputs.opened(written_to, layout_of, record)
    images = session.at_least_one(found)

    if isinstance(named, Classifier):
        named.check_score(score)
    else:
        record.templates = session.templates_of(templates)
    request = chosen_model.request(named.provenance.get("model") if isinstance(named, Classifier) else None)
    shown = [tables.PredictionTable(min(top_k, len(named.classnames)))] if shows_table else []
    with encoding.opened(request) as run:
        encoder = run.encoder()
        classifier = choice.applied(run.classifier(encoder, named), run, encoder, named)
        record.encoder, record.classifier = encoder, classifier
        outcomes = partial(
            api.classify,
            images,
            encoder,
            classifier,
            **asdict(ranking),
            batch_size=engine.batch_size,
            workers=engine.workers,
            decoding=engine.decoding,
            cache=run.cache,
        )
        if on_ray.is_chosen:
            work = ray_runs.scoring(found, request, encoder, engine, classifier, ranking, layout)
            outcomes = partial(ray_runs.outcomes, on_ray, work)
        if folder is not None:
            writer = ray_runs.row_writer(layout_of, layout, folder, excel)
            run_is = ray_runs.classification(classifier, ranking, layout)
            ray_runs.write(on_ray, work, folder, writer, run_is, summary)
            folder.finish(record.as_dict())
        else:
            count = counted(found, per_video)
            run.run(lambda stop: outcomes(stop=stop), [*written.consumers, *shown], summary, count)
    for one in shown:
        one.print()
    written.complete(
        About(reports.title(inputs, from_file), encoder.name, classifier.classnames),
        engine.decoding.max_pixels,
        engine.workers,
    )
    summary.print(", ".join([*map(shown_path, written.files), *on_ray.places]), found.left_out)
    if summary.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)
