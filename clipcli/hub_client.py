"""What the Hugging Face hub's client says, and what went wrong with it in one line."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

OFFLINE = "it is not in the cache, and offline mode forbids the network"


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep the client's warnings about retries off the terminal; what matters raises."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    before = get_verbosity()
    set_verbosity(logging.ERROR if before == logging.WARNING else before)
    try:
        yield
    finally:
        set_verbosity(before)


def refusal(error: Exception, what: str = "repository") -> tuple[str, str] | None:
    """Why the hub gives nothing of a repository, and what to do; None if that is not what went wrong."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return f"the {what} is gated", "Accept its licence on the hub and set HF_TOKEN."
    if isinstance(error, RepositoryNotFoundError):
        hint = f"Check the name; for a private {what} set HF_TOKEN."
        return f"the hub has no such {what}, or it is private", hint
    if isinstance(error, RevisionNotFoundError):
        hint = "Write a branch, a tag or a commit's full hash after the @."
        return f"the {what} has no such revision", hint
    return None


def reason(error: Exception) -> str:
    """Why a download failed; by the error's name where the client's versions use different libraries."""
    name, text = type(error).__name__, str(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if name == "OfflineModeIsEnabled":
        return OFFLINE
    if name in ("ReadError", "RemoteProtocolError", "ChunkedEncodingError") or "Consistency" in text:
        return "the download broke off"
    if status is not None:
        return f"the hub answered with status {status}"
    if any(part in name for part in ("Connect", "Timeout", "Network", "LocalEntry", "IncompleteSnapshot")):
        return "it is not in the cache, and the hub cannot be reached"
    return f"the download failed: {text.splitlines()[0] if text else name}"
