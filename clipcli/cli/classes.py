"""`clipcli classes`: the class lists that `--classes` knows."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import commands, completion

app = commands.group("List and show the class lists that come with clipcli.", "clipcli classes show cifar10")


@app.command("list", cls=commands.Command)
def list_lists() -> None:
    """List the class lists that --classes accepts by name, each with its number of classes.

    Example: `clipcli classes list`
    """
    from clipcli.cli import tables
    from clipcli.prompts.class_lists import list_class_lists, load_classes

    rows = [[name, str(len(load_classes(name))), text] for name, text in list_class_lists().items()]
    tables.print_table(["name", "classes", "description"], rows)


@app.command("show", cls=commands.Command)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=completion.class_lists,
            help="The name of a class list, or a file with one.",
        ),
    ],
) -> None:
    """Print the labels of a class list, one per line, each followed by its other names.

    Example: `clipcli classes show cifar10`
    """
    from clipcli.prompts.class_lists import load_classes

    for spec in load_classes(name):
        typer.echo(f"{spec.label}: {', '.join(spec.aliases)}" if spec.aliases else spec.label)
