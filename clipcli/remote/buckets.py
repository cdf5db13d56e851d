"""Objects in buckets, through fsspec: what they are, what they hold, and listings that are never held whole.

The libraries behind fsspec are asked to try once: `retries` is the one policy.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, BinaryIO, TypeVar, cast

from clipcli.errors import RemoteError
from clipcli.remote.addresses import scheme_of, without_secrets
from clipcli.remote.facts import MAX_BYTES, NO_OBJECT, Entry, Facts, check_online, check_size
from clipcli.remote.files import RemoteFile
from clipcli.remote.retries import TEMPORARY, Temporary, reads_at_once, retried, timeout
from clipcli.remote.web import refusal

_NEEDS = {
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("az", "abfs"), ("adlfs", "azure")),
    "s3": ("s3fs", "s3"),
    "hf": ("huggingface_hub", "hf"),
}
"""The library behind each service, and the extra that brings it."""

_CONTENT = ("ETag", "etag", "blob_id", "crc32c", "generation")
_CHANGED = ("LastModified", "last_modified", "updated", "mtime")
"""What the libraries call that which tells of an object's content, and the time of its last change."""

Result = TypeVar("Result")


def check_installed(url: str) -> None:
    """See that the library behind an address is there.

    Raises:
        RemoteError: it must be installed first.
    """
    library, extra = _NEEDS[scheme_of(url)]
    if find_spec(library) is None:
        hint = f"pip install 'clipcli[{extra}]'"
        raise RemoteError(f"{scheme_of(url)}:// needs {library}", hint)


def facts(url: str) -> Facts:
    """What a service tells of an object, in one request where that is possible.

    Raises:
        RemoteError: there is no such object, or it cannot be looked at.
    """
    system = _system(url)
    if scheme_of(url) == "s3":
        bucket, key, _ = system.split_path(url)
        if not key:
            raise RemoteError(NO_OBJECT)
        return facts_of(_asked(partial(system.call_s3, "head_object", Bucket=bucket, Key=key)))
    info = _asked(partial(system.info, url))
    if info["type"] == "directory":
        raise RemoteError(NO_OBJECT)
    return facts_of(info)


def facts_of(info: dict[str, Any]) -> Facts:
    """What a listing or an answer says of one object."""
    size = info.get("ContentLength", info.get("size", info.get("Size")))
    content = [str(info[name]).strip('"') for name in _CONTENT if info.get(name)]
    changed = [_seconds(info[name]) for name in _CHANGED if info.get(name)]
    known = [*content[:1], *changed[:1]]
    return Facts(" ".join([*known, str(size)]) if known else None, size)


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
    return cast(bytes, _asked(partial(_system(url).cat_file, url)))


def opened(url: str) -> BinaryIO:
    """An object as a stream that can be searched, of which only what is needed is read.

    Raises:
        RemoteError: it cannot be opened; an `OSError` tells that of reading it.
    """
    return RemoteFile(partial(_asked, partial(_system(url).open, url, "rb")), _failures).buffered()


def children(folder: str) -> Iterator[Entry]:
    """The objects and folders in a folder, by name.

    Args:
        folder: its address, with a slash at its end.

    Raises:
        RemoteError: it cannot be listed.
    """
    if scheme_of(folder) == "s3":
        return _s3_listing(folder, "/")
    return _listed(folder)


def below(folder: str, enters: Callable[[str], bool]) -> Iterator[Entry]:
    """All objects below a folder, in an order that stays the same.

    Args:
        folder: its address, with a slash at its end.
        enters: whether a folder is wanted, by its path below this one; it is asked once for each.

    Raises:
        RemoteError: it cannot be listed.
    """
    if scheme_of(folder) == "s3":
        return _entered(_s3_listing(folder), folder, enters)
    return _walked(folder, folder, enters)


def _walked(folder: str, root: str, enters: Callable[[str], bool]) -> Iterator[Entry]:
    for entry in _listed(folder):
        if not entry.is_folder:
            yield entry
        elif enters(entry.url[len(root) : -1]):
            yield from _walked(entry.url, root, enters)


def _listed(folder: str) -> Iterator[Entry]:
    """One folder, through what all services have in common: it is held while it is listed."""
    system = _system(folder)
    scheme = scheme_of(folder)
    for info in sorted(_asked(partial(system.ls, folder, detail=True)), key=lambda info: info["name"]):
        url = f"{scheme}://{info['name']}"
        if info["type"] == "directory":
            yield Entry(f"{url.rstrip('/')}/", Facts(None, None), True)
        elif url.rstrip("/") != folder.rstrip("/"):  # some list a folder as an object in itself
            yield Entry(url, facts_of(info))


