"""Training: what is frozen, what is kept, and runs that continue exactly."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import pytest
import torch
from conftest import save_tokenizer
from safetensors.torch import load_file
from small_models import CONVOLUTIONS, TEXT, VISION, config, small_pairs

from clipcli import load_model
from clipcli.errors import (
    ClipcliWarning,
    ImageError,
    ModelError,
    OutputError,
    UsageError,
    WeightsDamagedError,
)
from clipcli.models.build import build_random
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.locate import ModelFiles, locate, locate_config
from clipcli.models.registry import parse_model
from clipcli.records import ImageFailure
from clipcli.train.augment import Augmentation
from clipcli.train.data import ReadReport
from clipcli.train.loop import EpochReport, StepReport, train
from clipcli.train.options import TrainOptions
from clipcli.train.pairs import Caption, Pair, Pairs
from clipcli.train.run_folder import CHECKPOINT, EPOCHS, LOCK, LOG, READABLE, WEIGHTS
from clipcli.train.trainable import MAX_SCALE, Trainable

OPTIONS = TrainOptions(epochs=3, batch_size=8, lr=1e-3, ema=0.9, device="cpu", precision="fp32", workers=2)
PLAIN = replace(OPTIONS, ema=0, val_fraction=0, clip_grad=0, augmentation=Augmentation(1, False, 0))


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return small_pairs(tmp_path / "pictures")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(folder: Path) -> list[dict[str, str]]:
    """The log but for its speeds."""
    return [{name: value for name, value in row.items() if name != "images/s"} for row in rows(folder / LOG)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / WEIGHTS))


class StopAfter:
    """Stops a run after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def report(self, report: object) -> None:
        self.left -= isinstance(report, StepReport)

    def stop(self) -> bool:
        return self.left <= 0


# --- Data ----------------------------------------------------------------------------------------


