"""A folder whose files together are one table, as runs on several machines write it."""

from __future__ import annotations

import os

from clipcli.errors import UsageError

SUCCESS = "_SUCCESS"
PREFIX = "part-"


def is_parted(path: str) -> bool:
    """Whether a path is such a folder, finished or not."""
    if not os.path.isdir(path):
        return False
    return os.path.exists(os.path.join(path, SUCCESS)) or bool(_parts(path))


def parts_of(path: str) -> list[str]:
    """The files of such a folder, in the order of their rows.

    Raises:
        UsageError: the run that writes it is not finished, or it holds no rows.
    """
    if not os.path.exists(os.path.join(path, SUCCESS)):
        raise UsageError(f"{path} is not finished", "Run the command that wrote it again: it goes on.")
    parts = _parts(path)
    if not parts:
        raise UsageError(f"{path} holds no rows")
    return parts


def _parts(path: str) -> list[str]:
    with os.scandir(path) as entries:
        names = sorted(one.name for one in entries if one.name.startswith(PREFIX))
    return [os.path.join(path, name) for name in names if not name.endswith(".partial")]
