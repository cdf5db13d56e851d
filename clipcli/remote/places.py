"""Whether objects can be written to a place: asked by uploads that come to nothing, and that nobody sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from clipcli.remote.addresses import scheme_of
from clipcli.remote.clients import AZURE, GOOGLE, S3, file_system
from clipcli.remote.failures import asked
from clipcli.remote.listings import in_bucket


def check_writable(url: str) -> None:
    """See that there can be an object of this name, before the work is done.

    Raises:
        RemoteError: there cannot.
    """
    system = file_system(url)
    begins = _upload_of(scheme_of(url))
    if begins is not None:
        bucket, key, _ = system.split_path(url)
        in_bucket(partial(begins, system, bucket, key))
        return
    attempt = f"{url}.partial"
    in_bucket(partial(system.pipe_file, attempt, b""))
    asked(partial(system.rm_file, attempt))


def _upload_of(scheme: str) -> Callable[[Any, str, str], None] | None:
    if scheme in S3:
        return _begin_in_s3
    if scheme in GOOGLE:
        return _begin_in_google
    return _begin_in_azure if scheme in AZURE else None


def _begin_in_s3(system: Any, bucket: str, key: str) -> None:
    place = {"Bucket": bucket, "Key": key}
    upload = system.call_s3("create_multipart_upload", **place)["UploadId"]
    system.call_s3("abort_multipart_upload", **place, UploadId=upload)


def _begin_in_google(system: Any, bucket: str, key: str) -> None:
    uploads = system.base.replace("/storage/v1/", "/upload/storage/v1/")
    system.call("POST", f"{uploads}b/{{}}/o", bucket, uploadType="resumable", name=key, json={"name": key})


def _begin_in_azure(system: Any, bucket: str, key: str) -> None:
    """In the place of a blob with an ETag that none has: whoever may do so is told that there is none."""
    from azure.core import MatchConditions
    from azure.core.exceptions import ResourceModifiedError
    from fsspec.asyn import sync

    impossible = {"etag": '"0x0"', "match_condition": MatchConditions.IfNotModified}

    async def begin() -> None:
        async with system.service_client.get_blob_client(bucket, key) as blob:
            with contextlib.suppress(ResourceModifiedError):
                await blob.upload_blob(b"", overwrite=True, **impossible)

    sync(system.loop, begin)