def test_broken_pictures_are_told_and_left_out(pairs: Pairs, tmp_path: Path) -> None:
    Path(pairs.pairs[3].image).write_bytes(b"no picture")
    Path(pairs.pairs[7].image).unlink()
    given = Pairs(pairs.pairs, (ImageFailure("x.png", "no caption"),))
    told: list[Any] = []
    result = train(given, config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out", report=told.append)
    failures = [report for report in told if isinstance(report, ImageFailure)]
    assert [Path(failure.image).name for failure in failures] == ["x.png", "03.png", "07.png"]
    assert failures[2].reason == "no such file"
    assert (result.images, result.failed, result.step, result.steps) == (28, 3, 4, 4)


def test_without_pictures_there_is_no_training(pairs: Pairs, tmp_path: Path) -> None:
    for pair in pairs.pairs:
        Path(pair.image).unlink()
    with pytest.raises(UsageError, match="0 of 30 images can be read, which leaves 0 to train on"):
        train(pairs, config(tmp_path), OPTIONS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_goes_away_ends_the_run_which_can_go_on(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    options = replace(PLAIN, checkpoint_every=1)
    path = Path(pairs.pairs[5].image)

    def remove(report: object) -> None:
        if isinstance(report, StepReport) and report.step == 3:
            path.rename(path.with_suffix(".away"))

    with pytest.raises(ImageError, match=r"05\.png: no such file; it could be read when the run began"):
        train(pairs, files, options, out, report=remove)
    path.with_suffix(".away").rename(path)
    assert train(pairs, files, options, out).step == 12
    train(pairs, files, options, tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")


def test_a_caption_that_is_cut_is_told_once(pairs: Pairs, tmp_path: Path) -> None:
    long = tuple(
        Pair(pair.image, (Caption(f"{'very ' * 9}long {index}"),)) for index, pair in enumerate(pairs.pairs)
    )
    with pytest.warns(ClipcliWarning, match="captions longer than 8 tokens are cut") as told:
        train(Pairs(long), config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out")
    assert len(told) == 1


# --- Runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_is_stopped_goes_on_exactly(accumulate: int, pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path, VISION | {"patch_dropout": 0.5})
    size = 8 // accumulate
    options = replace(OPTIONS, accumulate=accumulate, batch_size=size, checkpoint_every=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(pairs, files, options, whole).step == 12
    stops = 0
    for _ in range(20):
        run = StopAfter(2)
        result = train(pairs, files, options, parts, run.stop, run.report)
        stops += 1
        if result.step == result.steps:
            break
        assert (parts / WEIGHTS).exists(), "stopped, there is a model all the same"
    assert stops == 6, "two steps a time"
    assert timeless(parts) == timeless(whole)
    assert (parts / EPOCHS).read_bytes() == (whole / EPOCHS).read_bytes()
    assert (parts / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    losses = [float(row["loss"]) for row in timeless(whole)]
    assert len(set(losses)) == 12


@pytest.mark.parametrize(
    "garbage",
    [b"5,2,9.9,1,1,1\n6,2,9", bytes(64), b"\xff\n5,2,9.9,1,1,1\n", b"x,2,9.9,1,1,1\n", b'"5,2\n,9.9,1,1,1'],
    ids=["whole and torn", "zeros", "no text", "no number", "quotes"],
)
def test_rows_after_the_checkpoint_are_made_again(garbage: bytes, pairs: Pairs, tmp_path: Path) -> None:
    """A power cut may leave anything after the last row that is known to be on the disk."""
    files, whole, out = config(tmp_path), tmp_path / "whole", tmp_path / "out"
    train(pairs, files, OPTIONS, whole)
    run = StopAfter(4)
    train(pairs, files, OPTIONS, out, run.stop, run.report)
    with (out / LOG).open("ab") as log:
        log.write(garbage)
    train(pairs, files, OPTIONS, out)
    assert timeless(out) == timeless(whole)


def test_a_finished_run_is_left_alone(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    first = train(pairs, files, OPTIONS, out)
    assert first.best is not None
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    told: list[object] = []
    assert train(pairs, files, OPTIONS, out, report=told.append) == first
    assert {type(report) for report in told} == {ReadReport}, "pictures are read, no step is made"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_best_epoch_is_kept(pairs: Pairs, tmp_path: Path) -> None:
    told: list[Any] = []
    options = replace(OPTIONS, epochs=8, val_fraction=0.3, lr=3e-3)
    result = train(pairs, config(tmp_path), options, tmp_path / "out", report=told.append)
    metrics = [report.metrics for report in told if isinstance(report, EpochReport)]
    merits = [found.acc1 + found.image_to_text_r1 for found in metrics]
    assert len(set(merits)) > 1
    best = max(range(8), key=lambda epoch: (merits[epoch], epoch))
    assert result.best == metrics[best]
    assert [float(row["acc1"]) for row in rows(tmp_path / "out" / EPOCHS)] == pytest.approx(
        [found.acc1 for found in metrics]
    )


def test_other_settings_are_refused(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    train(pairs, files, replace(PLAIN, epochs=1), out)
    with pytest.raises(UsageError, match=r"other settings: lr 0\.001 is now 0\.002, crop 1 is now 0\.7"):
        train(pairs, files, replace(PLAIN, epochs=1, lr=2e-3, augmentation=Augmentation(0.7, False, 0)), out)
    with pytest.raises(UsageError, match="other settings: pairs"):
        train(Pairs(pairs.pairs[1:]), files, replace(PLAIN, epochs=1), out)
    with pytest.raises(UsageError, match="other settings: init"):
        train(pairs, config(tmp_path, VISION | {"layers": 1}), replace(PLAIN, epochs=1), out)
    result = train(pairs, files, replace(PLAIN, epochs=1, workers=1, checkpoint_every=7), out)
    assert result.step == 4, "how the work is done does not matter"


def test_a_folder_of_something_else_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds something other than a training run"):
        train(pairs, config(tmp_path), OPTIONS, tmp_path)


def test_damaged_settings_are_told(pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in ("{", "[]"):
        (tmp_path / "out" / "train.json").write_text(content)
        with pytest.raises(UsageError, match=r"train\.json is damaged"):
            train(pairs, config(tmp_path), OPTIONS, tmp_path / "out")


def test_a_damaged_checkpoint_is_told(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    train(pairs, files, PLAIN, out)
    (out / CHECKPOINT).write_bytes((out / CHECKPOINT).read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"checkpoint\.pt is damaged"):
        train(pairs, files, PLAIN, out)


def test_a_loss_that_is_no_number_ends_the_run(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the loss is nan in step"):
        train(pairs, config(tmp_path), replace(PLAIN, lr=1e30, warmup=0), tmp_path / "out")


def test_a_gradient_that_is_no_number_changes_nothing(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square root of 0 is 0, its slope is infinite."""
    loss_of = Trainable.loss

    def steep(trainable: Trainable, *features: torch.Tensor) -> torch.Tensor:
        return loss_of(trainable, *features) + (features[0] * 0).sum().sqrt()

    monkeypatch.setattr(Trainable, "loss", steep)
    with pytest.raises(ModelError, match="the norm of the gradient is nan in step 1"):
        train(pairs, config(tmp_path), PLAIN, tmp_path / "out")
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    assert not (tmp_path / "out" / WEIGHTS).exists()


def test_features_that_are_no_numbers_are_never_the_best(pairs: Pairs, tmp_path: Path) -> None:
    options = replace(PLAIN, epochs=1, batch_size=30, lr=1e30, warmup=0, val_fraction=0.2)
    with pytest.raises(ModelError, match="the model's features are not finite"):
        train(pairs, config(tmp_path), options, tmp_path / "out")
    assert not (tmp_path / "out" / WEIGHTS).exists()


def test_several_batches_a_step_are_one_large_batch(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path, init_logit_scale=0.0)
    train(pairs, files, replace(PLAIN, batch_size=15), tmp_path / "large")
    train(pairs, files, replace(PLAIN, batch_size=5, accumulate=3), tmp_path / "small")
    large, small = timeless(tmp_path / "large"), timeless(tmp_path / "small")
    assert len(large) == 6
    assert [float(row["loss"]) for row in small] == pytest.approx(
        [float(row["loss"]) for row in large], rel=1e-3
    )
    assert float(large[0]["loss"]) == pytest.approx(math.log(15), rel=0.2), "15 are compared, not 5"


def test_fp32_on_a_gpu_does_without_tf32_and_all_else_leaves_it() -> None:
    before = torch.backends.cudnn.allow_tf32
    for device, dtype, allowed in (
        ("cuda", torch.float32, False),
        ("cuda", torch.bfloat16, before),
        ("cpu", torch.float32, before),
    ):
        with Trainable.exactly(mock.Mock(device=torch.device(device), dtype=dtype)):
            assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.backends.cudnn.allow_tf32 == before


def test_steps_and_validation_compute_exactly(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, seen = [False], []

    @contextmanager
    def exactly(_: Trainable) -> Iterator[None]:
        inside[0] = True
        yield
        inside[0] = False

    image_features = Trainable.image_features
    monkeypatch.setattr(Trainable, "exactly", exactly)
    monkeypatch.setattr(
        Trainable,
        "image_features",
        lambda self, pixels: (seen.append(inside[0]), image_features(self, pixels))[1],
    )
    train(pairs, config(tmp_path), OPTIONS, tmp_path / "run")
    assert seen and all(seen)


def test_bf16_is_for_computing_and_weights_stay_fp32(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path)
    for precision in ("fp32", "bf16"):
        train(pairs, files, replace(PLAIN, precision=precision), tmp_path / precision)
    exact, rounded = ([float(row["loss"]) for row in timeless(tmp_path / name)] for name in ("fp32", "bf16"))
    assert rounded == pytest.approx(exact, rel=0.1)
    assert rounded != exact
    assert {value.dtype for value in weights(tmp_path / "bf16").values()} == {torch.float32}


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_the_scale_is_clamped_in_the_softmax_loss(loss: Any, pairs: Pairs, tmp_path: Path) -> None:
    bias = {} if loss == "clip" else {"init_logit_bias": -10.0}
    files = config(tmp_path, init_logit_scale=math.log(2 * MAX_SCALE), **bias)
    train(pairs, files, replace(PLAIN, epochs=1), tmp_path / "out")
    scales = [float(row["scale"]) for row in rows(tmp_path / "out" / LOG)]
    if loss == "clip":
        assert all(scale <= MAX_SCALE + 1e-3 for scale in scales)
        assert scales[0] == pytest.approx(MAX_SCALE)
    else:
        assert scales == pytest.approx([2 * MAX_SCALE] * 4, rel=0.01)


@pytest.mark.parametrize("vision", [VISION, CONVOLUTIONS], ids=["patches", "convolutions"])
def test_the_average_after_one_step(vision: dict[str, Any], pairs: Pairs, tmp_path: Path) -> None:
    """Of weights, and of the running statistics of batch norm."""
    files = config(tmp_path, vision)
    one = replace(PLAIN, epochs=1, batch_size=30)
    train(pairs, files, one, tmp_path / "plain")
    train(pairs, files, replace(one, ema=0.999), tmp_path / "average")
    begun, made = build_random(files, 0).state_dict(), weights(tmp_path / "plain")
    averages = weights(tmp_path / "average")
    for name, mean in averages.items():
        if not mean.is_floating_point():
            assert mean == made[name], "batches are counted"
            continue
        torch.testing.assert_close(mean, (2 * begun[name] + 9 * made[name]) / 11)
    assert (begun["text_projection"] != made["text_projection"]).all()


def test_weights_follow_from_the_seed(tmp_path: Path) -> None:
    files = config(tmp_path)
    same = [build_random(files, seed).state_dict()["text_projection"] for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


def test_batch_norm_counts_each_batch_once(pairs: Pairs, tmp_path: Path) -> None:
    """Though features are made twice, for the loss and for the gradient."""
    options = replace(PLAIN, epochs=2, batch_size=10, accumulate=3)
    train(pairs, config(tmp_path, CONVOLUTIONS), options, tmp_path / "out")
    counts = [int(value) for name, value in weights(tmp_path / "out").items() if "num_batches" in name]
    assert counts
    assert set(counts) == {2 * 3}


@pytest.mark.parametrize(("count", "size", "accumulate"), [(17, 16, 1), (17, 16, 2), (3, 2, 1), (2, 64, 1)])
def test_odd_numbers_of_pictures(
    count: int, size: int, accumulate: int, pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm has no statistics of one picture, and each picture is seen in every epoch."""
    seen: list[str] = []
    from clipcli.train import loop as module

    view_of = module.view_of
    monkeypatch.setattr(
        module, "view_of", lambda pair, *rest: seen.append(pair.image) or view_of(pair, *rest)
    )
    options = replace(PLAIN, epochs=2, batch_size=size, accumulate=accumulate)
    train(Pairs(pairs.pairs[:count]), config(tmp_path, CONVOLUTIONS), options, tmp_path / "out")
    assert sorted(seen) == sorted(2 * [pair.image for pair in pairs.pairs[:count]])
    assert all(
        math.isfinite(float(row["loss"])) and float(row["loss"]) > 0 for row in rows(tmp_path / "out" / LOG)
    )


def test_random_numbers_of_a_step_follow_from_seed_and_step(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path)
    drawn: list[tuple[float, ...]] = []

    def draw(report: object) -> None:
        if isinstance(report, StepReport):
            drawn.append(tuple(torch.rand(3).tolist()))

    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        train(pairs, files, replace(PLAIN, epochs=1, seed=seed), tmp_path / name, report=draw)
    assert drawn[:4] == drawn[4:8]
    assert len(set(drawn)) == 8, "of each seed its own"


# --- What is locked ------------------------------------------------------------------------------


def changed(before: dict[str, torch.Tensor], folder: Path) -> set[str]:
    """The names whose values are not the same to the bit."""
    after = weights(folder)
    assert set(after) == set(before)
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_a_locked_text_tower_does_not_change_and_all_else_does(
    pairs: Pairs, random_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = random_model("clip")
    files = locate(parse_model(f"local-dir:{folder}"))
    options = replace(PLAIN, epochs=2, batch_size=15, lock_text=True)
    few = Pairs(pairs.pairs[:16])
    train(few, files, options, tmp_path / "out")
    before = weights(folder)
    image = {name for name in before if name.startswith("visual.")}
    assert len(image) > 30
    assert changed(before, tmp_path / "out") == image | {"logit_scale"}


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({"lock_image": True}, ("text", "logit_scale")),
        ({"lock_text": True}, ("image", "logit_scale")),
        ({"lock_text": True, "unlocked_layers": 1}, ("image", "logit_scale", "text_projection")),
        (
            {"lock_text": True, "unlocked_layers": 2},
            ("image", "logit_scale", "text_projection", "ln_final", "transformer.resblocks.1"),
        ),
        (
            {"lock_image": True, "lock_text": True, "unlocked_layers": 1},
            ("visual.proj", "text_projection", "logit"),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("average", [0, 0.9])
def test_what_is_trained(
    options: dict[str, Any], trained: tuple[str, ...], average: float, pairs: Pairs, tmp_path: Path
) -> None:
    files = config(tmp_path)
    train(pairs, files, replace(PLAIN, epochs=1, ema=average, **options), tmp_path / "out")
    before = build_random(files, 0).state_dict()
    groups = {
        "image": {name for name in before if name.startswith("visual.")},
        "text": {name for name in before if not name.startswith(("visual.", "logit_"))},
    }
    expected = set()
    for part in trained:
        expected |= groups.get(part, {name for name in before if name.startswith(part)})
    assert changed(before, tmp_path / "out") == expected


@pytest.mark.filterwarnings("ignore:Importing from timm.models.helpers")  # by open_clip
def test_running_statistics_of_locked_layers_do_not_change(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path, CONVOLUTIONS)
    before = build_random(files, 0).state_dict()
    statistics = {name for name in before if "running_" in name or "num_batches" in name}
    last = {name for name in statistics if name.startswith("visual.trunk.layer4")}
    assert 0 < len(last) < len(statistics)
    lock = replace(PLAIN, epochs=1, lock_image=True)
    for name, options, free in (
        ("locked", lock, set()),
        ("unlocked", replace(lock, unlocked_layers=1), last),
        ("free", replace(PLAIN, epochs=1), statistics),
    ):
        train(pairs, files, options, tmp_path / name)
        assert changed(before, tmp_path / name) & statistics == free, name


# --- What is on the disk ------------------------------------------------------------------------


def test_files_are_on_the_disk_before_they_replace_others(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the folder with their names after that; logs before the checkpoint that counts on them."""
    done: list[tuple[str, str]] = []
    fsync, replace_ = os.fsync, Path.replace

    def recording_fsync(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def recording_replace(path: Path, target: Path) -> Path:
        done.append(("replace", target.name))
        return replace_(path, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    train(pairs, config(tmp_path), replace(OPTIONS, epochs=1), tmp_path / "out")
    for name in (WEIGHTS, CHECKPOINT, "open_clip_config.json", "train.json", LOG, READABLE):
        at = done.index(("replace", name))
        assert done[at - 1] == ("sync", f"{name}.partial")
        assert done[at + 1] == ("sync", "out")
    last = done.index(("replace", CHECKPOINT))
    assert done[last - 3 : last - 1] == [("sync", LOG), ("sync", EPOCHS)]


def test_a_run_that_goes_on_does_not_decode_again(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    first = train(pairs, files, PLAIN, out)
    monkeypatch.setattr("clipcli.train.data.decode_whole", None)
    assert train(pairs, files, PLAIN, out) == first


def test_stopped_while_pictures_are_read_there_is_nothing_yet(pairs: Pairs, tmp_path: Path) -> None:
    told: list[object] = []
    result = train(pairs, config(tmp_path), PLAIN, tmp_path / "out", lambda: len(told) > 4, told.append)
    assert (result.step, result.steps, result.finished) == (0, 0, False)
    assert len(told) == 5
    assert not (tmp_path / "out").exists()


def test_a_second_process_is_refused_before_it_reads(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    told: list[object] = []

    def begin_another(report: object) -> None:
        if isinstance(report, StepReport) and report.step == 2:
            with pytest.raises(UsageError, match="another process trains into"):
                train(pairs, files, PLAIN, out, report=told.append)

    result = train(pairs, files, PLAIN, out, report=begin_another)
    assert result.finished
    assert not told
    assert train(pairs, files, PLAIN, out) == result, "the lock was given back"
    train(pairs, files, PLAIN, tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")


def test_a_folder_that_only_holds_a_lock_is_as_good_as_empty(pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).touch()
    assert train(pairs, config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out").finished


def test_other_options_are_refused_before_pictures_are_read(pairs: Pairs, tmp_path: Path) -> None:
    files, told = config(tmp_path), list[object]()
    train(pairs, files, replace(PLAIN, epochs=1), tmp_path / "out")
    with pytest.raises(UsageError, match="other settings: epochs 1 is now 2"):
        train(pairs, files, replace(PLAIN, epochs=2), tmp_path / "out", report=told.append)
    assert not told


def test_a_folder_that_cannot_be_written_is_told(
    pairs: Pairs, tmp_path: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    (tmp_path / "fixed").mkdir(0o555)
    files = config(tmp_path)
    with unprivileged(), pytest.raises(OutputError, match="cannot write"):
        train(pairs, files, PLAIN, tmp_path / "fixed" / "out")


def test_weights_in_any_memory_format_are_saved(
    pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(files: ModelFiles, seed: int) -> Any:
        return build_random(files, seed).to(memory_format=torch.channels_last)

    monkeypatch.setattr("clipcli.train.trainable.build_random", build)
    assert train(pairs, config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out").finished
    assert weights(tmp_path / "out")["visual.conv1.weight"].is_contiguous()


# --- What is saved -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bias", "loss", "activation"),
    [
        (None, "auto", "softmax"),
        (-10.0, "auto", "sigmoid"),
        (None, "siglip", "sigmoid"),
        (-10.0, "clip", "softmax"),
    ],
)
def test_the_model_that_is_saved_has_the_activation_of_its_loss(
    bias: float | None, loss: Any, activation: str, pairs: Pairs, tmp_path: Path
) -> None:
    files = config(tmp_path, **({} if bias is None else {"init_logit_bias": bias}))
    train(pairs, files, replace(PLAIN, epochs=1, loss=loss), tmp_path / "out")
    encoder = load_model(str(tmp_path / "out"), device="cpu", precision="fp32")
    assert encoder.activation == activation


def test_the_model_that_is_saved_is_that_which_was_trained(pairs: Pairs, tmp_path: Path) -> None:
    """Its preprocessing too; and open_clip by itself loads the folder."""
    bare = json.loads(config(tmp_path).weights.read_text())
    path = tmp_path / "whole.json"
    recipe = {"mean": [0.4] * 3, "std": [0.3] * 3, "resize_mode": "longest", "fill_color": 255}
    path.write_text(json.dumps({"model_cfg": bare, "preprocess_cfg": recipe}))
    files = locate_config(path)
    train(pairs, files, OPTIONS, tmp_path / "out")
    encoder = load_model(str(tmp_path / "out"), device="cpu", precision="fp32")
    assert encoder.preprocess == files.preprocess
    assert (encoder.preprocess.fill_color, encoder.preprocess.mean) == (255, (0.4, 0.4, 0.4))
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(["picture 3"])
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(["picture 3"]), expected, atol=1e-6)


def test_a_tokenizer_of_its_own_goes_with_the_model(pairs: Pairs, tmp_path: Path) -> None:
    folder = tmp_path / "init"
    folder.mkdir()
    text_cfg = TEXT | {"hf_tokenizer_name": "local", "vocab_size": save_tokenizer(folder)}
    train(pairs, config(folder, text_cfg=text_cfg), replace(PLAIN, epochs=1), tmp_path / "out")
    shutil.rmtree(folder)
    encoder = load_model(str(tmp_path / "out"), device="cpu", precision="fp32")
    (tokens,) = encoder.tokenizer(["a photo of a"]).tolist()
    assert tokens.index(1) == 4, "four words and the end"
    assert len(set(tokens[:4])) == 3


# --- Configurations and options ------------------------------------------------------------------


def test_a_configuration_never_passes_for_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsDamagedError):
        OpenClipEncoder(config(tmp_path), "cpu", "fp32")


@pytest.mark.parametrize("content", ["{", "[]", '{"embed_dim": 3}', '{"model_cfg": {"embed_dim": 3}}'])
def test_what_is_no_configuration(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ModelError, match=r"x\.json is not an open_clip configuration"):
        locate_config(tmp_path / "x.json")


def test_an_architecture_that_cannot_be_built_is_told(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path, VISION | {"no_such_field": 1})
    with pytest.raises(ModelError, match=r"config\.json cannot be built: .*no_such_field"):
        train(pairs, files, OPTIONS, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "the folder is free for the configuration once it is mended"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"batch_size": 1}, "--batch-size must be at least 2, not 1"),
        ({"lr": 0.0}, "--lr must be above 0, not 0.0"),
        ({"lr": math.nan}, "--lr must be above 0, not nan"),
        ({"weight_decay": math.nan}, "--weight-decay must be at least 0, not nan"),
        ({"ema": 1.0}, "--ema must be at least 0 and below 1, not 1.0"),
        ({"val_fraction": 1.0}, "--val-fraction must be at least 0 and below 1, not 1.0"),
        ({"seed": 2**31}, "--seed must be below 2147483648, not 2147483648"),
        ({"loss": "sigmoid"}, "--loss must be one of auto, clip, siglip, not sigmoid"),
        ({"precision": "fp16"}, "--precision must be one of auto, fp32, bf16, not fp16"),
        ({"unlocked_layers": 1}, "--unlocked-layers needs --lock-image or --lock-text"),
        ({"lock_image": True, "lock_text": True}, "with both towers locked there is nothing to train"),
    ],
    ids=str,
)
def test_options_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainOptions(**values)
    assert caught.value.message == message
