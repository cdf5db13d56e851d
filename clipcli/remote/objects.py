"""Objects by their addresses, whatever service has them."""

from __future__ import annotations

import io
import shutil
from typing import IO, BinaryIO

from clipcli.errors import RemoteError
from clipcli.remote import buckets, places, web
from clipcli.remote.addresses import is_bucket, scheme_of
from clipcli.remote.facts import NO_OBJECT, Facts


def facts(url: str) -> Facts:
    """What is told of an object that is not read.

    Raises:
        RemoteError: there is none, or it cannot be looked at.
    """
    return buckets.facts(url) if is_bucket(url) else web.facts(url)


def is_missing(error: RemoteError) -> bool:
    """Whether what went wrong is that nothing is at an address."""
    return error.message == NO_OBJECT


def fetch(url: str, size: int | None = None) -> bytes:
    """The content of an object, whose size may be known already.

    Raises:
        RemoteError: there is none, it is too large, or cannot be read.
    """
    return buckets.fetch(url, size) if is_bucket(url) else web.fetch(url)


def opened(url: str) -> BinaryIO:
    """An object as a stream that can be searched: in a bucket in parts, from a web server as a whole.

    Raises:
        RemoteError: there is none, or it cannot be read.
    """
    return buckets.opened(url) if is_bucket(url) else io.BytesIO(web.fetch(url))


def save(url: str, file: IO[bytes]) -> None:
    """Copy a list or table into a file of this machine.

    Raises:
        RemoteError: there is none, it cannot be read, or there is no room for it.
    """
    try:
        if not is_bucket(url):
            file.write(web.fetch(url, wanted="list"))
            return
        with buckets.opened(url) as stream:
            shutil.copyfileobj(stream, file)
    except OSError as error:
        raise RemoteError(error.strerror or str(error)) from None


def check_writable(url: str) -> None:
    """See that an object can be written here.

    Raises:
        RemoteError: it cannot, as on a web server.
    """
    if not is_bucket(url):
        raise RemoteError(f"{scheme_of(url)} has no way to write", "Use s3://, gs:// or az://, or a file.")
    places.check_writable(url)


def upload(file: str, url: str) -> None:
    """Put a file of this machine there, where it appears complete or not at all.

    Raises:
        RemoteError: it cannot be written.
    """
    buckets.upload(file, url)
