"""`clipcli templates`: the template sets that `--templates` knows."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import tables

app = typer.Typer(help="List and show the shipped template sets.", no_args_is_help=True)


@app.command("list")
def list_sets() -> None:
    """Every template set with the number of its templates."""
    from clipcli.prompts.templates import list_template_sets, load_templates

    rows = [[name, str(len(load_templates([name]))), text] for name, text in list_template_sets().items()]
    tables.print_table(["name", "templates", "description"], rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A set's name, or a file.")],
) -> None:
    """Print a set's templates, one a line."""
    from clipcli.prompts.templates import load_templates

    for template in load_templates([name]):
        typer.echo(template)
