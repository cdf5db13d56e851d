"""`clipcli classes`: the class lists that `--classes` knows."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import tables

app = typer.Typer(help="List and show the shipped class lists.", no_args_is_help=True)


@app.command("list")
def list_lists() -> None:
    """Every class list with the number of its classes."""
    from clipcli.prompts.class_lists import list_class_lists, load_classes

    rows = [[name, str(len(load_classes(name))), text] for name, text in list_class_lists().items()]
    tables.print_table(["name", "classes", "description"], rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A list's name, or a file.")],
) -> None:
    """Print a list's labels, one a line, each with its further names."""
    from clipcli.prompts.class_lists import load_classes

    for spec in load_classes(name):
        typer.echo(f"{spec.label}: {', '.join(spec.aliases)}" if spec.aliases else spec.label)
