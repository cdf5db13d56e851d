"""Training: losses, schedule, split, what is frozen, and runs that go on exactly."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import save_tokenizer
from open_clip.loss import ClipLoss, SigLipLoss
from PIL import Image
from safetensors.torch import load_file

from clipcli import load_model
from clipcli.augment import Augmentation
from clipcli.encoder import OpenClipEncoder, build_random
from clipcli.errors import (
    ClipcliWarning,
    ImageError,
    ModelError,
    UsageError,
    WeightsDamagedError,
)
from clipcli.models import ModelFiles, locate, locate_config, parse_model
from clipcli.pairs import Caption, Pair, Pairs
from clipcli.records import ImageFailure
from clipcli.train import (
    CHECKPOINT,
    EPOCHS,
    LOG,
    MAX_SCALE,
    WEIGHTS,
    EpochReport,
    StepReport,
    TrainOptions,
    contrastive_loss,
    keys_of,
    lr_at,
    parameter_groups,
    positives,
    prepare,
    recall_at,
    sigmoid_loss,
    split,
    train,
    validation_metrics,
)

VISION = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
CONVOLUTIONS = {
    "timm_model_name": "test_resnet",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
OPTIONS = TrainOptions(epochs=3, batch_size=8, lr=1e-3, ema=0.9, device="cpu", precision="fp32", workers=2)
PLAIN = replace(OPTIONS, ema=0, val_fraction=0, clip_grad=0, augmentation=Augmentation(1, False, 0))


def config(folder: Path, vision: dict[str, Any] | None = None, **fields: Any) -> ModelFiles:
    """A small architecture, to be trained from random weights."""
    path = folder / "config.json"
    vision_cfg = VISION if vision is None else vision
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": TEXT, **fields}))
    return locate_config(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    """Thirty small pictures of their own, with a caption or two."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    made = []
    for number in range(30):
        path = folder / f"{number:02}.png"
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        texts = [f"picture {number}", "a picture"] if number % 3 == 0 else [f"number {number}"]
        made.append(Pair(str(path), tuple(map(Caption, texts))))
    return Pairs(tuple(made))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(folder: Path) -> list[dict[str, str]]:
    """The log but for its speeds."""
    return [{name: value for name, value in row.items() if name != "images/s"} for row in rows(folder / LOG)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / WEIGHTS))


def unit(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, columns, generator=generator), dim=-1)


# --- Losses --------------------------------------------------------------------------------------


def test_where_nothing_repeats_the_losses_are_those_of_open_clip() -> None:
    images, texts, each = unit(7, 5, 1), unit(7, 5, 2), torch.eye(7, dtype=torch.bool)
    scale, bias = torch.tensor(30.0), torch.tensor(-9.0)
    torch.testing.assert_close(contrastive_loss(images, texts, scale, each), ClipLoss()(images, texts, scale))
    torch.testing.assert_close(
        sigmoid_loss(images, texts, scale, bias, each), SigLipLoss()(images, texts, scale, bias)
    )


def test_two_equal_captions_are_positives_of_both_pictures() -> None:
    """By hand: unit vectors, so that all logits are 0 or 1, or 0 or 2 with the bias."""
    images = torch.eye(3)
    texts = images[[0, 0, 2]]
    positive = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    e = math.e
    of_images = (math.log(2 * e + 1) - 1) + math.log(3) + (math.log(e + 2) - 1)
    of_texts = 2 * (math.log(e + 2) - 0.5) + (math.log(e + 2) - 1)
    one = torch.tensor(1.0)
    loss = contrastive_loss(images, texts, one, positive)
    assert float(loss) == pytest.approx((of_images + of_texts) / 6)
    yes, no = math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1))  # a logit of 2, of 1, right
    wrong = math.log(1 + math.exp(1))  # a logit of 1 where none is wanted
    loss = sigmoid_loss(images, texts, one, one, positive)
    assert float(loss) == pytest.approx((3 * yes + 2 * no + 4 * wrong) / 3)


def test_captions_and_concepts_in_common_make_positives() -> None:
    texts = [Caption("a cat"), Caption("a tabby", "cat"), Caption("a tom", "cat"), Caption("a cat", "animal")]
    keys = [keys_of(text) for text in texts]
    found = positives([set(keys[0]), set(keys[1]), set(keys[2]) | set(keys[0]), set(keys[3])], keys)
    assert found.astype(int).tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]]


