"""What buckets hold, page by page, in the order of the bytes of the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from clipcli.errors import RemoteError
from clipcli.remote.addresses import scheme_of
from clipcli.remote.clients import AZURE, GOOGLE, S3, file_system
from clipcli.remote.facts import NO_BUCKET, NO_OBJECT
from clipcli.remote.failures import asked

LISTED = (*S3, *GOOGLE, *AZURE)
"""What the addresses of services begin with that list their objects in pages."""

Result = TypeVar("Result")


class Page(NamedTuple):
    """A part of a listing.

    Args:
        objects: what the service tells of each, by their keys.
        folders: the beginnings that keys have in common, up to and with the delimiter.
        following: what asks for the next page; None or empty after the last one.
    """

    objects: Mapping[str, Any]
    folders: list[str]
    following: str | None


def pages(folder: str, delimiter: str = "") -> Iterator[Page]:
    """What a bucket has below a folder, or with a delimiter in it.

    Args:
        folder: its address, with a slash at its end.
        delimiter: a slash, or nothing.

    Raises:
        RemoteError: it cannot be listed.
    """
    system = file_system(folder)
    bucket, prefix, _ = system.split_path(folder)
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    following = None
    while True:
        page = in_bucket(partial(_page_of(folder), system, bucket, prefix, delimiter, following))
        yield page
        following = page.following
        if not following:
            return


def in_bucket(request: Callable[[], Result]) -> Result:
    """What a service answers of a bucket and no object in it: only that can be missing.

    Raises:
        RemoteError: it is, or as in `asked`.
    """
    try:
        return asked(request)
    except RemoteError as error:
        raise RemoteError(NO_BUCKET) if error.message == NO_OBJECT else error from None


def _page_of(url: str) -> Callable[..., Page]:
    scheme = scheme_of(url)
    if scheme in S3:
        return _s3_page
    return _google_page if scheme in GOOGLE else _azure_page


def _s3_page(system: Any, bucket: str, prefix: str, delimiter: str, following: str | None) -> Page:
    request = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter}
    if following:
        request["ContinuationToken"] = following
    page = system.call_s3("list_objects_v2", **request)
    objects = {one["Key"]: one for one in page.get("Contents", ())}
    folders = [one["Prefix"] for one in page.get("CommonPrefixes", ())]
    return Page(objects, folders, page.get("NextContinuationToken"))


def _google_page(system: Any, bucket: str, prefix: str, delimiter: str, following: str | None) -> Page:
    request = {"prefix": prefix or None, "delimiter": delimiter or None, "pageToken": following}
    page = system.call("GET", "b/{}/o", bucket, json_out=True, **request)
    objects = {one["name"]: one for one in page.get("items", ())}
    return Page(objects, page.get("prefixes", []), page.get("nextPageToken"))


def _azure_page(system: Any, bucket: str, prefix: str, delimiter: str, following: str | None) -> Page:
    """By Azure's own client: where a blob is called like a folder, adlfs lists the one or the other."""
    from fsspec.asyn import sync

    async def page() -> Page:
        wanted = {"name_starts_with": prefix or None, "include": ["metadata"]}
        async with system.service_client.get_container_client(bucket) as container:
            listing = (
                container.walk_blobs(delimiter=delimiter, **wanted)
                if delimiter
                else container.list_blobs(**wanted)
            )
            found = listing.by_page(following)
            entries = [entry async for entry in await anext(found)]
        blobs = {one.name: one for one in entries if "size" in one and not _is_marker(one)}
        folders = [one.name for one in entries if "size" not in one]
        return Page(blobs, folders, found.continuation_token)

    return sync(system.loop, page)  # type: ignore[no-any-return]


def _is_marker(blob: Any) -> bool:
    """Whether a blob is there only to say that there is a folder, as in hierarchical namespaces."""
    metadata = {name.lower(): value for name, value in (blob.metadata or {}).items()}
    return "true" in (metadata.get("hdi_isfolder"), metadata.get("is_directory"))
