"""What commands share at run time: the classes and images that are named, the cache, the model, the loop.

A command declares its options, makes a `Session` and a list of consumers, and hands outcomes to
`Session.run`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli import console, progress, startup
from clipcli.cli.interrupts import Interrupted, StopOnSignal
from clipcli.errors import ClipcliError, OutputError, UsageError

if TYPE_CHECKING:
    from clipcli.cache import FeatureCache
    from clipcli.inputs.inputs import Inputs
    from clipcli.models.request import ModelRequest
    from clipcli.output.consumers import Consumer, RowWriter, Taken
    from clipcli.prompts.class_lists import ClassSpec
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder, ImageFailure, Item
    from clipcli.scoring.classifier import Classifier

_BYTES = re.compile("[\udc80-\udcff]")  # as Python keeps those that it cannot decode


@dataclass(frozen=True)
class Session:
    """A model and a cache, as one command uses them.

    Args:
        request: the model, and how it is to run.
        cache: where features are kept, or None.
    """

    request: ModelRequest
    cache: FeatureCache | None

    def encoder(self) -> Encoder:
        """The model; loaded now only if the cache does not know it."""
        from clipcli import api
        from clipcli.models.registry import is_cached

        asked, spec = self.request, self.request.spec()
        prepare_hub(self.request)
        shown = is_cached(spec)  # a download shows a bar of its own
        start = time.perf_counter()
        with progress.working(f"loading {spec.name}", shown):
            encoder = api.load_model(
                asked.model,
                asked.pretrained,
                device=asked.device,
                precision=asked.precision,
                offline=asked.offline,
                cache=self.cache,
            )
        console.detail(
            f"model {encoder.name} after {time.perf_counter() - start:.1f} s: {encoder.cache_key} on"
            f" {', '.join(encoder.devices)}, {encoder.batch_size} images a batch, weights {_weights(encoder)}"
        )
        return encoder

    def classifier(self, encoder: Encoder, prompts: PromptSet | Classifier) -> Classifier:
        """The class embeddings of the prompts, unless they are made already.

        Raises:
            ModelMismatchError: they were made by another model.
        """
        from clipcli import api
        from clipcli.scoring.classifier import Classifier

        if isinstance(prompts, Classifier):
            prompts.check_encoder(encoder)
            return prompts
        texts = sum(map(len, prompts.prompts))
        console.detail(f"{len(prompts.classnames)} classes, {texts} prompts")
        with progress.working("encoding prompts"):
            return api.build_classifier(encoder, prompts, cache=self.cache)

    def run(
        self,
        outcomes: Callable[[StopOnSignal], Iterable[Taken]],
        consumers: Sequence[Consumer[Taken]],
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
            with (
                StopOnSignal() as stop,
                progress.tracked(outcomes(stop), count, _shows_rows(consumers)) as tracked,
            ):
                consume(_until_stopped(tracked, stop), [*consumers, summary])
        except (Interrupted, KeyboardInterrupt) as error:
            where = f" are in {kept}" if (kept := _kept(consumers)) else ""
            why = str(error) or "interrupted"
            console.note(f"{why}: {summary.images} images{where}; {self._how_to_go_on()}")
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

    def _how_to_go_on(self) -> str:
        """Only the cache brings a run back to where it was: outputs are written anew."""
        if self.cache is not None and self.cache.keeps_new:
            return "run it again to go on"
        return "without a cache, running it again starts from the beginning"


def _weights(encoder: Encoder) -> str:
    """The file that holds a model's weights, whether it is loaded yet or not."""
    files = getattr(encoder, "files", None)
    return str(files.weights if files else getattr(encoder, "weights", "unknown"))


def _shows_rows(consumers: Iterable[Consumer[Any]]) -> bool:
    """Whether rows go to the terminal."""
    from clipcli.output.consumers import RowWriter

    writers = [one for one in consumers if isinstance(one, RowWriter)]
    return sys.stdout.isatty() and any(writer.sink.path is None for writer in writers)


def _kept(consumers: Iterable[Consumer[Any]]) -> str:
    """The files with the rows of a run that ended early."""
    from clipcli.output.consumers import RowWriter

    writers: list[RowWriter] = [one for one in consumers if isinstance(one, RowWriter)]
    return " and ".join(str(writer.sink.kept) for writer in writers if writer.sink.kept)


def _until_stopped(outcomes: Iterable[Taken], stop: StopOnSignal) -> Iterator[Taken]:
    yield from outcomes
    stop.check()


