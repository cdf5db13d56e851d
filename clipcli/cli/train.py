"""`clipcli train`: images with captions in, a model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipcli.cli import completion, console, options
from clipcli.cli.grouped import grouped
from clipcli.cli.run_options import Messages
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.models.locate import ModelFiles
    from clipcli.train.loop import Result

_MODEL, _TRAINING, _VIEWS, _ENGINE = "Model", "Training", "Views of images", "Engine"


@grouped
def train(
    pairs: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS",
            help="A .csv, .tsv, .jsonl or .parquet file with the columns image and caption and, optionally,"
            " concept; or a folder of images, each with its captions in a .txt file of the same name.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The folder for the trained model, logs and checkpoints."
        ),
    ],
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="MODEL",
            autocompletion=completion.models,
            envvar="CLIPCLI_MODEL",
            help="The model to start from, as for `classify --model`. To start from random weights, name an"
            " open_clip configuration, CONFIG.json. [default: balanced]",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    lock_image: Annotated[
        bool, typer.Option("--lock-image", help="Do not train the image tower.", rich_help_panel=_MODEL)
    ] = False,
    lock_text: Annotated[
        bool, typer.Option("--lock-text", help="Do not train the text tower.", rich_help_panel=_MODEL)
    ] = False,
    unlocked_layers: Annotated[
        int,
        typer.Option(
            "--unlocked-layers",
            metavar="N",
            help="Train the last N layer groups of locked towers after all.",
            rich_help_panel=_MODEL,
        ),
    ] = 0,
    device: options.Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(
            "--precision",
            metavar="TYPE",
            help="The precision of computations: auto, fp32 or bf16. auto means bf16 where the hardware has"
            " it natively, else fp32. Weights are always fp32.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto",
    offline: options.Offline = False,
    epochs: Annotated[
        int,
        typer.Option("--epochs", help="How many times every image is shown.", rich_help_panel=_TRAINING),
    ] = 10,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "-b",
            help="The largest number of pairs in memory at a time.",
            rich_help_panel=_TRAINING,
        ),
    ] = 64,
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            help="Batches per step. All their pairs are compared with each other, as in one large batch, in"
            " the memory of a single batch.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            help="The learning rate at the end of the warm-up, from where it falls to zero."
            " [default: 1e-5; 5e-4 from random weights]",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup",
            help="Number of steps in which the learning rate rises from zero."
            " [default: a tenth of all steps, at most 1000]",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    weight_decay: Annotated[
        float,
        typer.Option(
            "--weight-decay",
            help="Weight decay of AdamW. It applies to weight matrices, not to biases and gains.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.1,
    clip_grad: Annotated[
        float,
        typer.Option(
            "--clip-grad",
            help="Scale gradients down to this norm where they are larger. 0 means no limit.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1.0,
    ema: Annotated[
        float,
        typer.Option(
            "--ema",
            help="Decay of the moving average of the weights, which is what is validated and saved. 0 saves"
            " the weights themselves.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.999,
    loss: Annotated[
        Literal["auto", "clip", "siglip"],
        typer.Option(
            "--loss",
            metavar="LOSS",
            help="clip is the softmax loss, siglip the sigmoid loss. auto means siglip for a model with a"
            " learned bias, else clip.",
            rich_help_panel=_TRAINING,
        ),
    ] = "auto",
    val_fraction: Annotated[
        float,
        typer.Option(
            "--val-fraction",
            help="Share of the images that is kept for validation and not trained on.",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.1,
    crop: Annotated[
        float,
        typer.Option(
            "--crop",
            help="Show random parts of the images, with at least this share of the area. 1 shows images as"
            " `classify` sees them.",
            rich_help_panel=_VIEWS,
        ),
    ] = 0.7,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip",
            help="Mirror images at random. Leave it out where captions mention left and right.",
            rich_help_panel=_VIEWS,
        ),
    ] = False,
    jitter: Annotated[
        float,
        typer.Option(
            "--jitter",
            help="Change brightness, contrast and saturation at random by up to this share.",
            rich_help_panel=_VIEWS,
        ),
    ] = 0.1,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            help="Seed of everything random: initial weights, order and views of images.",
            rich_help_panel=_ENGINE,
        ),
    ] = 0,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            "--checkpoint-every",
            metavar="STEPS",
            help="Steps between checkpoints, from which a run that was killed continues. A checkpoint is also"
            " written after each epoch.",
            rich_help_panel=_ENGINE,
        ),
    ] = 500,
    allow_failures: options.AllowFailures = False,
    workers: options.Workers = None,
    messages: Messages = Messages(),
) -> None:
    """Train a model on images with captions, or continue a run that was stopped.

    Run the same command again to continue the run in DIR. DIR can be used as a model at any time.

    ```
    $ clipcli train photos/ --init nano --lock-text --epochs 2 -b 4 -o mine
    epoch 1 of 2: top-1 66.7%, image to text 66.7% (first 5: 100.0%), …
    epoch 2 of 2: …
    best: …, of images not trained on
    58 images; the model is in mine: clipcli classify --model mine
    ```
    """
    messages.begin()
    from clipcli.cli import progress
    from clipcli.cli.interrupts import Interrupted, StopOnSignal
    from clipcli.train.pairs import read_pairs

    given = read_pairs(pairs)
    files = _files(init, offline)
    console.detail(f"model {files.spec.name}, weights {files.weights}")
    from clipcli.train.augment import Augmentation
    from clipcli.train.loop import train as train_
    from clipcli.train.options import TrainOptions

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
    with StopOnSignal() as stop, progress.TrainingProgress() as shown:
        result = train_(given, files, settings, output, stop, shown)
    if result.steps:
        _summarise(result, output)
    if not result.finished:
        try:
            stop.check()
        except Interrupted as reason:
            state = f"step {result.step} of {result.steps} is in {output}; run it again to go on"
            if not result.step:
                state = "no step was made; running it again starts from the beginning"
            console.note(f"{reason}: {state}")
            raise typer.Exit(reason.exit_code) from None
    if result.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _files(init: str | None, offline: bool) -> ModelFiles:
    """The model, or the configuration, that --init names."""
    from clipcli.cli import session
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


def _summarise(result: Result, output: Path) -> None:
    from clipcli.cli import progress
    from clipcli.train.run_folder import FAILURES

    if result.failed:
        console.warn(f"{result.failed} images were left out; {output / FAILURES} says why")
    if result.best is not None:
        console.tell(f"best: {progress.metrics(result.best)}, of images not trained on")
    console.tell(f"{result.images} images; the model is in {output}: clipcli classify --model {output}")
