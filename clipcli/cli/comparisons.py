"""`clipcli eval --compare-…`: several template sets, class lists or models on the same images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from clipcli.cli import console, truths
from clipcli.cli.passes import check_outputs
from clipcli.cli.warned import told_once
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.passes import Passes
    from clipcli.cli.progress import Summary
    from clipcli.models.request import ModelRequest
    from clipcli.output.feature_evaluators import ComparisonEvaluator
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import ImageFailure, Item
    from clipcli.scoring.targets import Targets

MakePrompts: TypeAlias = "Callable[[list[str] | None, str | None], PromptSet]"
"""Makes the prompts of templates and of a class list, each None where it is not named."""


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Args:
        what: `templates`, `models` or `classes`.
        names: at least two.
        templates: of all, unless they are compared.
        classes: the class list of all, unless they are compared, or None for other labels.
    """

    what: str
    names: tuple[str, ...]
    templates: list[str] | None
    classes: str | None

    def requests(self, request: ModelRequest) -> list[ModelRequest]:
        """The models, of which each encodes the images once."""
        if self.what != "models":
            return [request]
        return [replace(request, model=name, pretrained=None) for name in self.names]

    def prompt_sets(self, make: MakePrompts) -> list[PromptSet]:
        """The prompts with which each model is measured."""
        if self.what == "templates":
            return [make([name], self.classes) for name in self.names]
        if self.what == "classes":
            return [make(self.templates, name) for name in self.names]
        return [make(self.templates, self.classes)]


def asked(compared: dict[str, str | None], given: dict[str, Any], outputs: Sequence[Path]) -> Asked | None:
    """What the options ask to compare, or None.

    Args:
        compared: names with commas, by `templates`, `models` and `classes`.
        given: what other options say, by their names.
        outputs: files for the figures.

    Raises:
        UsageError: several comparisons, fewer than two names, one of them twice, an option that says
            otherwise, or a file that cannot hold a comparison.
    """
    options = {what: text for what, text in compared.items() if text is not None}
    if len(options) > 1:
        named = " and ".join(f"`compare_{what}`" for what in options)
        raise UsageError(f"{named} cannot be used together", "Compare one thing at a time.")
    for what, text in options.items():
        _check_others(what, given)
        check_outputs(outputs, "a comparison")
        return Asked(what, _names(what, text), given["templates"], given["classes"])
    return None


_SET_BY_COMPARISON = {
    "templates": ("templates",),
    "models": ("model", "pretrained"),
    "classes": ("labels", "label", "classes"),
}

_OF_ONE = ("captions", "fit", "roll_up", "outliers", "reject", "classifier")
"""Options of one classifier alone."""


def _check_others(what: str, given: dict[str, Any]) -> None:
    of_environment = os.environ.get("CLIPCLI_MODEL")  # that is for all commands
    for option in (*_SET_BY_COMPARISON[what], *_OF_ONE):
        if given[option] and not (option == "model" and given[option] == of_environment):
            raise UsageError(
                f"`compare_{what}` and `{option}` cannot be used together", "Leave one of them out."
            )


def _names(what: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"`compare_{what}` names {twice} twice", "Name each once.")
    if len(names) < 2:
        raise UsageError(f"`compare_{what}` needs at least two names", "Separate them by commas.")
    return names


@dataclass(frozen=True)
class Labelled:
    """Images with their true labels.

    Args:
        images: in order.
        counts: how many of them have which true label.
        separator: what parts several labels.
    """

    images: Iterable[Item | ImageFailure]
    counts: Counter[str]
    separator: str | None


def measure(
    asked: Asked,
    request: ModelRequest,
    make_prompts: MakePrompts,
    labelled: Labelled,
    passes: Passes,
) -> None:
    """Encode the images once with each model, compare, and show the figures.

    Args:
        asked: what is compared.
        request: the model, unless models are compared.
        make_prompts: with which each model is measured.
        labelled: the images.
        passes: how they are encoded, and where the figures go.

    Raises:
        UsageError: an image has several true labels, or none has one in all class lists.
        typer.Exit: images could not be read, or the run was interrupted.
    """
    from clipcli.cli import figures
    from clipcli.output.feature_evaluators import compared
    from clipcli.scoring.targets import match_truths

    with told_once():
        prompt_sets = asked.prompt_sets(make_prompts)
    classes = (one.classnames for one in prompt_sets)
    targets = [match_truths(labelled.counts, one, labelled.separator) for one in classes]
    left_out = _left_out(asked, labelled, targets)
    images = labelled.images
    for one in targets:
        images = truths.with_a_class(images, one)
    done = list(_passes(asked.requests(request), prompt_sets, targets, list(images), passes))
    comparison = compared(asked.what, asked.names, [one.evaluator for one in done])
    figures.show_comparison(comparison)
    failed, last = max(one.summary.failed for one in done), done[-1]
    models = [one.model for one in done]
    about = {"models": models} if asked.what == "models" else models[0]
    passes.finish(comparison, {**about, "left_out": left_out}, failed, last.summary)


class _Pass(NamedTuple):
    """What one model made of the images."""

    model: dict[str, str]
    evaluator: ComparisonEvaluator
    summary: Summary


def _passes(
    requests: Sequence[ModelRequest],
    prompt_sets: Sequence[PromptSet],
    targets: Sequence[Targets],
    images: Sequence[Item | ImageFailure],
    passes: Passes,
) -> Iterator[_Pass]:
    from clipcli.output.feature_evaluators import ComparisonEvaluator

    for number, request in enumerate(requests, 1):
        with passes.encoding.opened(request) as run, told_once():
            encoder = run.encoder()
            classifiers = [run.classifier(encoder, prompts) for prompts in prompt_sets]
            evaluator = ComparisonEvaluator(classifiers, targets)
            summary = passes.over(images, run, encoder, evaluator, lambda: len(images))
        if number < len(requests):
            console.tell(f"measured {encoder.name}")
            summary.print("")
        yield _Pass({"model": encoder.name, "fingerprint": encoder.fingerprint}, evaluator, summary)


def _left_out(asked: Asked, labelled: Labelled, targets: Sequence[Targets]) -> int:
    """Name the true labels that meet no label; returns how many images have none in all class lists."""
    if any(one.is_multilabel for one in targets):
        raise UsageError(
            "images with several true labels cannot be compared",
            "Measure them without a comparison, several times, and see `mean_average_precision`.",
        )
    by_list = [f"the labels of {name}" for name in asked.names] if asked.what == "classes" else ["the labels"]
    for one, labels in zip(targets, by_list, strict=False):  # where lists are not compared, the first is all
        truths.tell_left_out(labelled.counts, one, labelled.separator, labels)
    lost = sum(
        count for text, count in labelled.counts.items() if not all(one.indices[text] for one in targets)
    )
    if lost == labelled.counts.total():
        raise UsageError("no image has a true label that is in all class lists", "Compare them one by one.")
    if asked.what == "classes" and lost:
        console.warn(f"compared on the other images: {lost} have no true label in all class lists")
    return lost
