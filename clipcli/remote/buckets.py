"""Objects in buckets, through fsspec: what they are, what they hold, and listings that are not held whole."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from clipcli.errors import RemoteError
from clipcli.remote.addresses import scheme_of
from clipcli.remote.clients import GOOGLE, S3, file_system
from clipcli.remote.facts import MAX_BYTES, NO_OBJECT, Entry, Facts, check_size
from clipcli.remote.failures import asked
from clipcli.remote.files import RemoteFile
from clipcli.remote.listings import LISTED, in_bucket, pages

_CONTENT = ("ETag", "etag", "blob_id", "crc32c", "generation")
_CHANGED = ("LastModified", "last_modified", "updated", "mtime")
"""What the libraries call that which tells of an object's content, and the time of its last change."""


def facts(url: str) -> Facts:
    """What a service tells of an object, in one request where that is possible.

    Raises:
        RemoteError: there is no such object, or it cannot be looked at.
    """
    system = file_system(url)
    if scheme_of(url) in (*S3, *GOOGLE):
        bucket, key, _ = system.split_path(url)
        if not key:
            raise RemoteError(NO_OBJECT)
        if scheme_of(url) in S3:
            return facts_of(asked(partial(system.call_s3, "head_object", Bucket=bucket, Key=key)))
        return facts_of(asked(partial(system.call, "GET", "b/{}/o/{}", bucket, key, json_out=True)))
    info = asked(partial(system.info, url))
    if info["type"] == "directory":
        raise RemoteError(NO_OBJECT)
    return facts_of(info)


def facts_of(info: Mapping[str, Any]) -> Facts:
    """What a listing or an answer says of one object."""
    size = info.get("ContentLength", info.get("size", info.get("Size")))
    content = [str(info[name]).strip('"') for name in _CONTENT if info.get(name)]
    changed = [_seconds(info[name]) for name in _CHANGED if info.get(name)]
    known = [*content[:1], *changed[:1]]
    return Facts(" ".join([*known, str(size)]) if known else None, None if size is None else int(size))


def _seconds(time: Any) -> str:
    """A time of change, without the fractions that only some answers have."""
    return str(int(time.timestamp())) if isinstance(time, datetime) else str(time)


def fetch(url: str, size: int | None = None, limit: int = MAX_BYTES) -> bytes:
    """The content of an object.

    Args:
        url: its address.
        size: in bytes, if it is known.
        limit: what it may have.

    Raises:
        RemoteError: there is none, or it is larger than the limit.
    """
    check_size(facts(url).size if size is None else size, limit)
    return cast(bytes, asked(partial(file_system(url).cat_file, url)))


def opened(url: str) -> BinaryIO:
    """An object as a stream that can be searched, of which only what is needed is read.

    Raises:
        RemoteError: it cannot be opened; an `OSError` tells that of reading it.
    """
    # by itself, gcsfs would read ahead at any distance, and nothing more once that has failed
    opens = partial(file_system(url).open, url, "rb", cache_type="readahead")
    return RemoteFile(opens, asked).buffered()


def children(folder: str) -> Iterator[Entry]:
    """The objects and folders in a folder, by name.

    Args:
        folder: its address, with a slash at its end.

    Raises:
        RemoteError: it cannot be listed.
    """
    return _listing(folder, "/") if scheme_of(folder) in LISTED else _listed(folder)


def below(folder: str, enters: Callable[[str], bool]) -> Iterator[Entry]:
    """All objects below a folder, in an order that stays the same.

    Args:
        folder: its address, with a slash at its end.
        enters: whether a folder is wanted, by its path below this one; it is asked once for each.

    Raises:
        RemoteError: it cannot be listed.
    """
    if scheme_of(folder) in LISTED:
        return _entered(_listing(folder), folder, enters)
    return _walked(folder, folder, enters)


def _walked(folder: str, root: str, enters: Callable[[str], bool]) -> Iterator[Entry]:
    for entry in _listed(folder):
        if not entry.is_folder:
            yield entry
        elif enters(entry.url[len(root) : -1]):
            yield from _walked(entry.url, root, enters)


def _listed(folder: str) -> Iterator[Entry]:
    """One folder, through what all services have in common: it is held while it is listed."""
    system = file_system(folder)
    scheme = scheme_of(folder)
    for info in sorted(asked(partial(system.ls, folder, detail=True)), key=lambda info: info["name"]):
        url = f"{scheme}://{info['name']}"
        if info["type"] == "directory":
            yield Entry(f"{url.rstrip('/')}/", Facts(None, None), True)
        elif url.rstrip("/") != folder.rstrip("/"):  # some list a folder as an object in itself
            yield Entry(url, facts_of(info))


def _listing(folder: str, delimiter: str = "") -> Iterator[Entry]:
    """What a service lists below a folder, or with a delimiter in it, but for what stands for a folder."""
    start = "/".join(folder.split("/", 3)[:3])
    for page in pages(folder, delimiter):
        found = {key: info for key, info in page.objects.items() if not key.endswith("/")}
        folders = dict.fromkeys(page.folders)
        for key, info in sorted((found | folders).items(), key=lambda pair: pair[0].encode()):
            url = f"{start}/{key}"
            yield Entry(url, Facts(None, None), True) if info is None else Entry(url, facts_of(info))


def _entered(entries: Iterator[Entry], root: str, enters: Callable[[str], bool]) -> Iterator[Entry]:
    """The entries of a listing of all levels that lie in folders that are wanted."""
    decided: dict[str, bool] = {"": True}  # for the folders that hold the present entry

    def is_in(folder: str) -> bool:
        if folder not in decided:
            decided[folder] = is_in(posixpath.dirname(folder)) and enters(folder)
        return decided[folder]

    for entry in entries:
        folder = posixpath.dirname(entry.url[len(root) :])
        if folder not in decided:
            left = [one for one in decided if one and not f"{folder}/".startswith(f"{one}/")]
            for one in left:
                del decided[one]
        if is_in(folder):
            yield entry


def upload(file: str, url: str) -> None:
    """Put a file of this machine into a bucket, where it appears complete or not at all.

    Raises:
        RemoteError: it cannot be written.
    """
    in_bucket(partial(file_system(url).put_file, file, url))
