"""Names with braces, as shells expand them: `shard-{000..099}.tar`, `{train,test}.parquet`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from clipcli.errors import UsageError

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{(\d+\.\.\d+|[^{},]*(?:,[^{},]*)+)\}")
_MOST_NAMES = 1_000_000


def braced(path: str) -> Iterator[str]:
    """The names that a name with braces stands for, in order; another one, or that of a file, as it is.

    Args:
        path: such as `train-{00000..00003}-of-00004.parquet`; zeros in front stay.

    Raises:
        UsageError: a range stands for more than a million names.
    """
    found = None if os.path.lexists(path) else _BRACES.search(path)
    if found is None:
        yield path
        return
    before, after = path[: found.start()], path[found.end() :]
    for word in _words(found[1], path):
        yield from braced(f"{before}{word}{after}")


def _words(inside: str, path: str) -> Iterator[str]:
    limits = _RANGE.fullmatch(inside)
    if limits is None:
        yield from inside.split(",")
        return
    first, last = int(limits[1]), int(limits[2])
    if abs(last - first) >= _MOST_NAMES:
        raise UsageError(f"{path} stands for more than {_MOST_NAMES:,} names")
    width = max(map(len, limits.groups())) if limits[1].startswith("0") or limits[2].startswith("0") else 0
    step = 1 if last >= first else -1
    yield from (f"{number:0{width}}" for number in range(first, last + step, step))
