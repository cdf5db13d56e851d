"""The Typer application. Commands are imported when they are named, and what is heavy when they run."""

from __future__ import annotations

import gc
import os
from typing import Annotated, ClassVar

import typer

from clipcli.cli import commands, console
from clipcli.version import __version__


class _Root(commands.LazyGroup):
    """The commands in the order of the help page, each by its module and its name there."""

    where: ClassVar = {
        "classify": ("clipcli.cli.classify", "classify"),
        "eval": ("clipcli.cli.eval", "evaluate"),
        "report": ("clipcli.cli.report", "report"),
        "search": ("clipcli.cli.search", "search"),
        "embed": ("clipcli.cli.embed", "embed"),
        "probe": ("clipcli.cli.probe", "probe"),
        "review-next": ("clipcli.cli.review_next", "review_next"),
        "prompts": ("clipcli.cli.prompts", "prompts"),
        "sort": ("clipcli.cli.sort", "sort"),
        "tag": ("clipcli.cli.tag", "tag"),
        "inputs": ("clipcli.cli.inputs", "inputs"),
        "train": ("clipcli.cli.train", "train"),
        "templates": ("clipcli.cli.templates", "app"),
        "classes": ("clipcli.cli.classes", "app"),
        "models": ("clipcli.cli.models", "app"),
        "cache": ("clipcli.cli.cache", "app"),
    }


app = typer.Typer(
    name="clipcli",
    cls=_Root,
    help="A folder of images and a list of words in, ranked labels out.",
    epilog="Example: `clipcli classify photos/ --labels 'cat,dog' -o predictions.csv`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of clipcli itself."""
    if not gc.isenabled():  # `__main__.py` has put it off
        gc.freeze()  # modules stay for good: there is no garbage in them
        gc.enable()


def main() -> None:
    """Run the command line; errors become one or two lines and an exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads of torch leave idle cores to decoding
    console.run(app)