def test_the_schedule() -> None:
    made = [lr_at(step, 10, 4, 8.0) for step in range(10)]
    falling = [4 * (1 + math.cos(math.pi * part / 6)) for part in range(6)]
    assert made == pytest.approx([2, 4, 6, 8, *falling])
    assert lr_at(0, 1, 0, 8.0) == 8.0


def test_biases_gains_and_temperature_have_no_weight_decay(tmp_path: Path) -> None:
    model = build_random(config(tmp_path, init_logit_bias=-10.0), seed=0)
    model.visual.proj.requires_grad_(False)
    names = {id(weight): name for name, weight in model.named_parameters()}
    with_decay, without = (
        {names[id(weight)] for weight in group["params"]} for group in parameter_groups(model, 0.3)
    )
    assert [group["weight_decay"] for group in parameter_groups(model, 0.3)] == [0.3, 0.0]
    assert {"visual.conv1.weight", "text_projection", "positional_embedding"} <= with_decay
    assert {"logit_scale", "logit_bias", "ln_final.weight", "visual.ln_pre.bias"} <= without
    assert "visual.class_embedding" in without
    assert not any(name.endswith("bias") for name in with_decay)
    assert with_decay | without == set(names.values()) - {"visual.proj"}


# --- Data ----------------------------------------------------------------------------------------


def test_the_split_does_not_depend_on_the_order() -> None:
    digests = [f"{number:064x}" for number in range(100)]
    kept = split(digests, 0.2)
    assert len(kept) == 20
    assert kept == split(digests[::-1] + digests[:7], 0.2)
    assert kept != set(digests[:20])
    assert split(digests, 0) == set()


def test_the_validation_set_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.train.MAX_VALIDATION", 3)
    assert len(split([str(number) for number in range(100)], 0.2)) == 3


def test_no_picture_is_on_both_sides_and_its_captions_go_with_it(pairs: Pairs, tmp_path: Path) -> None:
    copies = []
    for pair in pairs.pairs[:20]:
        shutil.copy(pair.image, pair.image.replace(".png", "-copy.png"))
        copies.append(Pair(pair.image.replace(".png", "-copy.png"), (Caption("a copy"),)))
    both = Pairs(pairs.pairs + tuple(copies))
    data = prepare(both, config(tmp_path), replace(OPTIONS, val_fraction=0.3), lambda _: None)
    assert sorted([*data.train, *data.validation]) == sorted(both.pairs), "all, with all their captions"
    contents = [{Path(pair.image).read_bytes() for pair in side} for side in (data.train, data.validation)]
    assert not contents[0] & contents[1]
    assert [len(side) for side in contents] == [21, 9]


