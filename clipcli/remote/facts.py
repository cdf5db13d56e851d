"""What is known of an object before it is read, and limits that hold for all services."""

from __future__ import annotations

import os
from typing import NamedTuple

from clipcli.errors import RemoteError

OFFLINE = "HF_HUB_OFFLINE"
"""The environment variable that keeps everything off the network, as it does in huggingface_hub."""

MAX_BYTES = 2**31
"""Larger objects are refused, before they are read or while they are: 2.1 GB, as for files."""


NO_OBJECT, NO_BUCKET = "no such object", "no such bucket"
"""The reasons where there is nothing at an address."""


class Facts(NamedTuple):
    """What a service tells of an object.

    Args:
        token: changes when the content does; None where nothing tells that.
        size: in bytes, if it is known.
    """

    token: str | None
    size: int | None


class Entry(NamedTuple):
    """An object of a listing, or a folder of it, whose address ends with a slash."""

    url: str
    facts: Facts
    is_folder: bool = False


def check_online() -> None:
    """See that the network may be used.

    Raises:
        RemoteError: it may not.
    """
    if os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE"):
        raise RemoteError("offline: nothing is read from the network")


def check_size(size: int | None, limit: int) -> None:
    """See that an object is not larger than a limit, if its size is known.

    Raises:
        RemoteError: it is.
    """
    if size is not None and size > limit:
        raise RemoteError(f"too large: {size / 1e9:.1f} GB, the limit is {limit / 1e9:.1f} GB")
