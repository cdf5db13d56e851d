"""`clipcli templates`: the template sets that `--templates` knows."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import commands, completion

app = commands.group("List and show the template sets that come with clipcli.", "clipcli templates show pets")


@app.command("list", cls=commands.Command)
def list_sets() -> None:
    """List the template sets that --templates accepts by name, each with its number of templates.

    Example: `clipcli templates list`
    """
    from clipcli.cli import tables
    from clipcli.prompts.templates import list_template_sets, load_templates

    rows = [[name, str(len(load_templates([name]))), text] for name, text in list_template_sets().items()]
    tables.print_table(["name", "templates", "description"], rows)


@app.command("show", cls=commands.Command)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=completion.templates,
            help="The name of a template set, or a file with one.",
        ),
    ],
) -> None:
    """Print the templates of a set, one per line.

    Example: `clipcli templates show pets`
    """
    from clipcli.prompts.templates import load_templates

    for template in load_templates([name]):
        typer.echo(template)
