"""The folder of a training run: one process at a time, the same settings, and files that are whole.

What replaces a file is on the disk before it does, so that neither a kill nor a power cut leaves half a
file. Logs are on the disk before the checkpoint that counts on them.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file

from clipcli.errors import ModelError, OutputError, UsageError
from clipcli.files import PARTIAL, replacing, sync_file
from clipcli.models.registry import CONFIG_NAME
from clipcli.records import ImageFailure, Preprocess

WEIGHTS, CHECKPOINT, SETTINGS = "open_clip_model.safetensors", "checkpoint.pt", "train.json"
LOG, EPOCHS = "log.csv", "epochs.csv"
READABLE = "readable.txt"
"""SHA-256 of each image that could be decoded, one a line: a run that goes on need not try again."""
FAILURES = "failures.csv"
"""The images that were left out, and why."""
LOCK = "train.lock"

# --- Whose folder it is --------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other processes from training into it; leaves none behind that is empty.

    Raises:
        UsageError: it holds something else, or another process trains into it.
        OutputError: it cannot be made.
    """
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_others(folder)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another process trains into {folder}", "Wait for its end, or name another folder with -o."
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            if made and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def _refuse_others(folder: Path) -> None:
    """See that the folder is empty or that of a run."""
    if (folder / SETTINGS).exists():
        return
    if any(found.name != LOCK and found.suffix != PARTIAL for found in folder.iterdir()):
        raise UsageError(f"{folder} holds something else than a run of training", "Name another with -o.")


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """See that these settings are those of the run that the folder holds, if it holds one.

    Raises:
        UsageError: they are others, and which.
        OutputError: they cannot be read.
    """
    path = folder / SETTINGS
    if not path.exists():
        return
    before, now = _settings_in(path), json.loads(json.dumps(settings))
    other = [f"{name} {before.get(name)} is now {now[name]}" for name in now if before.get(name) != now[name]]
    if other:
        raise UsageError(
            f"{folder} holds a run with other settings: {', '.join(other)}",
            "Name another folder with -o, or use the same images and options to go on.",
        )


def save_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Keep all that decides the outcome; errors as in `check_settings`."""
    check_settings(folder, settings)
    replace_file(folder / SETTINGS, lambda path: _write_json(path, settings))


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("not an object")
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is damaged", "Name another folder with -o.") from None
    return settings


def readable(folder: Path) -> frozenset[str]:
    """Digests of images that could be decoded before."""
    try:
        return frozenset((folder / READABLE).read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return frozenset()


def keep_readable(folder: Path, digests: Collection[str]) -> None:
    """Remember which images can be decoded.

    Raises:
        OutputError: the folder cannot be written.
    """
    if not readable(folder).issuperset(digests):
        lines = "".join(f"{digest}\n" for digest in sorted(set(digests)))
        replace_file(folder / READABLE, lambda path: path.write_text(lines, encoding="ascii"))


def keep_failures(folder: Path, failures: Sequence[ImageFailure]) -> None:
    """Write down which images were left out, if any were.

    Raises:
        OutputError: the folder cannot be written.
    """

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [("image", "reason"), *(failure[:2] for failure in failures)]
            )

    if failures:
        replace_file(folder / FAILURES, write)


# --- Models and checkpoints ----------------------------------------------------------------------


def save_model(folder: Path, model: Any, model_cfg: dict[str, Any], preprocess: Preprocess) -> None:
    """Make this the folder's model, in open_clip's local format.

    Raises:
        OutputError: the folder cannot be written.
    """
    config = {"model_cfg": model_cfg, "preprocess_cfg": asdict(preprocess)}
    state = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    replace_file(folder / WEIGHTS, lambda path: save_file(state, path))
    replace_file(folder / CONFIG_NAME, lambda path: _write_json(path, config))


def save_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Put a Hugging Face tokenizer beside the model.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from None


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Keep all that a run needs to go on from here, after the logs that lead here.

    Raises:
        OutputError: the folder cannot be written.
    """
    for log in (folder / LOG, folder / EPOCHS):
        if log.exists():
            sync_file(log)
    replace_file(folder / CHECKPOINT, lambda path: torch.save(state, path))


def load_checkpoint(folder: Path, take: Callable[[dict[str, Any]], None]) -> None:
    """Let a run take the last checkpoint, if there is one.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    try:
        take(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises whatever a damaged file makes it raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{path} is damaged: {reason}", "Remove it to begin anew.") from error


# --- Logs ----------------------------------------------------------------------------------------


def append_row(path: Path, row: Sequence[object]) -> None:
    """Add a row to a log.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def keep_rows(path: Path, columns: Sequence[str], last_step: int) -> None:
    """Leave the rows up to a step that are whole, or begin the log.

    Raises:
        OutputError: it cannot be read or written.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from None
    rows = [row.split(",") for row in text.splitlines()[1:]]  # no value has a comma in it
    whole = [row for row in rows if len(row) == len(columns) and row[0].isdecimal()]
    kept = [list(columns), *(row for row in whole if int(row[0]) <= last_step)]
    lines = "".join(f"{','.join(row)}\n" for row in kept)
    replace_file(path, lambda partial: partial.write_text(lines, encoding="utf-8", newline=""))


# --- Files ---------------------------------------------------------------------------------------


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is there as a whole, on the disk, or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path, errors=(RuntimeError, SafetensorError), sync=True) as partial:
        write(partial)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
