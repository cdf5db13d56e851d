"""`clipcli train`: images with captions in, a model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipcli.cli import console, options, progress, session
from clipcli.cli.interrupts import Interrupted, StopOnSignal
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.models.locate import ModelFiles
    from clipcli.train.loop import Result

_MODEL, _TRAINING, _VIEWS, _ENGINE = "Model", "Training", "Views of images", "Engine"


def train(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="A .csv, .tsv, .jsonl or .parquet file with columns image, caption and perhaps concept;"
            " or a folder with NAME.txt beside NAME.jpg.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The model, logs and checkpoints.")
    ],
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="MODEL",
            envvar="CLIPCLI_MODEL",
            help="What to start from: a model as `classify --model` takes it, or CONFIG.json,"
            " an open_clip configuration, for random weights. [default: balanced]",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    lock_image: Annotated[
        bool, typer.Option("--lock-image", help="Leave the image tower as it is.", rich_help_panel=_MODEL)
    ] = False,
    lock_text: Annotated[
        bool, typer.Option("--lock-text", help="Leave the text tower as it is.", rich_help_panel=_MODEL)
    ] = False,
    unlocked_layers: Annotated[
        int,
        typer.Option(
            "--unlocked-layers",
            metavar="N",
            help="Of locked towers, train the last N groups of layers all the same.",
            rich_help_panel=_MODEL,
        ),
    ] = 0,
    device: options.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(
            "--precision",
            help="auto: compute in bf16 where the hardware has it natively, else in fp32.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto",
    offline: options.Offline = False,
    epochs: Annotated[
        int, typer.Option("--epochs", help="How often each image is seen.", rich_help_panel=_TRAINING)
    ] = 10,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", help="Pairs in memory, at most.", rich_help_panel=_TRAINING)
    ] = 64,
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            help="Batches a step, compared as one large batch in the memory of one.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            help="Highest learning rate. [default: 5e-4 from random weights, else 1e-5]",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup",
            help="Steps until then. [default: a tenth, at most 1000]",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", help="Of matrices only.", rich_help_panel=_TRAINING)
    ] = 0.1,
    clip_grad: Annotated[
        float,
        typer.Option("--clip-grad", help="Longest gradient; 0: no limit.", rich_help_panel=_TRAINING),
    ] = 1.0,
    ema: Annotated[
        float,
        typer.Option(
            "--ema",
            help="Kept of the averaged weights a step; these are saved. 0: no average.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.999,
    loss: Annotated[
        Literal["auto", "clip", "siglip"],
        typer.Option(
            "--loss", help="auto: siglip for a model with a bias, else clip.", rich_help_panel=_TRAINING
        ),
    ] = "auto",
    val_fraction: Annotated[
        float,
        typer.Option(
            "--val-fraction", help="Part of the images kept for validation.", rich_help_panel=_TRAINING
        ),
    ] = 0.1,
    crop: Annotated[
        float,
        typer.Option("--crop", help="Least part of the area that is shown.", rich_help_panel=_VIEWS),
    ] = 0.7,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip", help="Mirror half of the views; not with captions of sides.", rich_help_panel=_VIEWS
        ),
    ] = False,
    jitter: Annotated[
        float,
        typer.Option(
            "--jitter", help="Change of brightness, contrast and saturation.", rich_help_panel=_VIEWS
        ),
    ] = 0.1,
    seed: Annotated[
        int, typer.Option("--seed", help="Of weights, order and views.", rich_help_panel=_ENGINE)
    ] = 0,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            "--checkpoint-every",
            metavar="STEPS",
            help="What a kill may lose; there is one after each epoch, too.",
            rich_help_panel=_ENGINE,
        ),
    ] = 500,
    allow_failures: options.AllowFailures = False,
    workers: options.Workers = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a model on images with captions, or go on where a run was stopped.

    `clipcli train pairs.csv --init fast --lock-text -o mine/`, then `clipcli classify photos/ --model mine/`.

    The same command again goes on with the run that DIR holds.
    """
    from clipcli.train.pairs import read_pairs

    given = read_pairs(pairs)
    files = _files(init, offline)
    from clipcli.train.augment import Augmentation
    from clipcli.train.loop import TrainOptions
    from clipcli.train.loop import train as train_

    settings = TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        lr=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_grad=clip_grad,
        ema=ema,
        loss=loss,
        lock_image=lock_image,
        lock_text=lock_text,
        unlocked_layers=unlocked_layers,
        val_fraction=val_fraction,
        augmentation=Augmentation(crop, flip, jitter),
        seed=seed,
        checkpoint_every=checkpoint_every,
        device=device,
        precision=precision,
        workers=workers,
    )
    with StopOnSignal() as stop, progress.TrainingProgress(quiet) as shown:
        result = train_(given, files, settings, output, stop, shown)
    if result.steps:
        _tell(result, output, quiet)
    if not result.finished:
        try:
            stop.check()
        except Interrupted as reason:
            made = f"step {result.step} of {result.steps} is in {output}"
            console.note(f"{reason}: {made if result.steps else 'no step was made'}; run it again to go on")
            raise typer.Exit(reason.exit_code) from None
    if result.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _files(init: str | None, offline: bool) -> ModelFiles:
    """The model, or the configuration, that --init names."""
    from clipcli.models.locate import locate, locate_config
    from clipcli.models.registry import DEFAULT_MODEL
    from clipcli.models.request import ModelRequest

    if init is not None and init.endswith(".json"):
        if not Path(init).is_file():
            raise UsageError(f"no such configuration: {init}")
        return locate_config(Path(init), offline)
    request = ModelRequest(init or DEFAULT_MODEL, offline=offline)
    session.prepare_hub(request)
    return locate(request.spec(), offline)


def _tell(result: Result, output: Path, quiet: bool) -> None:
    from clipcli.train.run_folder import FAILURES

    if result.failed:
        console.warn(f"{result.failed} images were left out; {output / FAILURES} says why")
    if quiet:
        return
    if result.best is not None:
        console.note(f"best: {progress.metrics(result.best)}, of images not trained on")
    console.note(f"{result.images} images; the model is in {output}: clipcli classify --model {output}")
