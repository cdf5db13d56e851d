"""What may be meant by a command line that cannot be understood."""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError

_USAGE = UsageError.exit_code
_NAMES_CLASSES = ("-l", "--labels", "--label", "-c", "--classes", "--classifier", "--class-embeddings")
_LISTS = (".txt", ".lst", ".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
_COMMAS = "Labels go together, separated by commas"


def explained(error: BaseException) -> tuple[str, str, int] | None:
    """An error of Typer's as message, hint and exit code; None for any other error."""
    kind = type(error).__name__
    if kind == "Abort":
        return "aborted", "", 1
    if kind == "NoArgsIsHelpError":  # the help page says it all
        return "", "", _USAGE
    if not hasattr(error, "format_message"):
        return None
    explain = _EXPLANATIONS.get(kind, _wrong_use)
    return *explain(error), getattr(error, "exit_code", _USAGE)


# --- Commands and options ------------------------------------------------------------------------


def no_such_command(group: Any, path: str, words: Sequence[str]) -> UsageError:
    """The error for a first word that names no command of a group.

    Args:
        group: its `commands` are known by their names.
        path: what comes before the word, such as `clipcli models`.
        words: that word and those after it.
    """
    word, commands = words[0], group.commands
    shows = [name for name in ("info", "show") if name in commands and _arguments(commands[name])]
    below = [name for name, one in commands.items() if word in getattr(one, "commands", ())]
    near = difflib.get_close_matches(word, commands, 1)
    if "classify" in commands and _names_images(word):
        meant = shlex.join(_classifying(words))
    elif below:
        meant = shlex.join([below[0], *words])
    elif near:
        meant = shlex.join([near[0], *words[1:]])
    elif shows:
        meant = shlex.join([shows[0], *words])
    else:
        return UsageError(f"no such command: {word}", f"There are: {', '.join(commands)}.")
    return UsageError(f"no such command: {word}", f"Did you mean `{path} {meant}`?")


def _arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def _names_images(word: str) -> bool:
    return os.path.lexists(word) or _is_path(word)


def _is_path(word: str) -> bool:
    """Whether a word is written as only paths are."""
    return "/" in word or os.sep in word or word == "-" or glob.has_magic(word) or bool(Path(word).suffix)


def _classifying(words: Sequence[str]) -> list[str]:
    inputs = ["--from-file", *words] if words[0].lower().endswith(_LISTS) else [*words]
    has_classes = any(word.partition("=")[0] in _NAMES_CLASSES for word in words)
    return ["classify", *inputs, *([] if has_classes else ["--labels", "A,B,C"])]


def check_options(params: Iterable[Any], words: Sequence[str]) -> None:
    """See that each option is spelled with two dashes, and that its value follows it.

    Raises:
        UsageError: it is not.
    """
    options = [param for param in params if param.param_type_name == "option"]
    flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    taking = {flag: option for option in options if not option.is_flag for flag in option.opts}
    remaining = iter([*words, None])
    for word in remaining:
        if word is None or word == "--":
            return
        if f"-{word.partition('=')[0]}" in flags and word not in flags:
            raise UsageError(f"no such option: {word}", f"Did you mean -{word}?")
        if word in taking and ((value := next(remaining)) is None or value in flags):
            after = "" if value is None else f"After it comes {value}, which is another option."
            raise UsageError(f"{word} needs a value: {taking[word].metavar or 'see --help'}", after)


def _no_such_option(error: Any) -> tuple[str, str]:
    name, context = error.option_name, error.ctx
    flags = [flag for param in context.command.get_params(context) for flag in _flags(param)]
    owners = [one for one, command in _commands(context.find_root().command) if name in _all_flags(command)]
    if near := difflib.get_close_matches(name, flags, 1):
        hint = f"Did you mean {near[0]}?"
    elif owners:
        hint = f"It is an option of {' and '.join(f'`clipcli {one}`' for one in owners)}."
    else:
        hint = f"`{context.command_path} --help` shows all."
    return f"no such option: {name}", hint


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        yield from _commands(command, words) if hasattr(command, "commands") else [(words, command)]


def _flags(param: Any) -> list[str]:
    return [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else []


def _all_flags(command: Any) -> list[str]:
    return [flag for param in command.params for flag in _flags(param)]


def _missing(error: Any) -> tuple[str, str]:
    param = error.param
    name = max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name
    return f"{name} is missing", f"{param.metavar or name}: {param.help}"


def _wrong_use(error: Any) -> tuple[str, str]:
    message = error.format_message()
    command = getattr(error.ctx, "command", None)
    extra = re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message, re.DOTALL)
    if extra is None:
        return message[:1].lower() + message[1:].rstrip("."), ""
    if command is not None and "--labels" in _all_flags(command):
        return f"unexpected: {extra[1]}", f"{_COMMAS}: --labels {','.join(extra[1].split())}"
    return f"unexpected: {extra[1]}", error.ctx.get_usage() if error.ctx else ""


# --- Values --------------------------------------------------------------------------------------


def _bad_value(error: Any) -> tuple[str, str]:
    """The option as it was given, its value, and why that cannot be one."""
    value = _value(error)
    given = f"{_given(error.param)}{value}"
    annotation = error.param.type_descriptor.annotation
    allowed = error.param.type_descriptor.choices
    if allowed:
        near = difflib.get_close_matches(str(value).lower(), allowed, 1)
        return f"{given}: not one of {', '.join(allowed)}", f"Did you mean {near[0]}?" if near else ""
    if annotation is int:
        return f"{given}: not a {'whole ' if _is_number(value) else ''}number", ""
    if annotation is float:
        return f"{given}: not a number", ""
    if annotation is bool:
        return f"{given}: neither true nor false", "Write 1 or 0."
    return f"{given}: {error.message}", ""


def _given(param: Any) -> str:
    """What the user wrote before the value: one of an option's flags, or its environment variable."""
    for word in sys.argv[1:]:
        for flag in param.opts:
            if word == flag or word.startswith(f"{flag}=") or (len(flag) == 2 and word.startswith(flag)):
                return f"{flag} "
    return f"{param.envvar}=" if param.envvar in os.environ else f"{max(param.opts, key=len)} "


def _value(error: Any) -> Any:
    """The value that was refused, which Typer keeps only in the error that it comes from."""
    details: Any = getattr(error.__cause__, "errors", list)()
    return details[0]["input"] if details else ""


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


_EXPLANATIONS = {"NoSuchOption": _no_such_option, "BadParameter": _bad_value, "MissingParameter": _missing}


# --- Images and labels ---------------------------------------------------------------------------


@contextlib.contextmanager
def told_from_labels(inputs: Sequence[str], labels: str | None) -> Iterator[None]:
    """Say it in the hint of an error about the images if labels are meant, or standard input.

    Args:
        inputs: what is named as images.
        labels: what is named as labels, with commas.

    Raises:
        UsageError: the block raised one.
    """
    try:
        yield
    except UsageError as error:
        words = [word for word in inputs if not _names_images(word)]
        if not inputs and _is_fed():
            hint = "Name a single - as the input to read a list of paths from standard input."
            raise UsageError(error.message, hint) from error
        if words and words[0] in error.message:
            together = shlex.quote(",".join([*([labels] if labels else []), *words]))
            meant = f"{words[0]} is read as the path of an image. {_COMMAS}: --labels {together}"
            raise UsageError(error.message, f"{error.hint} {meant}".strip()) from error
        raise


def _is_fed() -> bool:
    """Whether a pipe or a file is the standard input."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
