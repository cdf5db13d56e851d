"""Files of the Hugging Face hub: found in its cache, downloaded where they are missing, verified.

A repository is named as `organisation/name`, or as `organisation/name@revision` with a branch, a
tag or a commit. The hub's own client does the transfer; it tries again where a connection breaks
off, but a new run starts a file from its beginning.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from clipcli import files
from clipcli.errors import WeightsDamagedError, WeightsUnavailableError
from clipcli.hub_client import OFFLINE, quiet_hub, reason, refusal

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


def find_file(
    model: str, repository: str, names: Sequence[str], offline: bool, what: str = "weights"
) -> Path:
    """The first of these files that the cache has, else the first that the hub has.

    Raises:
        WeightsUnavailableError: neither.
    """
    for name in names:
        path = cached(repository, name)
        if path is not None:
            return path
    if offline:
        raise _unavailable(model, OFFLINE, what)
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            with quiet_hub():
                return _download(repository, name)
        except LocalEntryNotFoundError as error:
            raise _download_failure(model, error, what) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub client raises its own, httpx's and OSError
            raise _download_failure(model, error, what) from error
    raise WeightsUnavailableError(
        f"no {what} for {model}: {repository} holds none of {', '.join(names)}",
        "hf-hub: needs a repository that open_clip can load.",
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
        raise _unavailable(model, OFFLINE, what)
    try:
        with quiet_hub():
            with contextlib.suppress(EntryNotFoundError):  # asked because the snapshot has no time limit
                get_hf_file_metadata(hf_hub_url(repository, "tokenizer_config.json"))
            return snapshot(local=False)
    except Exception as error:
        raise _download_failure(model, error, what) from error


def cached(repository: str, name: str) -> Path | None:
    """Where the cache has a file, or None; never asks the network."""
    from huggingface_hub import try_to_load_from_cache

    repo_id, revision = _split(repository)
    path = try_to_load_from_cache(repo_id, name, revision=revision)
    return Path(path) if isinstance(path, str) else None


def reference_of(snapshot: Path, repository: str = "") -> Path | None:
    """The file in the hub's cache that says which snapshot a name stands for; None for other folders."""
    if snapshot.parent.name != "snapshots":
        return None
    return snapshot.parent.parent / "refs" / (_split(repository)[1] or "main")


def _download(repository: str, name: str) -> Path:
    """Download a file into the hub's cache, and compare it with the digest that the hub announces."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repo_id, revision = _split(repository)
    # Asked first because the download itself tries for minutes to reach a hub that does not answer.
    metadata = get_hf_file_metadata(hf_hub_url(repo_id, name, revision=revision))
    for _ in range(2):  # the first time the client may find a damaged file in its cache, and keep it
        path = Path(hf_hub_download(repo_id, name, revision=revision))
        if not _is_damaged(path, metadata.etag):
            return path
        _remove(path)
    raise OSError(f"{name} did not arrive as the hub has it")


def _split(repository: str) -> tuple[str, str | None]:
    repo_id, _, revision = repository.partition("@")
    return repo_id, revision or None


def _is_damaged(path: Path, expected: str | None) -> bool:
    """Whether a file differs from its SHA-256; small files on the hub have none, and pass."""
    return bool(expected and SHA256.fullmatch(expected)) and sha256_of(path) != expected


def _remove(path: Path) -> None:
    """Remove a file from the hub's cache: the link, and what it links to."""
    blob = path.parent / path.readlink() if path.is_symlink() else path
    for part in {path, blob, blob.resolve()}:
        part.unlink(missing_ok=True)


def forget_damaged(weights: Path) -> bool:
    """Remove weights from the hub's cache that are not what their name there, a digest, says.

    Returns:
        Whether they were removed; `locate` then downloads them again.
    """
    if not _is_damaged(weights, digest_in_cache(weights)):
        return False
    _remove(weights)
    return True


def digest_in_cache(weights: Path) -> str | None:
    """The SHA-256 that weights in the hub's cache must have: the name of the file behind the link."""
    name = weights.readlink().name if weights.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None


def _unavailable(model: str, why: str, what: str = "weights") -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"no {what} for {model}: {why}",
        f"Run `clipcli models pull {model}` where there is a network, or try the bundled --model nano.",
    )


def _download_failure(model: str, error: Exception, what: str = "weights") -> WeightsUnavailableError:
    """What went wrong with a download, in one line, and what to do."""
    refused = refusal(error)
    if refused is None:
        return _unavailable(model, reason(error), what)
    why, hint = refused
    return WeightsUnavailableError(f"no {what} for {model}: {why}", hint)


def sha256_of(path: Path) -> str:
    """Digest of a file's content, hexadecimal."""
    try:
        return files.sha256_of(path)
    except OSError as error:
        raise WeightsDamagedError(f"cannot read {path}: {error.strerror}") from None
