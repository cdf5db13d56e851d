"""What a file held before it was written anew, as the part that differs: little if only metadata change."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import NamedTuple

from clipcli.output.filing.journal import Record


class Delta(NamedTuple):
    """How to get the former content back from the new one.

    Args:
        start: how many bytes both begin with.
        end: how many bytes both end with.
        middle: what the former content had between them.
    """

    start: int
    end: int
    middle: bytes

    @classmethod
    def between(cls, former: bytes, new: bytes) -> Delta:
        """The delta of two contents."""
        start = _shared(former, new)
        end = _shared(former[start:][::-1], new[start:][::-1])
        return cls(start, end, former[start : len(former) - end])

    def former(self, new: bytes) -> bytes:
        """The former content."""
        return new[: self.start] + self.middle + new[len(new) - self.end :]

    def as_record(self) -> Record:
        """As it is written to a journal."""
        packed = base64.b64encode(zlib.compress(self.middle)).decode("ascii")
        return {"start": self.start, "end": self.end, "middle": packed}

    @classmethod
    def of(cls, record: Record) -> Delta:
        """As it is read from a journal."""
        return cls(record["start"], record["end"], zlib.decompress(base64.b64decode(record["middle"])))


def digest(content: bytes) -> str:
    """The SHA-256 of a content, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two contents begin with both."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
