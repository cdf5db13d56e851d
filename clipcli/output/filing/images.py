"""The files of predicted images: where they are, and why some of them are left alone."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from typing import NamedTuple

from clipcli.inputs.formats import member_of
from clipcli.output.filing.placing import certain, status

MISSING, LINK_TO_NOTHING, NO_FILE = "no such file", "a link to a file that is gone", "not a regular file"
NOT_LOCAL = "not a file of its own on this computer"
INSIDE = "inside an archive: unpack it first"
TWICE, UNREAD = "named more than once; its first row counts", "it could not be read, so it has no label"
_ELSEWHERE = re.compile(
    r"^[A-Za-z][A-Za-z0-9+.-]+://|!/|#(page|t|frame)=|\.(?i:parquet|arrow|feather|ipc)#|^array [0-9]+$"
)


class Left(NamedTuple):
    """An image that stays as it is, and why; `is_problem` if the user may want to do something about it."""

    image: str
    reason: str
    is_problem: bool = True


def why_left(name: str, path: str) -> Left | None:
    """Why an image is left alone; None for one that is a file, or a link to one.

    Args:
        name: what the predictions call it.
        path: where it should be.
    """
    try:
        certain(path)
        return None if stat.S_ISREG(os.stat(path).st_mode) else Left(name, NO_FILE)
    except FileNotFoundError:
        if _ELSEWHERE.search(name):
            return Left(name, INSIDE if member_of(name) else NOT_LOCAL, is_problem=False)
        return Left(name, MISSING if status(path) is None else LINK_TO_NOTHING)
    except (OSError, ValueError) as error:
        return Left(name, reason_of(error))


def reason_of(error: Exception) -> str:
    """What an error says, without the name of the file."""
    return getattr(error, "strerror", None) or str(error)


def real_path(path: str) -> str:
    """An absolute path whose folders are no links; the file itself may be one."""
    folder, name = os.path.split(path)
    try:
        return os.path.join(_real_folder(folder), name)
    except ValueError:  # no file can have such a name: with NUL, or half a character
        return path


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder or ".")
