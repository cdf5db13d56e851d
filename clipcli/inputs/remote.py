"""Images on web servers and in buckets, as items."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from clipcli.errors import ImageError, RemoteError
from clipcli.records import NO_COLUMNS, Columns, Version
from clipcli.remote import objects
from clipcli.remote.addresses import shown
from clipcli.remote.facts import Facts


@dataclass(frozen=True, slots=True)
class RemoteItem:
    """An image at an address.

    Args:
        name: the address, without what gives access.
        url: the whole address, if that is another.
        facts: what a listing told of the object; None asks for it.
    """

    name: str
    columns: Columns = field(default_factory=dict)
    truth: str | None = None
    url: str | None = field(default=None, repr=False)
    facts: Facts | None = None
    kind: ClassVar[str] = "remote object"
    is_remote: ClassVar[bool] = True

    def version(self) -> Version | None:
        """By the ETag and the time of change; None if there is no object, or nothing tells of a change."""
        try:
            token = (self.facts or objects.facts(self.location)).token
        except RemoteError:  # told when it is read
            return None
        return None if token is None else Version(self.name.encode(errors="surrogateescape"), token)

    def read(self) -> bytes:
        """The object's content."""
        with as_image_errors():
            return objects.fetch(self.location, self.facts.size if self.facts else None)

    @property
    def location(self) -> str:
        """The whole address."""
        return self.url or self.name


def remote_item(url: str, columns: Columns = NO_COLUMNS) -> RemoteItem:
    """The image at an address, unread."""
    name = shown(url)
    return RemoteItem(name, columns, url=None if name == url else url)


@contextlib.contextmanager
def as_image_errors() -> Iterator[None]:
    """Turn what keeps an object from being read into the reason of a row."""
    try:
        yield
    except RemoteError as error:
        raise ImageError(": ".join(filter(None, (error.message, error.hint)))) from None
