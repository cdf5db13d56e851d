"""What a shell offers after an option: names that are known without loading a model.

Each function returns values with a word on each; Typer keeps those that begin as the user did.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

_GPUS = Path("/proc/driver/nvidia/gpus")


def models(ctx: Any, args: list[str], incomplete: str) -> list[tuple[str, str]]:
    """The presets; of open_clip's models those that begin as the user did."""
    from clipcli.models.registry import PRESETS

    presets = [(name, preset.summary) for name, preset in PRESETS.items()]
    if not incomplete:
        return presets
    return presets + [(f"{name}:{tag}", licence) for name, tag, licence in _published()]


def tags(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """The weights of the architecture that --model names."""
    return [tag for name, tag, _ in _published() if name == ctx.params.get("model")]


def templates(ctx: Any, args: list[str], incomplete: str) -> list[tuple[str, str]]:
    """The template sets that come with clipcli."""
    from clipcli.prompts.templates import list_template_sets

    return list(list_template_sets().items())


def class_lists(ctx: Any, args: list[str], incomplete: str) -> list[tuple[str, str]]:
    """The class lists that come with clipcli."""
    from clipcli.prompts.class_lists import list_class_lists

    return list(list_class_lists().items())


def columns(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """The columns of the CSV or TSV file that --truth or else --from-file names."""
    path = Path(ctx.params.get("truth") or ctx.params.get("from_file") or "")
    if path.suffix.lower() not in (".csv", ".tsv"):
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
    except (OSError, ValueError):
        return []
    return next(csv.reader([header], delimiter=max(",;\t", key=header.count)), [])


def devices(ctx: Any, args: list[str], incomplete: str) -> list[str]:
    """The kinds of devices, and the GPUs that the driver lists."""
    gpus = len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0
    return ["auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(gpus)), "mps"]


def _published() -> list[tuple[str, str, str]]:
    """Architecture, tag and licence of each of open_clip's models."""
    from clipcli.models.registry import ASSETS

    with (ASSETS / "models.csv").open(encoding="utf-8", newline="") as file:
        return [(row["model_name"], row["pretrained"], row["licence"]) for row in csv.DictReader(file)]
