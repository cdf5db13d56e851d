"""What the libraries behind fsspec raise, as reasons: each has exceptions of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from clipcli.errors import RemoteError
from clipcli.remote.addresses import without_secrets
from clipcli.remote.facts import NO_BUCKET, NO_OBJECT
from clipcli.remote.retries import TEMPORARY, Temporary, retried, timeout
from clipcli.remote.web import refusal

Result = TypeVar("Result")


def asked(request: Callable[[], Result]) -> Result:
    """What a service answers, tried again where that may help.

    Raises:
        RemoteError: it refuses, or cannot be reached.
    """

    def attempt() -> Result:
        with failures():
            return request()

    return retried(attempt)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn what the libraries raise into reasons.

    Raises:
        RemoteError, Temporary: instead of any error.
    """
    try:
        yield
    except (RemoteError, Temporary):
        raise
    except Exception as error:  # each library has exceptions of its own, and fsspec passes most of them on
        raise reason_of(error) from None


def reason_of(error: Exception) -> Exception:
    chain = list(_chain(error))
    status = next(filter(None, map(_status, chain)), 0)
    if status in TEMPORARY:
        return Temporary(f"server busy: HTTP {status}", next(filter(None, map(_after, chain)), None))
    if isinstance(error, FileNotFoundError):
        return RemoteError(NO_BUCKET if "bucket does not exist" in str(error) else NO_OBJECT)
    names = " ".join(type(one).__name__ for one in chain)
    if "Credential" in names or ("ClientAuthentication" in names and not status):  # the latter is Azure's
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
    if type(error).__name__ == "ProxyError":  # what gcsfs makes of it
        return 502
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):  # the same
        return 403
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
    if isinstance(response, dict):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    else:
        headers = getattr(response, "headers", None) or {}
    wait = str(headers.get("retry-after", ""))
    return float(wait) if wait.isdecimal() else None


def _told(error: BaseException) -> str:
    """What a library says, in one line without secrets."""
    lines = without_secrets(getattr(error, "strerror", None) or str(error)).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
