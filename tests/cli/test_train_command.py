"""`clipcli train` from end to end: it learns, goes on after a kill, and says what it did."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from commands import Command
from conftest import Result
from PIL import Image, ImageDraw

Cli = Callable[..., Result]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
SAME = ["--device", "cpu", "--precision", "fp32"]

COLOURS = {
    "red": (190, 20, 20),
    "green": (10, 120, 40),
    "blue": (30, 40, 190),
    "purple": (120, 10, 140),
    "brown": (110, 60, 10),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "triangle", "cross", "bar", "pillar")
ALL = tuple(itertools.product(COLOURS, SHAPES))
HELD_OUT = ALL[::6]  # each shape once, each in a colour of its own
SEEN = tuple(one for one in ALL if one not in HELD_OUT)


def draw(colour: str, shape: str, generator: np.random.Generator) -> Image.Image:
    """A dark shape anywhere on white: its outline says the shape whatever its colour."""
    image = Image.new("RGB", (48, 48), (250, 250, 250))
    r = generator.uniform(11, 17)
    x, y = generator.uniform(r + 1, 47 - r, 2)
    bar, pillar = (x - r, y - r / 3, x + r, y + r / 3), (x - r / 3, y - r, x + r / 3, y + r)
    pen, ink = ImageDraw.Draw(image), COLOURS[colour]
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    if shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    if shape in ("bar", "cross"):
        pen.rectangle(bar, fill=ink)
    if shape in ("pillar", "cross"):
        pen.rectangle(pillar, fill=ink)
    return image


def drawn(folder: Path, combinations: tuple[tuple[str, str], ...], count: int, seed: int) -> Path:
    """A folder of pictures named by what they show, and a table of their captions."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number, (colour, shape) in zip(range(count), itertools.cycle(combinations), strict=False):
            name = f"{number:03}-{colour}-{shape}.png"
            draw(colour, shape, generator).save(folder / name)
            writer.writerow([name, f"a {colour} {shape}"])
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CONVOLUTIONS = {
    "timm_model_name": "resnet10t",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
PATCHES = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}


def config(folder: Path, vision: dict[str, object], width: int = 8) -> Path:
    """An architecture of its own, with a text tower of one layer."""
    path = folder / "config.json"
    text_cfg = {"context_length": 8, "vocab_size": 49408, "width": width, "heads": 2, "layers": 1}
    model_cfg = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text_cfg}
    path.write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {"resize_mode": "squash"}}))
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For layers this small, threads that share busy cores wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_it_learns_colours_and_shapes_and_names_combinations_never_seen(run_cli: Cli, tmp_path: Path) -> None:
    """Chance is 1 of 30 labels, 3 %; pictures and weights of three seeds gave 81, 66 and 71 %."""
    seen, held_out = drawn(tmp_path / "seen", SEEN, 200, 0), drawn(tmp_path / "held", HELD_OUT, 100, 10)
    init, out, table = config(tmp_path, CONVOLUTIONS, 64), tmp_path / "out", tmp_path / "out.csv"
    arguments = ["--init", init, "--epochs", 15, "-b", 40, "--lr", "2e-3", *SAME]
    trained = run_cli("train", seen / "pairs.csv", "-o", out, *arguments)
    assert trained.code == 0, trained.err
    assert trained.err.count("epoch ") == 15
    assert f"200 images; the model is in {out}" in trained.err
    assert float(rows_of(out / "epochs.csv")[-1]["acc1"]) > 0.5, "of combinations seen, in new pictures"

    labels = ",".join(f"a {colour} {shape}" for colour, shape in ALL)
    assert (
        run_cli("classify", held_out, "--model", out, "-l", labels, "-t", "{}", "-k", 1, "-o", table).code
        == 0
    )
    found = rows_of(table)
    assert len(found) == 100
    right = sum(row["label"] == f"a {' '.join(Path(row['image']).stem.split('-')[1:])}" for row in found)
    assert right >= 35, right


# --- Stopped and killed --------------------------------------------------------------------------

RUN = ["--epochs", 4, "-b", 8, "--checkpoint-every", 5, *SAME]


