"""What a terminal shows of a run while it lasts."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result

from clipcli.cli import console
from clipcli.cli.progress import EveryMinute, Summary, TrainingProgress, duration
from clipcli.records import ImageFailure, ImagePredictions, Outcome, Prediction
from clipcli.version import __version__

Cli = Callable[..., Result]


def test_a_terminal_shows_how_far_reading_and_training_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from clipcli.train.data import ReadReport
    from clipcli.train.loop import StepReport

    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "stderr", lambda: terminal)
    with TrainingProgress() as progress:
        progress(ReadReport(700, 1000))
        progress._bar.refresh()
        assert "reading images" in shown.getvalue()
        assert "700/1000" in shown.getvalue()
        shown.truncate(0)
        progress(StepReport(30, 90, 1, 0.51234, 77.7))
        progress._bar.refresh()
    lines = shown.getvalue().splitlines()
    assert any("training" in line and "30/90 loss 0.512, 77.7 images/s" in line for line in lines)
    assert not any("30/90" in line and "reading" in line for line in lines)


# --- Without a terminal, and in a log ------------------------------------------------------------

CLASSIFY = ("-l", "cat,fish,sun", "-m", "nano", "--device", "cpu", "--precision", "fp32", "-k", 1)
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of 0.05 s, in a run whose batches take twice as long."""
    from clipcli import pipeline

    encode = pipeline.encode_batch

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.1)
        return encode(*arguments)

    monkeypatch.setattr(pipeline, "encode_batch", slowly)
    monkeypatch.setattr(EveryMinute, "seconds", 0.05)


def test_without_a_terminal_a_line_a_minute_says_how_far_the_run_is(
    run_cli: Cli, pictures: Path, tmp_path: Path, slow: None
) -> None:
    result = run_cli("classify", pictures, *CLASSIFY, "-b", 2, "-o", tmp_path / "out.csv")
    lines = re.findall(rf"^{TIME} (\d+) of 12 images, \d+\.\d images/s(.*)$", result.err, re.MULTILINE)
    assert len(lines) >= 4, result.err
    counts = [int(done) for done, _ in lines]
    assert counts == sorted(counts)
    assert any(re.fullmatch(r", about \d+ s left", rest) for _, rest in lines)
    quiet = run_cli("classify", pictures, *CLASSIFY, "-b", 2, "--no-cache", "-q", "-o", tmp_path / "out.csv")
    assert quiet.err == ""