@contextlib.contextmanager
def opened(
    request: ModelRequest, folder: Path | None, no_cache: bool, verify: bool = False
) -> Iterator[Session]:
    """A session whose cache is closed in the end.

    Args:
        request: the model, and how it is to run.
        folder: of the cache; None is the user's own.
        no_cache: whether to do without a cache.
        verify: whether files are read again that seem to be known.
    """
    if no_cache:
        yield Session(request, None)
        return
    with opened_cache(folder, verify) as cache:
        console.detail(f"cache {cache.path}")
        yield Session(request, cache)


@contextlib.contextmanager
def opened_cache(folder: Path | None, verify: bool = False) -> Iterator[FeatureCache]:
    """The feature cache in a folder, or else the user's own, closed in the end."""
    from clipcli.cache import FeatureCache, default_folder

    if folder is None:
        _warn_of_home(default_folder())
    with contextlib.closing(FeatureCache(folder or default_folder(), verify)) as cache:
        yield cache


def _warn_of_home(folder: Path) -> None:
    """Say once that what is kept in this folder may soon be gone."""
    home = os.environ.get(startup.TEMPORARY_HOME)
    if home and folder.is_relative_to(home):
        del os.environ[startup.TEMPORARY_HOME]
        console.warn(
            f"this user has no home folder: the cache and downloaded models are kept in {home}, for a time."
            " CLIPCLI_CACHE and HF_HOME name better places"
        )


def prepare_hub(request: ModelRequest) -> None:
    """Set what the hub's client reads when it is imported; warn of a licence before a download."""
    startup.prepare_hub_client(request.offline)
    from clipcli.models.registry import forbids_commercial_use, is_cached, licence_of

    spec = request.spec()
    if startup.TEMPORARY_HOME in os.environ and spec.source in ("pretrained", "hf-hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

        _warn_of_home(Path(HF_HUB_CACHE))
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

    specs = class_lists.parse_labels(as_text(labels)) if labels is not None else []
    specs += class_lists.single_labels([as_text(text) for text in label or ()])
    specs += class_lists.load_classes(classes) if classes else []
    return prompts_of(specs, templates, concept)


def named_classes(
    classifier_file: Path | None,
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> Classifier | PromptSet:
    """The classes by name, or with their embeddings already made."""
    if classifier_file is None:
        return prompt_set(labels, label, classes, templates, concept)
    if labels or label or classes or templates or concept:
        raise UsageError("--classifier brings its own classes", "Leave labels and templates out.")
    from clipcli import api

    return api.load_classifier(classifier_file)


def template_sets(
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> list[PromptSet]:
    """The prompts of the classes with each template by itself."""
    from clipcli.cli.warned import told_once

    with told_once():
        return [prompt_set(labels, label, classes, [one], concept) for one in templates_of(templates)]


def prompts_of(specs: Sequence[ClassSpec], templates: list[str] | None, concept: str) -> PromptSet:
    """The prompts of classes, with the templates that the options name."""
    from clipcli.prompts.templates import build_prompts

    return build_prompts(specs, templates_of(templates), as_text(concept))


def templates_of(templates: list[str] | None) -> tuple[str, ...]:
    """The templates that the options name; the default ones, if they name none."""
    from clipcli.prompts.templates import load_templates

    return load_templates([one if Path(one).exists() else as_text(one) for one in templates or ()])


def columns_to_keep(keep: str | None) -> tuple[str, ...] | None:
    """The columns of the user's table that the option names; None is all of them."""
    return None if keep is None else tuple(filter(None, map(str.strip, as_text(keep).split(","))))


def as_text(word: str) -> str:
    """A word of the command line that is no path: UTF-8, though the locale may have left it as bytes."""
    try:
        return os.fsencode(word).decode() if _BYTES.search(word) else word
    except UnicodeError:
        return word


def at_least_one(inputs: Inputs) -> Iterator[Item | ImageFailure]:
    """The images, after making sure that there is one.

    Raises:
        UsageError: there is none.
    """
    images = iter(inputs)
    first = next(images, None)
    if first is None:
        from clipcli.cli.left_out import by_request, told

        where = ", ".join(inputs.paths) or inputs.from_file
        why = [why for why in (by_request(inputs.left_out), told(inputs.left_out)) if why]
        raise UsageError(f"no images found in {where}", ". ".join(one[0].upper() + one[1:] for one in why))
    return chain([first], images)
