"""The exceptions that clipcli raises on purpose.

ClipcliError                    something the user can act on; exit code 1
├── UsageError                  wrong arguments or files given by the user; exit code 2
│   ├── PromptError             a class list, template or label is wrong
│   └── UnknownModelError       no model of that name
├── ModelError                  a model cannot be used
│   ├── WeightsUnavailableError neither cached nor reachable
│   ├── WeightsDamagedError     the file is truncated, altered or of another architecture
│   └── ModelMismatchError      class embeddings were made by another model
├── OutputError                 the result cannot be written
├── RemoteError                 a server or a bucket does not give, or take, what is asked for
└── ImageError                  one image cannot be read; becomes a row, never stops a run

Only `clipcli.cli.console` turns them into text and exit codes.
"""

from __future__ import annotations


class ClipcliError(Exception):
    """An error with a message for the user and, where there is one, a hint what to do.

    Args:
        message: what is wrong, with which file.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ClipcliError):
    """Wrong arguments, or a file named by the user that cannot serve."""

    exit_code = 2


class PromptError(UsageError):
    """A class list, a template or a label is wrong."""


class UnknownModelError(UsageError):
    """No model of that name exists."""


class ModelError(ClipcliError):
    """A model cannot be used."""


class WeightsUnavailableError(ModelError):
    """The weights are neither in the cache nor reachable."""


class WeightsDamagedError(ModelError):
    """The weights file is truncated, altered, or does not fit the architecture."""


class ModelMismatchError(ModelError):
    """Class embeddings and images come from different models."""


class OutputError(ClipcliError):
    """The result cannot be written."""


class RemoteError(ClipcliError):
    """A server or a bucket does not give, or take, what is asked for. It becomes one of the other errors."""


class ImageError(ClipcliError):
    """One image cannot be read. The pipeline turns it into an `ImageFailure`."""


class ClipcliWarning(UserWarning):
    """Something to tell the user that does not stop the run."""
