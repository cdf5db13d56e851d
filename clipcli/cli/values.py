"""What the values of options mean, where Typer has no type for it."""

from __future__ import annotations

import os
import re

from clipcli.errors import UsageError


def fraction(option: str, text: str) -> float:
    """The number that the value of an option means; its range is checked where it is used.

    Raises:
        UsageError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        percent = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text)
        hint = f"{percent[0].strip()} is {float(percent[1]) / 100:g}." if percent else ""
        raise UsageError(f"`{option}` must be a number from 0 to 1, not {text!r}", hint) from None


def numbers(option: str, text: str | None) -> list[float]:
    """The numbers that the value of an option lists; none without a value.

    Raises:
        UsageError: one is no number.
    """
    try:
        return [] if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        hint = "Separate them by commas, such as 0.7,0.2,0.1."
        raise UsageError(f"`{option}` must be numbers, not {text!r}", hint) from None


def offline(is_given: bool) -> bool:
    """Whether the network is not to be used: then it is not, by anything in this process from now on."""
    if is_given:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return is_given


_UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """The seconds that a time means, such as 1s, 500ms, 2m; a plain number is seconds.

    Raises:
        UsageError: it is no time.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|min|h|)\s*", text)
    if found is None:
        raise UsageError(f"`every` must be a time, not {text!r}", "Use 1s, 500ms or 2m.")
    return float(found[1]) * _UNITS[found[2]]
