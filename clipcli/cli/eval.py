"""`clipcli eval`: images whose labels are known in, accuracy out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import eval_options, fit_options, options, reject_options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import Picked
from clipcli.cli.run_options import Encoding, Messages, ModelChoice

if TYPE_CHECKING:
    from clipcli.prompts.templates import PromptSet
    from clipcli.scoring.classifier import Classifier


@grouped
def evaluate(
    inputs: options.Inputs = None,
    truth: options.Truth = None,
    truth_column: options.TruthColumn = None,
    captions: eval_options.Captions = None,
    labels: options.Labels = None,
    label: options.Label = None,
    classes: options.Classes = None,
    classifier_file: eval_options.ClassifierFile = None,
    templates: options.Templates = None,
    concept: options.Concept = "",
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    picked: Picked = Picked(),
    chosen_model: ModelChoice = ModelChoice(),
    compare_templates: eval_options.CompareTemplates = None,
    compare_models: eval_options.CompareModels = None,
    compare_classes: eval_options.CompareClasses = None,
    fit: fit_options.Fit = None,
    min_precision: fit_options.MinPrecision = None,
    coverage: fit_options.Coverage = None,
    seed: fit_options.Seed = None,
    roll_up: eval_options.RollUp = None,
    outliers: reject_options.Outliers = None,
    reject: reject_options.Rejects = None,
    reject_rate: reject_options.RejectRate = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the figures to a .json or .csv file, or a report with all images to an .html file."
            " Can be given several times.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Measure how well a model labels images whose true labels are known.

    The true label of an image is the name of the folder that it lies in, unless `--truth` or
    `--truth-column` says where it is. The labels to choose from are those of `--labels` or `--classes`,
    otherwise all true labels. A true label and a label are the same whatever their case, `_` or `-`.

    You see the accuracy with its interval, the calibration error, figures of each class, which classes are
    confused, and images whose true label may be mistaken. If images have several labels, you see the average
    precision of each class. With `--captions`, you see how often images and captions find each other.

    `--compare-templates`, `--compare-models` and `--compare-classes` measure the same images several times,
    and tell which differences may be chance. Each model encodes the images once.

    With `--fit`, a classifier is fitted to half of the images and measured on the other half. Its file makes
    `clipcli classify` give calibrated scores, the status `unknown` below a threshold for each label, and sets
    of labels: `clipcli eval labelled-photos/ --min-precision 0.95 --fit fitted.safetensors`.

    Where labels lie in groups, you see how often the group is right. With `--roll-up`, you see how often
    `clipcli classify --roll-up` answers with a label or a group, and how often the answer is right.

    With `--outliers`, you see how well images that show none of the labels can be told from the others, and
    `--fit` stores the threshold that tells them best.

    Exit codes: 0 all images were measured; 1 the run failed; 2 the command was used wrongly;
    3 some images could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli eval labelled-photos/ --compare-templates photo,imagenet7 -o metrics.json`
    """
    messages.begin()
    from clipcli.cli import (
        comparisons,
        fitting,
        labelling,
        mistakes,
        rejecting,
        reports,
        retrieval,
        startup,
        truths,
    )
    from clipcli.cli.passes import Passes
    from clipcli.output.metrics_file import check_outputs

    startup.lift_pillow_limit()
    startup.prepare_hub_client(chosen_model.offline)
    outputs = output or []
    check_outputs(outputs)
    chosen = fitting.check(fit, min_precision, coverage, seed)
    rejects = rejecting.asked(reject, outliers, reject_rate, fit, picked)
    wanted = labelling.Wanted(fit, chosen, rejects, roll_up)
    given = {
        "labels": labels,
        "label": label,
        "classes": classes,
        "truth": truth,
        "truth_column": truth_column,
        "fit": fit,
        "roll_up": roll_up is not None,
        "outliers": outliers,
        "reject": reject,
        "classifier": classifier_file,
    }
    asked = comparisons.asked(
        {"templates": compare_templates, "models": compare_models, "classes": compare_classes},
        {**given, "templates": templates, "captions": captions, **chosen_model.named},
        outputs,
    )
    named = _named_classifier(classifier_file, labels, label, classes, templates, concept)
    request = chosen_model.request(named.provenance.get("model") if named else None)
    passes = Passes(encoding, outputs, allow_failures)
    if captions is not None:
        retrieval.check_alone(given, outputs)
        retrieval.measure(
            retrieval.captioned(captions, inputs, from_file, picked, image_column),
            *(request, templates, concept, passes),
        )
        return
    with mistakes.told_from_labels(inputs or (), labels):
        source = truths.source(inputs or [], from_file, truth, truth_column)
        found = source.inputs(picked, image_column)
    images = source.labelled(found)
    counts = truths.counted(images, found)
    prompts_of = partial(_prompts, labels, label, concept, counts, source.separator)
    labelled = comparisons.Labelled(images, counts, source.separator)
    if asked is not None:
        comparisons.measure(asked, request, prompts_of, labelled, passes)
        return
    title = reports.title(inputs, from_file or truth)
    prompts = named or prompts_of(templates, classes)
    wanted.check(prompts)
    labelling.measure(request, prompts, labelled, passes, title, wanted)


def _named_classifier(
    classifier_file: Path | None,
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> Classifier | None:
    """The classifier of a file, if one is named."""
    from clipcli.cli import session
    from clipcli.scoring.classifier import Classifier

    if classifier_file is None:
        return None
    named = session.named_classes(classifier_file, labels, label, classes, templates, concept)
    return named if isinstance(named, Classifier) else None


def _prompts(
    labels: str | None,
    label: list[str] | None,
    concept: str,
    truths: Iterable[str],
    separator: str | None,
    templates: list[str] | None,
    classes: str | None,
) -> PromptSet:
    """The prompts of the labels that are named, or else of the true labels."""
    from clipcli.cli import session
    from clipcli.cli.truths import own_labels

    if labels is not None or label or classes:
        return session.prompt_set(labels, label, classes, templates, concept)
    return own_labels(truths, separator, templates, concept)
