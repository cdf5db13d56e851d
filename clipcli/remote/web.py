"""Objects on web servers: http and https, with the proxies and the .netrc file that `requests` finds."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

from clipcli.errors import RemoteError
from clipcli.remote.addresses import unsigned_digest
from clipcli.remote.facts import MAX_BYTES, NO_OBJECT, Facts, check_online, check_size
from clipcli.remote.retries import TEMPORARY, Temporary, reads_at_once, retried, timeout
from clipcli.version import __version__

if TYPE_CHECKING:
    import requests

_PART = 1 << 16
_LARGE = 1 << 26  # bytes; of larger bodies, one is read at a time
_SLOWEST = 1000  # bytes a second
_RACY_SECONDS = 2  # a time of change has whole seconds
_MARKUP = ("text/html", "application/xhtml", "application/xml", "text/xml")
_PAGES = {"image": (*_MARKUP, "application/json"), "list": _MARKUP}
_HEADERS = {
    "User-Agent": f"clipcli/{__version__}",
    "Accept": "image/*,*/*;q=0.8",
    "Accept-Encoding": "identity",
}
_large = threading.Lock()


def facts(url: str) -> Facts:
    """What a server tells of an object without sending it.

    A server that is too slow is asked once only: whoever wants the object finds that out.

    Raises:
        RemoteError: there is no such object, or the server does not tell.
    """
    with retried(partial(_answer, "HEAD", url, slow_attempts=1)) as response:
        return _facts(response.headers, url)


def fetch(url: str, limit: int = MAX_BYTES, wanted: Literal["image", "list"] = "image") -> bytes:
    """The content of an object.

    Args:
        url: its address.
        limit: how many bytes it may have.
        wanted: what it should be; a list, or a table, may be JSON.

    Raises:
        RemoteError: there is none, it is larger than the limit, or not what is wanted but a page.
    """
    return retried(partial(_body, url, limit, wanted))


def _facts(headers: Any, url: str) -> Facts:
    changed, tag = headers.get("Last-Modified", ""), headers.get("ETag", "")
    length = headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    if not tag and (not changed or _is_racy(changed, headers.get("Date", ""))):
        return Facts(None, size)
    return Facts(" ".join(filter(None, (tag, changed, length, unsigned_digest(url)))), size)


def _is_racy(changed: str, now: str) -> bool:
    """Whether an object was changed so lately that it may change again within the same second."""
    try:
        seconds = (parsedate_to_datetime(now) - parsedate_to_datetime(changed)).total_seconds()
    except (TypeError, ValueError):
        return True
    return seconds < _RACY_SECONDS


def _body(url: str, limit: int, wanted: Literal["image", "list"]) -> bytes:
    with _answer("GET", url) as response, _failures():
        length = response.headers.get("Content-Length", "")
        check_size(int(length) if length.isdecimal() else None, limit)
        content = bytearray()
        with contextlib.ExitStack() as stack:
            for part in _parts(response.raw):
                if not content:
                    _check_is_no_page(response.headers.get("Content-Type", ""), part, wanted)
                elif len(content) <= _LARGE < len(content) + len(part):
                    stack.enter_context(_large)
                content += part
                if len(content) > limit:
                    raise RemoteError(f"too large: the limit is {limit / 1e9:.1f} GB")
        return bytes(content)


def _parts(stream: Any) -> Iterator[bytes]:
    """A body, as it arrives.

    Raises:
        Temporary: it stops, or goes on so slowly that it will never end.
    """
    started, received = time.monotonic(), 0
    while part := stream.read1(_PART, decode_content=True):
        yield part
        received += len(part)
        seconds = time.monotonic() - started
        if seconds > timeout() and received < seconds * _SLOWEST:
            raise Temporary(f"timeout: less than {_SLOWEST} bytes a second", attempts=2)


def _check_is_no_page(kind: str, start: bytes, wanted: Literal["image", "list"]) -> None:
    """Servers send pages, to log in with or to say what is wrong, with the status of a success.

    Raises:
        RemoteError: this is one.
    """
    if kind.lower().startswith(_PAGES[wanted]) and start.lstrip()[:1] in (b"<", b"{", b"["):
        raise RemoteError(f"no {wanted} but a page, perhaps to log in with: {kind.partition(';')[0]}")


def _answer(method: str, url: str, slow_attempts: int = 2) -> requests.Response:
    """The beginning of a successful answer, after redirects.

    Raises:
        RemoteError: the server refuses, or cannot be reached.
        Temporary: it may answer later.
    """
    check_online()
    with _failures(slow_attempts):
        response = _session(os.getpid()).request(
            method, url, timeout=timeout(), stream=method != "HEAD", allow_redirects=True
        )
    if response.ok:
        return response
    response.close()
    if response.status_code in TEMPORARY:
        raise Temporary(f"server busy: HTTP {response.status_code}", _asked_to_wait(response.headers))
    raise RemoteError(refusal(response.status_code))


def refusal(status: int) -> str:
    """What an HTTP status means that will not pass."""
    if status in (404, 410):
        return NO_OBJECT
    return f"access denied: HTTP {status}" if status in (401, 403, 407) else f"refused: HTTP {status}"


def _asked_to_wait(headers: Any) -> float | None:
    """Seconds, from a header that has them, or a time."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def _session(pid: int) -> requests.Session:
    """Connections of this process, which its threads share; a process that was forked has its own."""
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.headers.update(_HEADERS)
    session.max_redirects = 10
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one answer never alters another
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=32, pool_maxsize=reads_at_once(), max_retries=0))
    return session


@contextlib.contextmanager
def _failures(slow_attempts: int = 2) -> Iterator[None]:
    """Turn what `requests` and urllib3 raise into reasons; their own messages hold whole addresses.

    Raises:
        RemoteError, Temporary: instead of such an error.
    """
    import requests
    import urllib3

    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise Temporary(f"timeout: no data for {timeout():g} s", attempts=slow_attempts) from None
    except requests.TooManyRedirects:
        raise RemoteError("too many redirects") from None
    except ValueError:
        raise RemoteError("no address that can be read") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _unreachable(error, slow_attempts) from None


def _unreachable(error: BaseException, slow_attempts: int) -> Exception:
    """The failure of a connection, by the error that lies at its bottom."""
    for cause in _causes(error):
        if isinstance(cause, TimeoutError):
            return Temporary(f"timeout: no data for {timeout():g} s", attempts=slow_attempts)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RemoteError(f"no trusted connection: {cause.verify_message}")
        if isinstance(cause, socket.gaierror):
            if cause.errno == socket.EAI_AGAIN:
                return Temporary("cannot connect: the name of the server is not found")
            return RemoteError("cannot connect: the name of the server is not found")
        if isinstance(cause, OSError) and cause.strerror:
            return Temporary(f"cannot connect: {cause.strerror}")
    return Temporary("connection lost")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error holds, from the bottom: libraries wrap errors in others, or in arguments of others."""
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for one in inner:
        if isinstance(one, BaseException):
            yield from _causes(one)
    yield error
