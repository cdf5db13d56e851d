"""Options that several commands share, declared once, and the objects that they make together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from clipcli.cache import FeatureCache
    from clipcli.models.encoder import OpenClipEncoder
    from clipcli.models.registry import ModelSpec
    from clipcli.prompts.templates import PromptSet
    from clipcli.records import Encoder

_CLASSES, _MODEL, _ENGINE = "Classes", "Model", "Engine"

FINISHED_WITH_FAILURES = 3
"""The exit code of a run that left out images which cannot be read."""

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", "-l", metavar="A,B,C", help="Labels, separated by commas.", rich_help_panel=_CLASSES
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="LABEL", help="One label, commas kept; repeat.", rich_help_panel=_CLASSES
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        "-c",
        metavar="FILE|NAME",
        help="A class list: .txt, .csv, .json, .yaml, or the name of a shipped one (`clipcli classes list`).",
        rich_help_panel=_CLASSES,
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--templates",
        "-t",
        metavar="NAME|FILE|TEXT",
        help="A template set, a file, or a template such as 'a photo of a {}.'; repeat. [default: imagenet7]",
        rich_help_panel=_CLASSES,
    ),
]
Concept = Annotated[
    str,
    typer.Option(
        "--concept",
        metavar="TEXT",
        help="A hint for every template: 'a type of pet'.",
        rich_help_panel=_CLASSES,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        envvar="CLIPCLI_MODEL",
        help="nano (bundled; pictograms, not photographs), fast, balanced, accurate, best;"
        " ARCHITECTURE:TAG; hf-hub:org/repo; or a folder."
        " [default: balanced]",
        rich_help_panel=_MODEL,
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained", metavar="TAG|FILE", help="Weights for a bare architecture.", rich_help_panel=_MODEL
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda (all GPUs), cuda:1, cuda:0,cuda:2 or mps.",
        rich_help_panel=_MODEL,
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    typer.Option(
        "--precision",
        help="auto: bf16 where the hardware has it natively, fp16 on other GPUs, else fp32."
        " int8: images in 8 bits, on CPUs, with clipcli\\[int8].",
        rich_help_panel=_MODEL,
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", envvar="HF_HUB_OFFLINE", help="Never use the network.", rich_help_panel=_MODEL),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="CLIPCLI_CACHE",
        help="Where features are kept for the next run. [default: the user's cache folder]",
        rich_help_panel=_ENGINE,
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor keep features.", rich_help_panel=_ENGINE)
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-j", help="Decoding threads. [default: cores]", rich_help_panel=_ENGINE),
]
AllowFailures = Annotated[
    bool,
    typer.Option("--allow-failures", help="Exit 0 though images failed, not 3.", rich_help_panel=_ENGINE),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors still show.")]


def model_spec(model: str | None, pretrained: str | None) -> ModelSpec:
    """The model that --model and --pretrained name."""
    from clipcli.models.registry import DEFAULT_MODEL, parse_model

    return parse_model(model or DEFAULT_MODEL, pretrained)


def load_encoder(spec: ModelSpec, device: str, precision: Precision, offline: bool) -> OpenClipEncoder:
    """Find or download a model, and load it."""
    prepare_hub(spec, offline)
    from clipcli.models.lazy import load_encoder
    from clipcli.models.request import ModelRequest

    return load_encoder(ModelRequest(spec.name, None, device, precision, offline))


def lazy_encoder(
    spec: ModelSpec, device: str, precision: Precision, offline: bool, cache: FeatureCache | None
) -> Encoder:
    """The model as the cache knows it, built only when something must be encoded; else loaded now."""
    prepare_hub(spec, offline)
    from clipcli.models.lazy import open_encoder
    from clipcli.models.request import ModelRequest

    return open_encoder(ModelRequest(spec.name, None, device, precision, offline), cache)


def loading(spec: ModelSpec, quiet: bool) -> contextlib.AbstractContextManager[None]:
    """Says on a terminal that a model is being loaded; while it is downloaded, the download says so."""
    from clipcli.cli import console
    from clipcli.models.registry import is_cached

    return console.working(f"loading {spec.name}", not quiet and is_cached(spec))


def prepare_hub(spec: ModelSpec, offline: bool) -> None:
    """Settings that the hub's client reads when it is imported; tells of a licence before a download."""
    from clipcli.cli import console

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if not console.stderr().is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from clipcli.models.registry import forbids_commercial_use, is_cached, licence_of

    licence = licence_of(spec)
    if forbids_commercial_use(licence) and not offline and not is_cached(spec):
        console.warn(f"{spec.name} is licensed {licence}: not for commercial use")


@contextlib.contextmanager
def opened_cache(folder: Path | None) -> Iterator[FeatureCache]:
    """The feature cache that --cache names, closed in the end."""
    from clipcli.cache import FeatureCache, default_folder

    with contextlib.closing(FeatureCache(folder or default_folder())) as cache:
        yield cache


def prompt_set(
    labels: str | None,
    label: list[str] | None,
    classes: str | None,
    templates: list[str] | None,
    concept: str,
) -> PromptSet:
    """The classes and templates that the options name."""
    from clipcli.prompts import class_lists
    from clipcli.prompts import templates as prompts

    specs = class_lists.parse_labels(labels) if labels is not None else []
    specs += [class_lists.ClassSpec(text.strip(), where="--label") for text in label or () if text.strip()]
    specs += class_lists.load_classes(classes) if classes else []
    return prompts.build_prompts(specs, prompts.load_templates(templates or ()), concept)
