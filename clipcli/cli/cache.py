"""`clipcli cache`: look after the features that runs have kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli import commands, console, options, session

app = commands.group("Show, prune or clear the cache of image and text features.", "clipcli cache info")


@app.command("info", cls=commands.Command)
def info(cache: options.Cache = None) -> None:
    """Show where the cache is, how large it is, and how many images and classes of each model it holds.

    Example: `clipcli cache info`
    """
    with session.opened_cache(cache) as store:
        facts = store.info()
    typer.echo(f"{facts.path}, {facts.size / 1e6:.1f} MB, {facts.files} images known")
    for encoder, count in facts.features.items():
        typer.echo(_described(encoder, facts.models.get(encoder), count))
    towers = [path.stat().st_size for path in _towers(facts.path).glob("*.onnx")]
    if towers:
        typer.echo(f"{len(towers)} int8 model{'s' * (len(towers) > 1)}, {sum(towers) / 1e6:.1f} MB")


@app.command("prune", cls=commands.Command)
def prune(
    days: Annotated[
        float, typer.Option("--days", help="Remove features that were computed more than this many days ago.")
    ] = 90,
    cache: options.Cache = None,
) -> None:
    """Remove old features, and what is known of files that no longer exist.

    Example: `clipcli cache prune --days 30`
    """
    with session.opened_cache(cache) as store:
        console.note(f"{store.prune(days)} features removed")


@app.command("clear", cls=commands.Command)
def clear(cache: options.Cache = None) -> None:
    """Remove everything from the cache.

    Example: `clipcli cache clear`
    """
    with session.opened_cache(cache) as store:
        console.note(f"{store.clear()} features removed")
        shutil.rmtree(_towers(store.path), ignore_errors=True)


def _described(encoder: str, model: str | None, count: int) -> str:
    """What an encoder's key says: FINGERPRINT-PRECISION-DEVICE and, for images, how they were decoded."""
    fingerprint, precision, device, *decoding = encoder.split("-")
    details = [precision, device, *(part for part in decoding if not part.startswith("pixels"))]
    what = ("image" if count == 1 else "images") if decoding else ("class" if count == 1 else "classes")
    return f"{model or f'model {fingerprint}'} ({', '.join(details)}): {count} {what}"


def _towers(features: Path) -> Path:
    from clipcli.cache import TOWERS

    return features.parent / TOWERS
