"""The Typer application. Commands import what is heavy only when they run."""

from __future__ import annotations

import gc
import os
from typing import Annotated

import typer

from clipcli.cli import (
    cache,
    classes,
    classify,
    commands,
    console,
    embed,
    eval,
    inputs,
    models,
    probe,
    prompts,
    report,
    review_next,
    search,
    sort,
    tag,
    templates,
    train,
)
from clipcli.version import __version__

app = typer.Typer(
    name="clipcli",
    cls=commands.Group,
    help="A folder of images and a list of words in, ranked labels out.",
    epilog="Example: `clipcli classify photos/ --labels 'cat,dog' -o predictions.csv`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("classify", cls=commands.Command)(classify.classify)
app.command("eval", cls=commands.Command)(eval.evaluate)
app.command("report", cls=commands.Command)(report.report)
app.command("search", cls=commands.Command)(search.search)
app.command("embed", cls=commands.Command)(embed.embed)
app.command("probe", cls=commands.Command)(probe.probe)
app.command("review-next", cls=commands.Command)(review_next.review_next)
app.command("prompts", cls=commands.Command)(prompts.prompts)
app.command("sort", cls=commands.Command)(sort.sort)
app.command("tag", cls=commands.Command)(tag.tag)
app.command("inputs", cls=commands.Command)(inputs.inputs)
app.command("train", cls=commands.Command)(train.train)
app.add_typer(templates.app, name="templates")
app.add_typer(classes.app, name="classes")
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")


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
    gc.enable()  # which `__main__.py` put off


def main() -> None:
    """Run the command line; errors become one or two lines and an exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads of torch leave idle cores to decoding
    console.run(app)