def _s3_listing(folder: str, delimiter: str = "") -> Iterator[Entry]:
    """What S3 lists below a folder, or with a delimiter in it: page by page, in the order of the bytes."""
    system = _system(folder)
    bucket, prefix, _ = system.split_path(folder)
    request = {"Bucket": bucket, "Prefix": f"{prefix.rstrip('/')}/" if prefix else "", "Delimiter": delimiter}
    while True:
        page = _asked(partial(system.call_s3, "list_objects_v2", **request))
        objects = {one["Key"]: one for one in page.get("Contents", ()) if not one["Key"].endswith("/")}
        folders = {one["Prefix"]: None for one in page.get("CommonPrefixes", ())}
        for key, found in sorted((objects | folders).items(), key=lambda pair: pair[0].encode()):
            url = f"s3://{bucket}/{key}"
            yield Entry(url, facts_of(found)) if found else Entry(url, Facts(None, None), True)
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


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
    _asked(partial(_system(url).put_file, file, url))


def check_writable(url: str) -> None:
    """See that there can be an object of this name, before the work is done.

    Raises:
        RemoteError: there cannot.
    """
    system = _system(url)
    if scheme_of(url) == "s3":  # an upload that never ends leaves nothing that anybody sees
        bucket, key, _ = system.split_path(url)
        place = {"Bucket": bucket, "Key": key}
        upload = _asked(partial(system.call_s3, "create_multipart_upload", **place))["UploadId"]
        _asked(partial(system.call_s3, "abort_multipart_upload", **place, UploadId=upload))
        return
    attempt = f"{url}.partial"
    _asked(partial(system.pipe_file, attempt, b""))
    _asked(partial(system.rm_file, attempt))


def _system(url: str) -> Any:
    check_online()
    check_installed(url)
    return _file_system(scheme_of(url), os.getpid())


@lru_cache(maxsize=len(_NEEDS))
def _file_system(scheme: str, pid: int) -> Any:
    """The file system of this process for a service: one for all threads, which share its connections."""
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        once = {"total_max_attempts": 1, "mode": "standard"}
        slow = {"connect_timeout": timeout(), "read_timeout": timeout()}
        options["max_concurrency"] = 1  # more begins each reading of an object by asking for its size
        options["config_kwargs"] = {"retries": once, "max_pool_connections": reads_at_once(), **slow}
    system = fsspec.filesystem(scheme, **options)
    system.retries = 1
    return system


# --- Failures ------------------------------------------------------------------------------------


def _asked(request: Callable[[], Result]) -> Result:
    """What a service answers, tried again where that may help.

    Raises:
        RemoteError: it refuses, or cannot be reached.
    """

    def attempt() -> Result:
        with _failures():
            return request()

    return retried(attempt)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what the libraries raise into reasons.

    Raises:
        RemoteError, Temporary: instead of any error.
    """
    try:
        yield
    except (RemoteError, Temporary):
        raise
    except Exception as error:  # each library has exceptions of its own, and fsspec passes most of them on
        raise _reason(error) from None


def _reason(error: Exception) -> Exception:
    chain = list(_chain(error))
    status = next(filter(None, map(_status, chain)), 0)
    if status in TEMPORARY:
        return Temporary(f"server busy: HTTP {status}", next(filter(None, map(_after, chain)), None))
    if isinstance(error, FileNotFoundError):
        return RemoteError("no such bucket" if "bucket does not exist" in str(error) else NO_OBJECT)
    names = " ".join(type(one).__name__ for one in chain)
    if "Credential" in names:
        return RemoteError("access denied: no credentials are found")
    if isinstance(error, PermissionError):
        return RemoteError(f"access denied: {_told(error)}")
    return _interrupted(names) or RemoteError(
        refusal(status) if status >= 400 else f"refused: {_told(error)}"
    )


def _interrupted(names: str) -> Temporary | None:
    """The failure of a connection, by the names of the exceptions."""
    if "Timeout" in names:
        return Temporary(f"timeout: no data for {timeout():g} s", attempts=2)
    is_lost = any(word in names for word in ("Connect", "Disconnect", "Payload", "IncompleteRead"))
    return Temporary("connection lost, or none to be had") if is_lost else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, wherever its library keeps it."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        holders = (response, error)
        names = ("status_code", "status", "code")
        status = next(
            (v for one in holders for name in names if isinstance(v := getattr(one, name, None), int)), 0
        )
    return int(status) if status else None


def _after(error: BaseException) -> float | None:
    """Seconds that the service asks to wait."""
    response: Any = getattr(error, "response", None)
    headers = (
        response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(response, dict) else {}
    )
    asked = str(headers.get("retry-after", ""))
    return float(asked) if asked.isdecimal() else None


def _told(error: BaseException) -> str:
    """What a library says, in one line without secrets."""
    lines = without_secrets(getattr(error, "strerror", None) or str(error)).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
