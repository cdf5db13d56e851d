"""The images at an address: one, or in a bucket those of a folder or a glob."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterator
from fnmatch import fnmatchcase

from clipcli.errors import RemoteError, UsageError
from clipcli.inputs.remote import RemoteItem, remote_item
from clipcli.inputs.tables.recognise import table_format
from clipcli.inputs.walk import Globs, Search, any_search, is_taken
from clipcli.records import ImageFailure, Item
from clipcli.remote import buckets, objects
from clipcli.remote.addresses import is_bucket, shown, without_query
from clipcli.remote.facts import Entry, check_online


class Address:
    """What an address names: an image, or in a bucket a folder or a glob.

    Args:
        url: the address.

    Raises:
        UsageError: nothing is there, or a table; it may not be looked at, the network is not to be used, or
            the library behind the service is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        if table_format(without_query(url)) and not glob.has_magic(url):
            raise UsageError(f"{shown(url)} is a table, not an image", f"Use `from_file` {shown(url)}.")
        try:
            check_online()
            if is_bucket(url) and not self._exists():
                raise UsageError(f"nothing is at {url}")
        except RemoteError as error:
            raise UsageError(f"{shown(url)} cannot be read: {error.message}", error.hint) from None

    def items(self, search: Search) -> Iterator[Item | ImageFailure]:
        """The images, always in the same order; what cannot be listed is an `ImageFailure`."""
        if not is_bucket(self._url):
            yield remote_item(self._url)
            return
        try:
            for entry in self._found(search):
                yield RemoteItem(entry.url, facts=entry.facts)
        except RemoteError as error:
            yield ImageFailure(self._url, f"cannot be listed: {error.message}")

    def _exists(self) -> bool:
        """Whether there is an object, a folder with anything in it, or a match."""
        if glob.has_magic(self._url):
            return next(self._found(any_search()), None) is not None
        is_there = _object(self._url) is not None
        return is_there or next(buckets.children(f"{self._url.rstrip('/')}/"), None) is not None

    def _found(self, search: Search) -> Iterator[Entry]:
        single = _object(self._url)
        if single is not None:
            yield single
        elif glob.has_magic(self._url):
            yield from _matches(self._url, search)
        else:
            yield from _images_below(f"{self._url.rstrip('/')}/", search)


def _object(url: str) -> Entry | None:
    """The object at an address; None if there may be a folder instead."""
    if url.endswith("/"):
        return None
    try:
        return Entry(url, buckets.facts(url))
    except RemoteError as error:
        if objects.is_missing(error):
            return None
        raise


def _images_below(folder: str, search: Search) -> Iterator[Entry]:
    """The wanted images below a folder, whose address ends with a slash."""

    def enters(relative: str) -> bool:
        return is_taken(*_parted(relative, "folder"), search)

    for entry in buckets.below(folder, enters):
        relative = entry.url[len(folder) :]
        if is_taken(*_parted(relative, "file"), search):
            yield entry


def _matches(url: str, search: Search) -> Iterator[Entry]:
    """Objects that match a glob, and images in folders that do; with `**`, images at any depth."""
    scheme, _, path = url.partition("://")
    bucket, *parts = path.split("/")
    yield from _expanded(f"{scheme}://{bucket}/", parts, search)


def _expanded(folder: str, parts: list[str], search: Search) -> Iterator[Entry]:
    """What matches the parts of a glob, level by level, so that nothing is listed that cannot match."""
    first, *rest = parts
    if first == "**":
        yield from _images_below(folder, search._replace(below=Globs(["/" + "/".join(parts)], folder)))
    elif not glob.has_magic(first):
        yield from (
            _expanded(f"{folder}{first}/", rest, search) if rest else _named(f"{folder}{first}", search)
        )
    else:
        for entry in buckets.children(folder):
            name = entry.url[len(folder) :].rstrip("/")
            if not fnmatchcase(name, first) or (name.startswith(".") and not first.startswith(".")):
                continue
            if not entry.is_folder:
                yield from () if rest else (entry,)
            else:
                yield from (
                    _expanded(entry.url, rest, search) if any(rest) else _images_below(entry.url, search)
                )


def _named(url: str, search: Search) -> Iterator[Entry]:
    single = _object(url)
    yield from _images_below(f"{url.rstrip('/')}/", search) if single is None else (single,)


def _parted(relative: str, kind: str) -> tuple[str, str, str]:
    """The last part of a path, what it is, and the path before it."""
    name = posixpath.basename(relative)
    return name, kind, relative.removesuffix(name)
