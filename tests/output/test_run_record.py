"""What is told of a run beside its outputs: all of it, of the right file, and only if that is complete."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder

from clipcli.errors import OutputError, UsageError
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.counts import Counts
from clipcli.output.rows import Layout
from clipcli.output.run_record import RecordFile, RunRecord, prompts_sha256
from clipcli.output.sinks import open_sink
from clipcli.prompts.templates import PromptSet
from clipcli.records import ImageFailure, ImagePredictions, Outcome, Prediction
from clipcli.scoring.class_embeddings import build_classifier
from clipcli.scoring.classifier import Ranking

PROMPTS = PromptSet(("cat", "dog"), (("a cat", "the cat"), ("a dog",)))
CAT = ImagePredictions("a.jpg", (Prediction("a.jpg", 1, "cat", 0.75, 0.5),), np.array([0.75, 0.25]))
OUTCOMES: list[Outcome] = [
    CAT,
    CAT._replace(known=True),
    CAT._replace(status="unknown"),
    ImageFailure("b.jpg", "damaged image: truncated"),
    ImageFailure("c.jpg", "damaged image: no end"),
    ImageFailure("d.jpg", "empty file"),
]


def record_of(command: tuple[str, ...] = ("clipcli", "classify", "two words")) -> RunRecord:
    encoder = FakeEncoder()
    classifier = build_classifier(encoder, PROMPTS)
    return RunRecord(command, Counts(), Ranking(min_score=0.5), ("a {}", "the {}"), encoder, classifier)


def run(path: Path, record: RunRecord, outcomes: list[Outcome]) -> None:
    rows = Layout("long", 1, PROMPTS.classnames)
    writer, file = RowWriter(rows, open_sink(rows.columns, path)), RecordFile(path, record)
    consume(outcomes, [writer, record.counts])
    file.write()


def test_the_record_tells_all_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    run(path, record_of(), OUTCOMES)
    told = json.loads((tmp_path / "out.csv.meta.json").read_text())
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert told["output"] == {"file": "out.csv", "bytes": len(content), "sha256": digest}
    assert told["command"] == ["clipcli", "classify", "two words"]
    assert told["images"] == {"images": 6, "ok": 2, "unknown": 1, "error": 3, "known_from_cache": 1}
    assert told["labels"] == {"cat": 2}
    assert told["failures"] == {"damaged image": 2, "empty file": 1}
    assert told["model"] == {"model": "fake", "fingerprint": "fake-1", "devices": ["cpu"]}
    assert told["prompts"]["templates"] == ["a {}", "the {}"]
    assert (told["prompts"]["classes"], told["prompts"]["prompts"]) == (2, 3)
    assert told["scores"]["min_score"] == 0.5
    assert {"clipcli", "python", "torch", "open_clip_torch"} <= told["versions"].keys()
    started, finished = (datetime.fromisoformat(told[name]) for name in ("started", "finished"))
    assert started.utcoffset() == timedelta(0)
    assert timedelta(0) <= finished - started < timedelta(minutes=5)


def test_the_digest_tells_apart_labels_and_prompts() -> None:
    encoder = FakeEncoder()
    digests = {
        prompts_sha256(build_classifier(encoder, PromptSet(labels, prompts)))
        for labels, prompts in [
            (("cat", "dog"), (("a cat", "the cat"), ("a dog",))),
            (("cat", "dog"), (("a cat",), ("the cat", "a dog"))),
            (("cat", "Dog"), (("a cat", "the cat"), ("a dog",))),
            (("dog", "cat"), (("a dog",), ("a cat", "the cat"))),
        ]
    }
    assert len(digests) == 4
    expected = '[["cat", ["a cat", "the cat"]], ["dog", ["a dog"]]]'
    assert hashlib.sha256(expected.encode()).hexdigest() in digests


def test_a_record_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    run(path, record_of(), OUTCOMES)
    before = (tmp_path / "out.csv.meta.json").read_bytes()
    file = RecordFile(path, record_of())
    path.unlink()
    with pytest.raises(OutputError, match=r"cannot write .*out\.csv: No such file"):
        file.write()
    path.touch()
    monkeypatch.setattr(
        Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(OutputError, match=r"cannot write .*out\.csv\.meta\.json: No space left"):
        file.write()
    assert {found.name for found in tmp_path.iterdir()} == {"out.csv", "out.csv.meta.json"}
    assert (tmp_path / "out.csv.meta.json").read_bytes() == before


def test_a_place_that_cannot_serve_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match=r"pipe\.csv is no file"):
        RecordFile(tmp_path / "pipe.csv", record_of())
    (tmp_path / "out.csv.meta.json").mkdir()
    with pytest.raises(UsageError, match=r"out\.csv\.meta\.json is a folder"):
        RecordFile(tmp_path / "out.csv", record_of())


def test_names_of_any_bytes_are_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xe7\x8c\xab.csv")
    run(tmp_path / name, record_of(("clipcli", name)), OUTCOMES[:1])
    told = json.loads((tmp_path / f"{name}.meta.json").read_text(encoding="utf-8"))
    assert told["output"]["file"] == told["command"][1] == name


def test_the_summary_of_equal_runs_is_equal() -> None:
    first, second = record_of(), record_of()
    for record, known in ((first, False), (second, True)):
        for outcome in OUTCOMES:
            record.counts.add(outcome if isinstance(outcome, ImageFailure) else outcome._replace(known=known))
    second.started += timedelta(days=1)
    assert first.sections() == second.sections()
    facts = dict(first.sections())
    assert facts["images"] == [("images", 6), ("ok", 2), ("unknown", 1), ("error", 3)]
    assert facts["labels"] == [("cat", 2)]
    assert facts["command"] == [("command", "clipcli classify 'two words'")]
    assert [value for name, value in facts["prompts"] if name == "templates"] == ["a {}", "the {}"]
