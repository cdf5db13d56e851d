"""The one loop: every consumer gets every outcome, and all are completed or abandoned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipcli.errors import OutputError
from clipcli.output.consumers import Consumer, RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sinks
from clipcli.records import ImageFailure, Outcome

OUTCOMES = [ImageFailure(f"{number}.jpg", "no such file") for number in range(3)]
LAYOUT = Layout("long", 1, ("cat",))


class Recording(Consumer[Outcome]):
    """Notes what happens to it, in a list that several share; fails where it is told to."""

    def __init__(self, name: str, events: list[str], fails_at: str = "") -> None:
        self.name, self.events, self.fails_at = name, events, fails_at

    def _happens(self, what: str) -> None:
        self.events.append(f"{self.name} {what}")
        if what == self.fails_at:
            raise OutputError(f"{self.name} fails")

    def __enter__(self) -> Recording:
        self._happens("begins")
        return self

    def add(self, outcome: Outcome) -> None:
        self._happens(outcome.image)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._happens("ends" if kind is None else f"abandoned: {kind.__name__}")


def test_every_consumer_gets_every_outcome_in_order() -> None:
    events: list[str] = []
    consume(OUTCOMES[:2], [Recording("a", events), Recording("b", events)])
    fed = ["a 0.jpg", "b 0.jpg", "a 1.jpg", "b 1.jpg"]
    assert events == ["a begins", "b begins", *fed, "b ends", "a ends"]


@pytest.mark.parametrize(
    ("fails_at", "expected"),
    [
        ("begins", ["a begins", "b begins", "a abandoned: OutputError"]),
        (
            "0.jpg",
            [
                *("a begins", "b begins", "a 0.jpg", "b 0.jpg"),
                *("b abandoned: OutputError", "a abandoned: OutputError"),
            ],
        ),
        ("ends", ["a begins", "b begins", "a 0.jpg", "b 0.jpg", "b ends", "a abandoned: OutputError"]),
    ],
)
def test_one_that_fails_has_all_abandoned(fails_at: str, expected: list[str]) -> None:
    events: list[str] = []
    with pytest.raises(OutputError, match="b fails"):
        consume(OUTCOMES[:1], [Recording("a", events), Recording("b", events, fails_at)])
    assert events == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_outcomes_that_break_off_have_all_abandoned(error: type[BaseException]) -> None:
    def broken() -> Iterator[Outcome]:
        yield OUTCOMES[0]
        raise error

    events: list[str] = []
    with pytest.raises(error):
        consume(broken(), [Recording("a", events), Recording("b", events)])
    assert events[-2:] == [f"b abandoned: {error.__name__}", f"a abandoned: {error.__name__}"]


def test_a_consumer_needs_no_context_of_its_own() -> None:
    class Count(Consumer[Outcome]):
        images = 0

        def add(self, outcome: Outcome) -> None:
            self.images += 1

    count = Count()
    consume(OUTCOMES, [count])
    assert count.images == 3


def test_several_files_of_one_run(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.jsonl"]
    consume(OUTCOMES, [RowWriter(LAYOUT, sink) for sink in open_sinks(LAYOUT.columns, paths)])
    assert [len(path.read_text().splitlines()) for path in paths] == [4, 3]
    assert sorted(tmp_path.iterdir()) == paths


def test_a_file_that_cannot_be_written_leaves_the_rows_of_the_others(tmp_path: Path) -> None:
    writers = [
        RowWriter(LAYOUT, sink)
        for sink in open_sinks(LAYOUT.columns, [tmp_path / "a.csv", tmp_path / "b.xlsx"])
    ]
    with pytest.raises(OutputError, match="more than an XLSX cell holds"):
        consume([OUTCOMES[0], ImageFailure("x" * 40_000, "no such file")], writers)
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv.partial", "b.xlsx.partial"}
    assert [str(writer.sink.kept) for writer in writers] == [
        f"{tmp_path}/a.csv.partial",
        f"{tmp_path}/b.xlsx.partial",
    ]


def test_nothing_is_kept_without_rows(tmp_path: Path) -> None:
    writers = [RowWriter(LAYOUT, sink) for sink in open_sinks(LAYOUT.columns, [tmp_path / "a.csv"])]
    consume([], writers)
    assert writers[0].sink.kept is None