def hear_signals() -> None:
    """A background shell ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(*arguments: object) -> Command:
    return Command("train", *arguments, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)


def wait_for_rows(path: Path, count: int, process: Command) -> None:
    """Until the log has this many, while the process runs."""
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") <= count):
        time.sleep(0.002)


def timeless(path: Path) -> list[list[str]]:
    """The log without its last column, images/s."""
    return [line.split(",")[:-1] for line in path.read_text().splitlines()]


@POSIX
@pytest.mark.long
def test_killed_twice_the_log_and_the_model_are_those_of_a_run_never_killed(
    run_cli: Cli, tmp_path: Path
) -> None:
    folder, init = drawn(tmp_path / "seen", SEEN, 120, 0), config(tmp_path, PATCHES)
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = [folder / "pairs.csv", "--init", init, *RUN]
    assert run_cli("train", *arguments, "-o", whole).code == 0
    steps = len(rows_of(whole / "log.csv"))
    assert steps == 4 * 14
    for rows in (12, 34):
        process = started(*arguments, "-o", out)
        wait_for_rows(out / "log.csv", rows, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert rows <= len(rows_of(out / "log.csv")) < steps
    ended = run_cli("train", *arguments, "-o", out)
    assert ended.code == 0, ended.err
    assert "epoch 1 of 4" not in ended.err, "it went on"
    assert "epoch 4 of 4" in ended.err
    assert timeless(out / "log.csv") == timeless(whole / "log.csv")
    for name in ("epochs.csv", "open_clip_model.safetensors", "open_clip_config.json", "train.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


@POSIX
def test_a_signal_lets_the_step_finish_and_says_how_to_go_on(run_cli: Cli, tmp_path: Path) -> None:
    folder, init = drawn(tmp_path / "seen", SEEN, 120, 0), config(tmp_path, PATCHES)
    out = tmp_path / "out"
    arguments = [folder / "pairs.csv", "--init", init, "-o", out, *RUN, "--epochs", 500]
    process = started(*arguments)
    wait_for_rows(out / "log.csv", 20, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    step = len(rows_of(out / "log.csv"))
    last = errors.splitlines()[-1]
    assert last == f"interrupted: step {step} of 7000 is in {out}; run it again to go on"
    assert "finishing this batch; once more to stop at once" in errors
    assert run_cli("models", "info", out).code == 0, "there is a model already"


@POSIX
def test_a_second_process_is_refused_and_the_first_goes_on(run_cli: Cli, tmp_path: Path) -> None:
    folder, init, out = drawn(tmp_path / "seen", SEEN, 40, 0), config(tmp_path, PATCHES), tmp_path / "out"
    arguments = [folder / "pairs.csv", "--init", init, "-o", out, *RUN, "--epochs", 500]
    process = started(*arguments)
    wait_for_rows(out / "log.csv", 3, process)
    second = run_cli("train", *arguments)
    assert second.code == 2
    assert f"another process trains into {out}" in second.err
    assert len(second.err.splitlines()) == 2
    rows = len(rows_of(out / "log.csv"))
    wait_for_rows(out / "log.csv", rows + 3, process)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@POSIX
def test_a_signal_while_pictures_are_read_ends_it_soon(run_cli: Cli, tmp_path: Path) -> None:
    folder, init, out = drawn(tmp_path / "seen", SEEN, 12, 0), config(tmp_path, PATCHES), tmp_path / "out"
    arguments = ["train", folder / "pairs.csv", "--init", init, "-o", out, *RUN]

    def interrupt(*_: object) -> bytes:
        if read.call_count == 1:  # a second one would end it at once
            os.kill(os.getpid(), signal.SIGINT)
        return b""

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # some shells ignore it in the background
    try:
        with mock.patch("clipcli.train.data.read_file", side_effect=interrupt) as read:
            result = run_cli(*arguments, "-j", 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.code == 130
    assert read.call_count < 12
    assert (
        result.err.splitlines()[-1]
        == "interrupted: no step was made; running it again starts from the beginning"
    )
    assert not out.exists()


# --- What it says --------------------------------------------------------------------------------


def test_a_folder_with_texts_and_a_broken_picture(run_cli: Cli, tmp_path: Path) -> None:
    folder, init, out = drawn(tmp_path / "seen", SEEN, 12, 0), config(tmp_path, PATCHES), tmp_path / "out"
    for row in rows_of(folder / "pairs.csv"):
        (folder / row["image"]).with_suffix(".txt").write_text(row["caption"])
    broken = sorted(folder.glob("*.png"))[4]
    broken.write_bytes(broken.read_bytes()[:100])
    arguments = ["train", folder, "--init", init, "-o", out, "--epochs", 1, "-b", 4, *SAME]
    result = run_cli(*arguments)
    assert result.code == 3
    assert result.err.startswith(f"warning: {broken}: damaged image")
    assert f"warning: 1 images were left out; {out / 'failures.csv'} says why\n" in result.err
    (failure,) = rows_of(out / "failures.csv")
    assert failure["image"] == str(broken)
    assert failure["reason"].startswith("damaged image")
    assert "11 images; the model is in" in result.err
    again = run_cli(*arguments, "-q")
    assert (again.code, len(again.err.splitlines())) == (3, 2), "the run was complete"
    assert run_cli(*arguments, "--allow-failures").code == 0
    assert len(rows_of(out / "log.csv")) == 3, "of 4, 3 and 3 pictures"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "-o", "out"], "none.csv: No such file"),
        (["pairs.csv", "-o", "out", "--init", "none.json"], "no such configuration: none.json"),
        (["pairs.csv", "-o", "out", "--init", "nanno"], "unknown model 'nanno'"),
        (["pairs.csv", "-o", "out", "--init", "nano", "--crop", "2"], "--crop must be above 0"),
        (["pairs.csv", "-o", "out", "--init", "nano", "--epochs", "0"], "--epochs must be at least 1"),
        (["pairs.csv", "-o", ".", "--init", "nano"], "holds something other than a training run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_say_what_to_do(
    arguments: list[str], message: str, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn(tmp_path / "seen", SEEN, 3, 0)
    lines = ["image,caption", *(f"seen/{row['image']},x" for row in rows_of(tmp_path / "seen" / "pairs.csv"))]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    result = run_cli("train", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) <= 2


def test_nano_is_fine_tuned(run_cli: Cli, tmp_path: Path) -> None:
    folder, out = drawn(tmp_path / "seen", SEEN, 24, 0), tmp_path / "out"
    arguments = ["--init", "nano", "--lock-text", "--epochs", 1, "-b", 8, *SAME]
    result = run_cli("train", folder / "pairs.csv", "-o", out, *arguments)
    assert result.code == 0, result.err
    classified = run_cli("classify", folder, "--model", out, "-l", "red,blue", "-k", 1, *SAME)
    assert classified.code == 0, classified.err
    assert len(classified.out.splitlines()) == 25