def test_a_training_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    from clipcli.train.loop import StepReport

    monkeypatch.setattr(EveryMinute, "seconds", 0.02)
    with TrainingProgress() as progress:
        progress(StepReport(30, 90, 1, 0.51234, 77.7))
        time.sleep(0.3)
    assert re.search(rf"^{TIME} training: 30 of 90, loss 0.512, 77.7 images/s$", capfd.readouterr().err, re.M)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4, "4 s"), (29, "29 s"), (90, "2 min"), (3500, "58 min"), (3660, "1 h 1 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_has_everything_with_its_time(run_cli: Cli, pictures: Path, tmp_path: Path, slow: None) -> None:
    log, output = tmp_path / "run.log", tmp_path / "out.csv"
    for number in range(7):
        (pictures / f"broken{number}.jpg").write_bytes(b"")
    arguments = ("classify", pictures, *CLASSIFY, "-b", 4, "-q", "--log", log, "-o", output)
    result = run_cli(*arguments)
    assert result.code == 3
    assert result.err.count("warning: ") == 5, "-q hides no warning"
    assert "images in" not in result.err
    lines = log.read_text().splitlines()
    assert all(re.match(rf"{TIME}[+-]\d{{4}} ", line) for line in lines)
    told = [line.split(" ", 2)[2] for line in lines]
    assert told[0].startswith(f"clipcli {__version__}: classify {pictures}")
    assert told[-1] == "exit code 3"
    assert len([line for line in told if line.endswith(": empty file")]) == 7, "each failure"
    for part in (
        "cache ",
        "model nano after ",
        "3 classes, 21 prompts",
        " of 19 images, ",
        f"wrote {output}",
    ):
        assert any(part in line for line in told), part
    assert run_cli("classify", "nowhere.jpg", *CLASSIFY, "--log", log).code == 2
    appended = log.read_text().splitlines()
    assert appended[: len(lines)] == lines
    assert "error: no such file or folder: nowhere.jpg" in appended[-2]
    assert appended[-1].endswith("exit code 2")


def test_a_log_that_cannot_be_written_is_an_error(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    result = run_cli("classify", pictures, *CLASSIFY, "--log", tmp_path / "no" / "run.log")
    assert result.code == 1
    assert result.err.startswith(f"error: cannot write {tmp_path / 'no' / 'run.log'}: No such file")


def test_verbose_tells_what_is_loaded_from_where(
    run_cli: Cli, pictures: Path, tmp_path: Path, own_cache: Path
) -> None:
    arguments = ("classify", pictures, *CLASSIFY, "-o", tmp_path / "out.csv")
    for _ in range(2):  # the second time the model is not loaded
        errors = run_cli(*arguments, "-v").err
        assert f"cache {own_cache}" in errors
        assert re.search(r"model nano after \d+\.\d s: .* on cpu, .* weights .*nano/open_clip_model", errors)
        assert "3 classes, 21 prompts" in errors
    assert "weights" not in run_cli(*arguments).err


# --- What was known ------------------------------------------------------------------------------


def test_the_summary_tells_known_images_from_new_ones(run_cli: Cli, pictures: Path, tmp_path: Path) -> None:
    names = sorted(pictures.iterdir())
    output = ("-o", tmp_path / "out.csv")
    (tmp_path / "broken.jpg").write_bytes(b"")
    first = run_cli("classify", *names[:5], *CLASSIFY, *output).err
    assert re.search(r"^5 images in \d+\.\d s: 5 new at \d+\.\d images/s$", first, re.M)
    mixed = run_cli("classify", pictures, tmp_path / "broken.jpg", *CLASSIFY, *output).err
    expected = r"^13 images in \d+\.\d s: 5 known from the cache, 7 new at \d+\.\d images/s$"
    assert re.search(expected, mixed, re.M), mixed
    names[0].touch()
    moved = names[1].rename(tmp_path / "moved.jpg")
    known = run_cli("classify", names[0], moved, *names[2:], *CLASSIFY, *output).err
    assert re.search(r"^12 images in \d+\.\d s: 12 known from the cache, 0 new$", known, re.M), known
    fresh = run_cli("classify", names[2], *CLASSIFY, *output, "--no-cache").err
    assert re.search(r"^1 image in \d+\.\d s: 1 new at ", fresh, re.M)


def test_the_summary_counts_labels_of_images_that_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    ranked = (Prediction("a.jpg", 1, "cat", 0.5, 0.3),)
    certain = ImagePredictions("a.jpg", ranked, np.ones(2, np.float32))
    summary = Summary()
    for outcome in (
        certain,
        certain._replace(status="unknown"),
        ImageFailure("b.jpg", "empty file"),
        certain,
    ):
        summary.add(outcome)
    summary.print("")
    told = capsys.readouterr().err.splitlines()[-3:]
    assert told == [
        "warning: 1 failed: 1 empty file",
        "labels: cat 2",
        "1 unknown: the best label does not reach a threshold",
    ]


def test_a_run_without_a_cache_does_not_promise_to_go_on(
    run_cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[Outcome]:
        yield ImageFailure("a.jpg", "no such file")
        raise KeyboardInterrupt

    monkeypatch.setattr("clipcli.pipeline.classify", interrupted)
    output = tmp_path / "out.csv"
    anew = f"interrupted: 1 images are in {output}.partial; without a cache, running it again starts from the"
    without = run_cli("classify", pictures, *CLASSIFY, "-o", output, "--no-cache")
    assert without.code == 130
    assert f"{anew} beginning\n" in without.err
    (tmp_path / "file").write_text("")
    unusable = run_cli("classify", pictures, *CLASSIFY, "-o", output, "--cache", tmp_path / "file" / "cache")
    assert f"{anew} beginning\n" in unusable.err
    kept = run_cli("classify", pictures, *CLASSIFY, "-o", output)
    assert "; run it again to go on\n" in kept.err