def test_broken_pictures_are_told_and_left_out(pairs: Pairs, tmp_path: Path) -> None:
    Path(pairs.pairs[3].image).write_bytes(b"no picture")
    Path(pairs.pairs[7].image).unlink()
    given = Pairs(pairs.pairs, (ImageFailure("x.png", "no caption"),))
    told: list[Any] = []
    result = train(given, config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out", report=told.append)
    failures = [report for report in told if isinstance(report, ImageFailure)]
    assert [Path(failure.image).name for failure in failures] == ["x.png", "03.png", "07.png"]
    assert failures[2].reason == "no such file"
    assert (result.images, result.failed, result.step, result.steps) == (28, 3, 3, 3)


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
    assert train(pairs, files, options, out).step == 9
    train(pairs, files, options, tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")


def test_a_caption_that_is_cut_is_told_once(pairs: Pairs, tmp_path: Path) -> None:
    long = tuple(
        Pair(pair.image, (Caption(f"{'very ' * 9}long {index}"),)) for index, pair in enumerate(pairs.pairs)
    )
    with pytest.warns(ClipcliWarning, match="captions longer than 8 tokens are cut") as told:
        train(Pairs(long), config(tmp_path), replace(PLAIN, epochs=1), tmp_path / "out")
    assert len(told) == 1


# --- Metrics -------------------------------------------------------------------------------------


def test_recall_counts_queries_with_a_positive_among_the_nearest() -> None:
    queries, gallery = np.eye(3, dtype=np.float32), np.array([[3, 2, 0], [2, 3, 1], [1, 1, 3]], np.float32)
    own = np.eye(3, dtype=np.bool_)
    assert recall_at(1, queries, gallery, own) == 1
    assert recall_at(1, queries, gallery, own[[1, 0, 2]]) == pytest.approx(1 / 3)
    assert recall_at(2, queries, gallery, own[[1, 0, 2]]) == 1
    assert recall_at(9, queries, gallery, np.zeros((3, 3), np.bool_)) == 0


def test_validation_is_by_concept_where_there_is_one() -> None:
    texts = [Caption("a tabby", "cat"), Caption("a tom", "cat"), Caption("a poodle", "dog")]
    pairs = [Pair("0", (texts[0],)), Pair("1", (texts[1],)), Pair("2", (texts[2],))]
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    images = np.array([[0, 1, 0], [1, 0, 0], [0.8, 0, 0.6]], np.float32)
    metrics = validation_metrics(pairs, texts, images, features)
    assert metrics.acc1 == 1, "to the mean of both cats, the third picture has 0.57, to the dog 0.6"
    assert metrics.image_to_text_r1 == pytest.approx(2 / 3), "the nearest caption of the third is a cat's"
    assert metrics.image_to_text_r5 == 1
    assert metrics.text_to_image_r1 == 1, "another picture of the concept is right, too"


# --- Runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_is_stopped_goes_on_exactly(accumulate: int, pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path, VISION | {"patch_dropout": 0.5})
    size = 8 // accumulate
    options = replace(OPTIONS, accumulate=accumulate, batch_size=size, checkpoint_every=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(pairs, files, options, whole).step == 9
    stops = 0
    for _ in range(20):
        asked: list[int] = []
        result = train(pairs, files, options, parts, lambda asked=asked: asked.append(1) or len(asked) > 2)
        stops += 1
        if result.step == result.steps:
            break
        assert (parts / WEIGHTS).exists(), "stopped, there is a model all the same"
    assert stops == 5, "two steps a time"
    assert timeless(parts) == timeless(whole)
    assert (parts / EPOCHS).read_bytes() == (whole / EPOCHS).read_bytes()
    assert (parts / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    losses = [float(row["loss"]) for row in timeless(whole)]
    assert len(set(losses)) == 9


def test_rows_after_the_checkpoint_are_made_again(pairs: Pairs, tmp_path: Path) -> None:
    files, whole, out = config(tmp_path), tmp_path / "whole", tmp_path / "out"
    train(pairs, files, OPTIONS, whole)
    calls: list[int] = []
    train(pairs, files, OPTIONS, out, lambda: calls.append(1) or len(calls) > 4)
    with (out / LOG).open("a") as log:
        log.write("5,2,9.9,1,1,1\n6,2,9")
    train(pairs, files, OPTIONS, out)
    assert timeless(out) == timeless(whole)


def test_a_finished_run_is_left_alone(pairs: Pairs, tmp_path: Path) -> None:
    files, out = config(tmp_path), tmp_path / "out"
    first = train(pairs, files, OPTIONS, out)
    assert first.best is not None
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    told: list[object] = []
    assert train(pairs, files, OPTIONS, out, report=told.append) == first
    assert not told
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
    assert result.step == 3, "how the work is done does not matter"


def test_a_folder_of_something_else_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds something else than a run of training"):
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
        assert scales == pytest.approx([2 * MAX_SCALE] * 3, rel=0.01)


def test_the_average_after_one_step(pairs: Pairs, tmp_path: Path) -> None:
    files = config(tmp_path)
    one = replace(PLAIN, epochs=1, batch_size=30)
    train(pairs, files, one, tmp_path / "plain")
    train(pairs, files, replace(one, ema=0.999), tmp_path / "average")
    begun, made = build_random(files, 0).state_dict(), weights(tmp_path / "plain")
    for name, mean in weights(tmp_path / "average").items():
        torch.testing.assert_close(mean, (2 * begun[name] + 9 * made[name]) / 11)
    assert (begun["text_projection"] != made["text_projection"]).all()


def test_weights_follow_from_the_seed(tmp_path: Path) -> None:
    files = config(tmp_path)
    same = [build_random(files, seed).state_dict()["text_projection"] for seed in (1, 1, 2)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])


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
        ({"unlocked_layers": 1}, "--unlocked-layers wants --lock-image or --lock-text"),
        ({"lock_image": True, "lock_text": True}, "with both towers locked there is nothing to train"),
    ],
    ids=str,
)
def test_options_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainOptions(**values)
    assert caught.value.message == message
