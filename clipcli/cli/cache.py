"""`clipcli cache`: look after the features that runs have kept."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import commands, console, options
from clipcli.errors import ClipcliWarning, OutputError

if TYPE_CHECKING:
    from clipcli.cache import FeatureCache

app = commands.group("Show, prune or clear the cache of image and text features.", "clipcli cache info")


@app.command("info", cls=commands.Command)
def info(cache: options.Cache = None) -> None:
    """Show where the cache is, how large it is, and how many images and classes of each model it holds.

    Example: `clipcli cache info`
    """
    from clipcli.cache.matrix import size_of_matrices

    with _usable(cache) as store:
        facts = store.info()
    typer.echo(f"{facts.path}, {facts.size / 1e6:.1f} MB, {facts.files} images known")
    for encoder, count in facts.features.items():
        typer.echo(_described(encoder, facts.models.get(encoder), count))
    if matrices := size_of_matrices(facts.path.parent):
        typer.echo(f"the same features as matrices for searching, {matrices / 1e6:.1f} MB")
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
    with _usable(cache) as store:
        removed = store.prune(days)
    console.note(f"{removed} features removed")


@app.command("clear", cls=commands.Command)
def clear(cache: options.Cache = None) -> None:
    """Remove everything from the cache.

    Example: `clipcli cache clear`
    """
    with _usable(cache) as store:
        removed = store.clear()
        shutil.rmtree(_towers(store.path), ignore_errors=True)
    console.note(f"{removed} features removed")


@contextlib.contextmanager
def _usable(folder: Path | None) -> Iterator[FeatureCache]:
    """The cache, for a command that is about nothing else.

    Raises:
        OutputError: it cannot be opened, or what was asked of it failed.
    """
    from clipcli.cli import session

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClipcliWarning)  # an error says it
        with session.opened_cache(folder) as store:
            _check(store)
            yield store
            _check(store)


def _check(store: FeatureCache) -> None:
    if store.problem:
        raise OutputError(f"the cache {store.path} cannot be used: {store.problem}")


def _described(encoder: str, model: str | None, count: int) -> str:
    """What an encoder's key says: FINGERPRINT-PRECISION-DEVICE-LIBRARIES, and for images the decoding."""
    from clipcli.libraries import tower_libraries

    tower, pixels, decoding = encoder.partition("-pixels")
    fingerprint, precision, device, libraries, *_ = *tower.split("-"), ""
    details = [precision, device, *decoding.split("-")[2:]]
    if libraries != tower_libraries(precision):
        details.append("computed with other versions of libraries, not used now")
    what = ("image" if count == 1 else "images") if pixels else ("class" if count == 1 else "classes")
    return f"{model or f'model {fingerprint}'} ({', '.join(details)}): {count} {what}"


def _towers(features: Path) -> Path:
    from clipcli.cache import TOWERS

    return features.parent / TOWERS
