"""How commands and groups of them are parsed and shown: what Typer leaves to its subclasses."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from clipcli.cli.console import PassedOn

_PATHS = (  # in metavars of what may be a path
    *("DIR", "EXAMPLES", "FILE", "INPUT", "JOURNAL", "LIST", "MODEL", "PAIRS", "PREDICTIONS", "TABLE"),
)


@contextlib.contextmanager
def _past_typer() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, KeyboardInterrupt) as error:
        raise PassedOn(error) from error


class Command(TyperCommand):
    """A command whose help shows metavars only where they say something."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as the help is to show them."""
        return [_shown(param) for param in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command.

        Raises:
            UsageError: an option lacks its value.
        """
        if not ctx.resilient_parsing:
            from clipcli.cli.mistakes import check_options

            check_options(self.get_params(ctx), args)
        left = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            if any(word in (param.metavar or "") for word in _PATHS):
                ctx.params[param.name] = _at_home(ctx.params[param.name])
        return left


class Group(TyperGroup):
    """A group of commands that says which one may be meant."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as the help is to show them."""
        return [_shown(param) for param in super().get_params(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names.

        Raises:
            UsageError: there is none.
        """
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            from clipcli.cli.mistakes import no_such_command

            raise no_such_command(self, ctx.command_path, args)
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse; a help page is printed here."""
        with _past_typer():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _past_typer():
            return super().invoke(ctx)


class LazyGroup(Group):
    """A group that imports a command when it is named: the modules and options of the others take time.

    A subclass says where its commands are.
    """

    where: ClassVar[dict[str, tuple[str, str]]]
    """The module of each command, and what is there: a function, or the application of a group."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _LazyCommands(self.where)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page, which shows no options of commands: most of the time goes into these."""
        built = self.commands
        self.commands = {name: Command(name=name, help=text) for name, text in built.texts()}
        super().format_help(ctx, formatter)
        self.commands = built


class _LazyCommands(Mapping[str, Any]):
    """Commands by their names, in order, each built when it is asked for."""

    def __init__(self, where: dict[str, tuple[str, str]]) -> None:
        self._where = where
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = _built(name, self._found(name))
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def texts(self) -> Iterator[tuple[str, str]]:
        """The name of each command and its help text."""
        for name in self._where:
            what = self._found(name)
            yield name, (what.info.help if isinstance(what, typer.Typer) else inspect.getdoc(what)) or ""

    def _found(self, name: str) -> Any:
        module, attribute = self._where[name]
        return getattr(importlib.import_module(module), attribute)


def _built(name: str, what: Any) -> Any:
    """A command of a function, or a group of an application, as Typer makes it."""
    if not isinstance(what, typer.Typer):
        function, what = what, typer.Typer(add_completion=False, rich_markup_mode="markdown")
        what.command(name, cls=Command)(function)
    made = typer.main.get_command(what)
    made.name = name
    return made


def group(text: str, example: str) -> typer.Typer:
    """A group of commands.

    Args:
        text: what they are for.
        example: a call of one of them.
    """
    return typer.Typer(
        cls=Group,
        help=text,
        epilog=f"Example: `{example}`",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
    )


def _shown(param: Any) -> Any:
    """A parameter without the name of a Python type: a flag takes nothing, a number is called N."""
    if param.param_type_name == "argument":
        vars(param)["display_type_rich"] = _nothing
    elif param.metavar is None and param.is_flag:
        param.metavar = ""
    elif param.metavar is None and param.type_descriptor.annotation in (int, float):
        param.metavar = "N"
    return param


def _at_home(value: Any) -> Any:
    """Paths below `~`, which no shell expands after a `=`, in quotes or in a variable; others as they are."""
    if isinstance(value, list | tuple):
        return type(value)(map(_at_home, value))
    if not str(value).startswith("~") or Path(value).exists():
        return value
    return type(value)(Path(value).expanduser())


def _nothing(ctx: Any) -> str:
    return ""
