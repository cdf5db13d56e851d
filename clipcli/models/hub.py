"""Files of the Hugging Face hub: found in its cache, downloaded where they are missing, resumed, verified."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipcli.errors import WeightsDamagedError, WeightsUnavailableError

SHA256 = re.compile(r"[0-9a-f]{64}")
_TOKENIZER_FILES = [
    "tokenizer*",
    "special_tokens_map.json",
    "*.model",
    "vocab*",
    "merges.txt",
    "added_tokens.json",
    "config.json",
]
_OFFLINE = "it is not in the cache, and offline mode forbids the network"


def find_file(model: str, repository: str, names: Sequence[str], offline: bool) -> Path:
    """The first of these files that the cache has, else the first that the hub has.

    Raises:
        WeightsUnavailableError: neither.
    """
    for name in names:
        path = cached(repository, name)
        if path is not None:
            return path
    if offline:
        raise _unavailable(model, _OFFLINE)
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            with _quiet_hub():
                return _download(repository, name)
        except LocalEntryNotFoundError as error:
            raise _download_failure(model, error) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub client raises its own, httpx's and OSError
            raise _download_failure(model, error) from error
    raise WeightsUnavailableError(
        f"no weights for {model}: {repository} holds none of {', '.join(names)}",
        "hf-hub: wants a repository that open_clip can load.",
    )


def find_tokenizer(model: str, repository: str, offline: bool) -> Path:
    """Folder with the tokenizer's files of a repository, from the cache or the hub.

    Raises:
        WeightsUnavailableError: neither has it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def snapshot(local: bool) -> Path:
        return Path(snapshot_download(repository, allow_patterns=_TOKENIZER_FILES, local_files_only=local))

    what = f"tokenizer {repository}"
    if any(cached(repository, name) for name in ("tokenizer_config.json", "tokenizer.json")):
        with contextlib.suppress(LocalEntryNotFoundError):  # some of its files are missing
            return snapshot(local=True)
    if offline:
        raise _unavailable(model, _OFFLINE, what)
    try:
        with _quiet_hub():
            with contextlib.suppress(EntryNotFoundError):  # asked because the snapshot has no time limit
                get_hf_file_metadata(hf_hub_url(repository, "tokenizer_config.json"))
            return snapshot(local=False)
    except Exception as error:
        raise _download_failure(model, error, what) from error


def cached(repository: str, name: str) -> Path | None:
    """Where the cache has a file, or None; never asks the network."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def _download(repository: str, name: str) -> Path:
    """Download a file into the hub's cache; one that broke off goes on where it stopped.

    The hub's own client starts over in every run. Here what has come of a large file waits beside
    the blobs; when it is complete, the client files it as it does its own.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(repository, name)
    metadata = get_hf_file_metadata(url)  # not retried: a hub that cannot be reached shows at once
    if metadata.size and SHA256.fullmatch(metadata.etag or ""):
        _download_blob(repository, name, url, str(metadata.etag), metadata.size)
    return Path(hf_hub_download(repository, name))


def _download_blob(repository: str, name: str, url: str, sha256: str, size: int) -> None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

    cache, folder = Path(constants.HF_HUB_CACHE), repo_folder_name(repo_id=repository, repo_type="model")
    blob, lock = cache / folder / "blobs" / sha256, cache / ".locks" / folder / f"{sha256}.lock"
    partial = blob.with_name(f"{sha256}.incomplete")
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() and sha256_of(blob) == sha256:
            return
        with partial.open("ab") as file:
            if file.tell() > size:
                file.truncate(0)
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
        if sha256_of(partial) != sha256:
            partial.unlink()
            raise OSError(f"{name} did not arrive as the hub has it")
        partial.replace(blob)


def forget_damaged(weights: Path) -> bool:
    """Remove weights from the hub's cache that are not what their name there, a digest, says.

    Returns:
        Whether they were removed; `locate` then downloads them again.
    """
    expected = digest_in_cache(weights)
    if expected is None or sha256_of(weights) == expected:
        return False
    blob = weights.parent / weights.readlink()
    for path in {weights, blob, blob.resolve()}:
        path.unlink(missing_ok=True)
    return True


def digest_in_cache(weights: Path) -> str | None:
    """The SHA-256 that weights in the hub's cache must have: the name of the file behind the link."""
    name = weights.readlink().name if weights.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the client's warnings about retries off the terminal; what matters raises."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    before = get_verbosity()
    set_verbosity(logging.ERROR if before == logging.WARNING else before)
    try:
        yield
    finally:
        set_verbosity(before)


def _unavailable(model: str, reason: str, what: str = "weights") -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"no {what} for {model}: {reason}",
        f"Run `clipcli models pull {model}` where there is a network, or try the bundled --model nano.",
    )


def _download_failure(model: str, error: Exception, what: str = "weights") -> WeightsUnavailableError:
    """What went wrong with a download, in one line, and what to do."""
    name, text = type(error).__name__, str(error)
    if name == "GatedRepoError":
        return WeightsUnavailableError(
            f"no {what} for {model}: the repository is gated",
            "Accept its licence on the hub and set HF_TOKEN.",
        )
    if name in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        return WeightsUnavailableError(
            f"no {what} for {model}: the hub has no such repository, or it is private",
            "Check the name; for a private repository set HF_TOKEN.",
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if name == "OfflineModeIsEnabled":
        reason = _OFFLINE
    elif name in ("ReadError", "RemoteProtocolError", "ChunkedEncodingError") or "Consistency" in text:
        reason = "the download broke off; the next one goes on where it stopped"
    elif status is not None:
        reason = f"the hub answered with status {status}"
    elif any(part in name for part in ("Connect", "Timeout", "Network", "LocalEntry", "IncompleteSnapshot")):
        reason = "it is not in the cache, and the hub cannot be reached"
    else:
        reason = f"the download failed: {text.splitlines()[0] if text else name}"
    return _unavailable(model, reason, what)


def sha256_of(path: Path) -> str:
    """Digest of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise WeightsDamagedError(f"cannot read {path}: {error.strerror}") from None
    return digest.hexdigest()
