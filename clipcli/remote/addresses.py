"""Addresses of what lies elsewhere, and how they are shown: without what gives access."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import PurePath
from urllib.parse import SplitResult, unquote, urlsplit

WEB = ("http", "https")
BUCKETS = ("s3", "gs", "gcs", "az", "abfs", "hf")
"""Services that keep objects in buckets or repositories."""

_ADDRESS = re.compile(rf"({'|'.join((*WEB, *BUCKETS))})://(?=[^/])", re.IGNORECASE)
_AS_PATH = re.compile(r"([a-z0-9]+):/+(?=[^/])", re.IGNORECASE)
_IN_TEXT = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)
_SIGNING = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|hash-algorithm"
    r"|sig|s[verstip]|s(rt|ip|pr|dd|aoid|uoid|cid)|sk(oid|tid|t|e|s|v)",
    re.IGNORECASE,
)
_SIGNATURES = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig"})
_SECRET = re.compile(
    r".*(token|secret|passw|credential|signature|api[-_]?key|access[-_]?key).*|auth|key|pwd|sig", re.I
)
_MASK = "***"


def is_remote(name: str) -> bool:
    """Whether a name is an address of a web server, or of an object or folder in a bucket."""
    return _ADDRESS.match(name) is not None


def scheme_of(url: str) -> str:
    """What an address begins with, in small letters; empty if it is none."""
    found = _ADDRESS.match(url)
    return found[1].lower() if found else ""


def is_bucket(name: str) -> bool:
    """Whether a name is an address in a bucket, where there are listings."""
    return scheme_of(name) in BUCKETS


def address_of(path: object) -> str | None:
    """The address that a path was made from, which made one slash of two; None for a path on this machine.

    A folder of this machine that is called like a service, such as `s3:`, comes first.
    """
    text = path.as_posix() if isinstance(path, PurePath) else str(path)
    found = _AS_PATH.match(text)
    if found is None or os.path.lexists(f"{found[1]}:"):
        return None
    url = f"{found[1].lower()}://{text[found.end() :]}"
    return url if is_remote(url) else None


def without_query(url: str) -> str:
    """An address without what follows its path; in buckets, all belongs to that."""
    return re.split("[?#]", url, maxsplit=1)[0] if scheme_of(url) in WEB else url


def beside(name: str, url: str) -> str:
    """The address that is meant by a name in a list or table at an address.

    Args:
        name: an address, a path from the list's folder, or with a slash in front one from the top of its
            bucket or server.
        url: the address of the list.
    """
    if is_remote(name):
        return name
    scheme, _, place = without_query(url).partition("://")
    top, _, path = place.partition("/")
    parts = [] if name.startswith("/") else path.split("/")[:-1]
    for part in name.removeprefix("/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    return f"{scheme}://{'/'.join([top, *parts])}"


def shown(url: str) -> str:
    """An address as outputs and messages have it: without a password, and without what signs it.

    What a signature adds to an address is left out, so that the name stays the same however often the
    address is signed. Other values that look like secrets are replaced by `***`.
    """
    if scheme_of(url) not in WEB:
        return url
    parts = _split(url)
    return _without_user(parts, _query(parts, lambda name: _MASK)) if parts else _MASK


def unsigned_digest(url: str) -> str:
    """Tells addresses apart that are shown alike, but for their signatures; empty if none are."""
    parts = _split(url)
    whole = _without_user(parts, _query(parts, lambda name: None)) if parts else url
    return "" if whole == shown(url) else hashlib.blake2b(whole.encode(), digest_size=8).hexdigest()


def without_secrets(text: str) -> str:
    """A text, such as a message of a library, with the addresses in it as they are shown."""
    return _IN_TEXT.sub(lambda found: shown(found[0]), text)


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _query(parts: SplitResult, masked: Callable[[str], str | None]) -> str:
    """The query without signatures; values of other secrets are masked, where there is a mask."""
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    names = {unquote(name).lower() for name, *_ in pairs}
    is_signed = not _SIGNATURES.isdisjoint(names)
    kept = []
    for name, equals, value in pairs:
        plain = unquote(name)
        if is_signed and _SIGNING.fullmatch(plain):
            continue
        mask = masked(plain) if _SECRET.fullmatch(plain) else None
        kept.append(f"{name}{equals}{value if mask is None else mask}")
    return "&".join(kept)


def _without_user(parts: SplitResult, query: str) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query).geturl()
