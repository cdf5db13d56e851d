"""What commands share at run time: the classes and images that are named, the cache, the model, the loop.

A command declares its options, makes a `Session` and a list of consumers, and hands outcomes to
`Session.run`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipcli.cli import console, progress
from clipcli.cli.interrupts import Interrupted, StopOnSignal
from clipcli.errors import ClipcliError, OutputError, UsageError

if TYPE_CHECKING:
    from clipcli.cache import FeatureCache
    from clipcli.inputs.inputs import Inputs
    from clipcli.models.request import ModelRequest
    from clipcli.output.consumers import Consumer, RowWriter
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item, Outcome
    from clipcli.scoring.classifier import Classifier


@dataclass(frozen=True)
class Session:
    """A model and a cache, as one command uses them.

    Args:
        request: the model, and how it is to run.
        cache: where features are kept, or None.
        quiet: whether progress and summary are left out.
    """

    request: ModelRequest
    cache: FeatureCache | None
    quiet: bool

    def encoder(self) -> Encoder:
        """The model; loaded now only if the cache does not know it."""
        from clipcli import api
        from clipcli.models.registry import is_cached

        asked, spec = self.request, self.request.spec()
        prepare_hub(self.request)
        shown = not self.quiet and is_cached(spec)  # a download shows a bar of its own
        with progress.working(f"loading {spec.name}", shown):
            return api.load_model(
                asked.model,
                asked.pretrained,
                device=asked.device,
                precision=asked.precision,
                offline=asked.offline,
                cache=self.cache,
            )

    def classifier(self, encoder: Encoder, prompts: PromptSet) -> Classifier:
        """The class embeddings of the prompts."""
        from clipcli import api

        with progress.working("encoding prompts", not self.quiet):
            return api.build_classifier(encoder, prompts, cache=self.cache)

    def run(
        self,
        outcomes: Callable[[StopOnSignal], Iterable[Outcome]],
        consumers: Sequence[Consumer],
        summary: progress.Summary,
        count: Callable[[], int] | None,
    ) -> None:
        """Feed outcomes to consumers and the summary, with a progress bar, until they end or a signal comes.

        Args:
            outcomes: begins the run; it ends early once the object that it is given is true.
            consumers: take each outcome, in order.
            summary: takes them last.
            count: finds the number of images in the background; None where it cannot be known.

        Raises:
            typer.Exit: the run was interrupted; a note says how many images are done.
            OutputError: a consumer cannot write.
        """
        from clipcli.output.consumers import consume

        try:
            with StopOnSignal() as stop, progress.tracked(outcomes(stop), count, self.quiet) as tracked:
                consume(_until_stopped(tracked, stop), [*consumers, summary])
        except (Interrupted, KeyboardInterrupt) as error:
            where = f" are in {kept}" if (kept := _kept(consumers)) else ""
            why = str(error) or "interrupted"
            console.note(f"{why}: {summary.images} images{where}; run it again to go on")
            code = error.exit_code if isinstance(error, Interrupted) else console.INTERRUPTED
            raise typer.Exit(code) from None
        except BrokenPipeError:
            if not (kept := _kept(consumers)):
                raise  # whoever read the output has seen enough
            message = "the program that reads the output has ended before the run"
            raise OutputError(message, f"{summary.images} images are in {kept}.") from None
        except ClipcliError as error:
            if kept := _kept(consumers):
                error.hint = f"{error.hint} {summary.images} images are in {kept}.".strip()
            raise


def _kept(consumers: Iterable[Consumer]) -> str:
    """The files with the rows of a run that ended early."""
    from clipcli.output.consumers import RowWriter

    writers: list[RowWriter] = [one for one in consumers if isinstance(one, RowWriter)]
    return " and ".join(str(writer.sink.kept) for writer in writers if writer.sink.kept)


def _until_stopped(outcomes: Iterable[Outcome], stop: StopOnSignal) -> Iterator[Outcome]:
    yield from outcomes
    stop.check()


@contextlib.contextmanager
def opened(request: ModelRequest, folder: Path | None, no_cache: bool, quiet: bool) -> Iterator[Session]:
    """A session whose cache is closed in the end.

    Args:
        request: the model, and how it is to run.
        folder: of the cache; None is the user's own.
        no_cache: whether to do without a cache.
        quiet: whether progress and summary are left out.
    """
    if no_cache:
        yield Session(request, None, quiet)
        return
    with opened_cache(folder) as cache:
        yield Session(request, cache, quiet)


@contextlib.contextmanager
def opened_cache(folder: Path | None) -> Iterator[FeatureCache]:
    """The feature cache in a folder, or else the user's own, closed in the end."""
    from clipcli.cache import FeatureCache, default_folder

    with contextlib.closing(FeatureCache(folder or default_folder())) as cache:
        yield cache


def prepare_hub(request: ModelRequest) -> None:
    """Set what the hub's client reads when it is imported; warn of a licence before a download."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if not console.stderr().is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from clipcli.models.registry import forbids_commercial_use, is_cached, licence_of

    spec = request.spec()
    licence = licence_of(spec)
    if forbids_commercial_use(licence) and not request.offline and not is_cached(spec):
        console.warn(f"{spec.name} is licensed {licence}: not for commercial use")


def prompt_set(
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> PromptSet:
    """The prompts of the classes and templates that the options name."""
    from clipcli.prompts import class_lists
    from clipcli.prompts.templates import build_prompts, load_templates

    specs = class_lists.parse_labels(labels) if labels is not None else []
    specs += class_lists.single_labels(label or ())
    specs += class_lists.load_classes(classes) if classes else []
    return build_prompts(specs, load_templates(templates or ()), concept)


def fraction(option: str, text: str) -> float:
    """The number that the value of an option means; its range is checked where it is used.

    Raises:
        UsageError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        percent = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text)
        hint = f"{percent[0].strip()} is {float(percent[1]) / 100:g}." if percent else ""
        raise UsageError(f"`{option}` must be a number from 0 to 1, not {text!r}", hint) from None


def at_least_one(inputs: Inputs) -> Iterator[Item | ImageFailure]:
    """The images, after making sure that there is one.

    Raises:
        UsageError: there is none.
    """
    images = iter(inputs)
    first = next(images, None)
    if first is None:
        where = ", ".join(inputs.paths) or inputs.from_file
        raise UsageError(
            f"no images found in {where}", "Hidden files and files without an image suffix are left out."
        )
    return chain([first], images)
