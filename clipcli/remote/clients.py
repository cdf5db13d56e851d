"""The libraries behind fsspec, which are asked to try once: `retries` is the one policy for all services."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from importlib.util import find_spec
from types import MethodType
from typing import Any

from clipcli.errors import RemoteError
from clipcli.remote.addresses import scheme_of
from clipcli.remote.facts import check_online
from clipcli.remote.failures import asked
from clipcli.remote.retries import reads_at_once, timeout

S3, GOOGLE, AZURE = ("s3",), ("gs", "gcs"), ("az", "abfs")
"""What the addresses of a service begin with."""

_NEEDS = {
    **dict.fromkeys(GOOGLE, ("gcsfs", "gcs")),
    **dict.fromkeys(AZURE, ("adlfs", "azure")),
    "s3": ("s3fs", "s3"),
    "hf": ("huggingface_hub", "hf"),
}
"""The library behind each service, and the extra that brings it."""

_OPTIONS: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}


def check_installed(url: str) -> None:
    """See that the library behind an address is there.

    Raises:
        RemoteError: it must be installed first.
    """
    library, extra = _NEEDS[scheme_of(url)]
    if find_spec(library) is None:
        hint = f"pip install 'clipcli[{extra}]'"
        raise RemoteError(f"{scheme_of(url)}:// needs {library}", hint)


def file_system(url: str) -> Any:
    """The file system of this process for the service of an address: one for all threads, which share its
    connections.

    Raises:
        RemoteError: the network is not to be used, or the library is not installed or cannot be set up.
    """
    check_online()
    check_installed(url)
    return asked(partial(file_system_of, scheme_of(url), os.getpid()))


@lru_cache(maxsize=len(_NEEDS))
def file_system_of(scheme: str, pid: int) -> Any:
    """That of a service in this process; errors are those of its library."""
    import fsspec

    if scheme in S3:
        return _s3()
    if scheme in GOOGLE:
        return _google()
    return _azure() if scheme in AZURE else fsspec.filesystem(scheme, **_OPTIONS)


def _s3() -> Any:
    import fsspec

    once = {"total_max_attempts": 1, "mode": "standard"}
    slow = {"connect_timeout": timeout(), "read_timeout": timeout()}
    config = {"retries": once, "max_pool_connections": reads_at_once(), **slow}
    # more than one at a time begins each reading of an object by asking for its size
    system = fsspec.filesystem("s3", max_concurrency=1, config_kwargs=config, **_OPTIONS)
    system.retries = 1
    return system


def _google() -> Any:
    """Over HTTP alone: what gcsfs takes by itself asks for the kind of a bucket by gRPC first, before each
    object where that is refused, as in public buckets; and gRPC does not survive a fork."""
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    slow = ClientTimeout(total=None, sock_connect=timeout(), sock_read=timeout())
    system = GCSFileSystem(requests_timeout=slow, **_OPTIONS)
    system._request = MethodType(GCSFileSystem._request.__wrapped__, system)  # without trying six times
    return system


def _azure() -> Any:
    """By itself, the client would try four times, for more than a minute, and wait as long for an answer."""
    import fsspec

    try:
        system = fsspec.filesystem("az", **_OPTIONS)
    except ValueError:
        hint = "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and a key or token."
        raise RemoteError("no storage account is set up", hint) from None
    pipeline = system.service_client._pipeline  # which the clients of containers and blobs share
    for policy in pipeline._impl_policies:
        if hasattr(policy, "total_retries"):
            policy.total_retries = 0
    config = pipeline._transport.connection_config
    config.timeout = config.read_timeout = timeout()
    return system
