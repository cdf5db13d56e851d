"""What a run was and what came of it: for `.meta.json` files, and for the summary of a workbook."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError
from clipcli.files import check_place, reopened, replacing, sha256_of_stream, write_errors
from clipcli.libraries import version_of
from clipcli.output.counts import Counts
from clipcli.records import Encoder, Value
from clipcli.remote.addresses import without_secrets
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.ranking import Ranking
from clipcli.version import __version__

SUFFIX = ".meta.json"
_LIBRARIES = ("torch", "open_clip_torch", "timm", "transformers", "numpy", "pillow")


@dataclass
class RunRecord:
    """A run, as it is known when it is over.

    Args:
        command: the words of the command line.
        counts: of the outcomes.
        ranking: how scores became predictions.
        templates: what the prompts were made with; empty where they are not known.
        encoder: the model; set once it is known, as is the classifier.
        classifier: the classes.
        started: when the run began, in UTC.
    """

    command: Sequence[str]
    counts: Counts
    ranking: Ranking
    templates: Sequence[str] = ()
    encoder: Encoder | None = None
    classifier: Classifier | None = None
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        now = datetime.now(timezone.utc)
        return {
            "command": [*map(without_secrets, self.command)],
            "started": self.started.isoformat(timespec="seconds"),
            "finished": now.isoformat(timespec="seconds"),
            "images": self._images() | {"known_from_cache": self.counts.known},
            "labels": dict(self.counts.labels.most_common()),
            "failures": dict(self.counts.reasons.most_common()),
            "model": self._model(),
            "prompts": self._prompts(),
            "scores": asdict(self.ranking),
            "versions": _versions(),
        }

    def sections(self) -> list[tuple[str, list[tuple[str, Value]]]]:
        """The same as headings, names and values, without what differs between two equal runs."""
        return [
            ("images", list(self._images().items())),
            ("labels", _most_common(self.counts.labels)),
            ("failures", _most_common(self.counts.reasons)),
            ("command", [("command", shlex.join(map(without_secrets, self.command)))]),
            ("model", list(_flat(self._model()))),
            ("prompts", list(_flat(self._prompts()))),
            ("scores", list(_flat(asdict(self.ranking)))),
            ("versions", list(_flat(_versions()))),
        ]

    def _images(self) -> dict[str, int]:
        counts = self.counts
        unread = {"unknown": counts.unknown, "error": counts.failed}
        return {"images": counts.images, "ok": counts.images - sum(unread.values()), **unread}

    def _model(self) -> dict[str, Any]:
        if self.encoder is None:
            return {}
        own = {"fingerprint": self.encoder.fingerprint, "devices": list(self.encoder.devices)}
        made = self.encoder.provenance()
        return {
            "model": self.encoder.name,
            **own,
            **{name: made[name] for name in made if name not in _LATER},
        }

    def _prompts(self) -> dict[str, Any]:
        if self.classifier is None:
            return {}
        return {
            "classes": len(self.classifier.classnames),
            "prompts": sum(map(len, self.classifier.prompts)),
            "templates": list(self.templates),
            "sha256": prompts_sha256(self.classifier),
        }


_LATER = ("clipcli", "open_clip", "torch")
"""What a model's provenance has of versions; they are those of the libraries that run."""


def prompts_sha256(classifier: Classifier) -> str:
    """Tells apart labels and prompts: the SHA-256 of `[[label, [prompt, …]], …]` as JSON, in class order."""
    pairs = list(zip(classifier.classnames, classifier.prompts, strict=False))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


class RecordFile:
    """The record of a run beside one of its outputs.

    Args:
        output: the file that the run writes.
        record: of the run.

    Raises:
        UsageError: the output is no file.
        OutputError: there can be no file beside it.
    """

    def __init__(self, output: Path, record: RunRecord) -> None:
        if output.exists() and not output.is_file():
            raise UsageError(f"{output} is no file: nothing can be told beside it", "Leave provenance out.")
        self.output = output
        self.path = output.with_name(output.name + SUFFIX)
        self.record = record
        check_place(self.path)

    def write(self) -> None:
        """Write it, after the output is complete.

        Raises:
            OutputError: it cannot be written, or the output not be read.
        """
        about = {"output": _facts_of(self.output), **self.record.as_dict()}
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _facts_of(output: Path) -> dict[str, Any]:
    """By which a record is known to be that of the file beside it."""
    with write_errors(output), reopened(output) as file:
        digest = sha256_of_stream(file)
        return {"file": output.name, "bytes": file.tell(), "sha256": digest}


def _versions() -> dict[str, str]:
    installed = {name: version for name in _LIBRARIES if (version := version_of(name))}
    system = f"{platform.system()} {platform.machine()}"
    return {"clipcli": __version__, "python": platform.python_version(), "system": system, **installed}


def _most_common(counter: Counter[str]) -> list[tuple[str, Value]]:
    return [(name, count) for name, count in counter.most_common()]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Names and values; of several values one row each."""
    for name, value in facts.items():
        if isinstance(value, list | tuple):
            yield from ((name, str(one)) for one in value)
        else:
            yield name, json.dumps(value) if isinstance(value, dict) else value
