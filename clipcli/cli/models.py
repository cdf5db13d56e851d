"""`clipcli models`: which models there are, what one is, and fetching it."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import commands, completion, console, options

app = commands.group("List, describe and download models.", "clipcli models info nano")

Name = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completion.models,
        help="A model, as --model takes it: a preset, ARCHITECTURE:TAG, hf-hub:org/repo or a folder.",
    ),
]


@app.command("list", cls=commands.Command)
def list_models(
    pattern: Annotated[
        str, typer.Argument(metavar="FILTER", help="Only list models whose name or tag contains this.")
    ] = "",
) -> None:
    """List the presets, then all models of open_clip, with their published zero-shot accuracy on ImageNet.

    Example: `clipcli models list siglip2`
    """
    from clipcli.cli import tables
    from clipcli.models import registry as models

    rows = models.list_models(pattern)
    columns = ["model", "params (M)", "ImageNet top-1 (%)", "licence", "cached", "note"]
    tables.print_table(
        columns,
        [
            [
                row.name,
                _number(row.params_m),
                _number(row.imagenet_top1),
                row.licence,
                "yes" if row.cached else "",
                f"{row.summary} ({row.model_name}:{row.pretrained})"
                if row.pretrained and row.summary
                else row.summary,
            ]
            for row in rows
        ],
    )
    if not rows:
        console.note(f"no model matches {pattern!r}; `clipcli models list` shows all")


@app.command("info", cls=commands.Command)
def info(
    model: Name,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Load a model and show its configuration.

    Example: `clipcli models info nano`
    """
    from clipcli.cli import session
    from clipcli.models.lazy import load_encoder
    from clipcli.models.registry import licence_of
    from clipcli.models.request import ModelRequest

    request = ModelRequest(model, pretrained, device, precision, offline)
    session.prepare_hub(request)
    spec, encoder = request.spec(), load_encoder(request)
    preprocess = encoder.preprocess
    bias = "" if encoder.logit_bias is None else f", bias {encoder.logit_bias:.4g}"
    facts = {
        "model": spec.name,
        "architecture": spec.model_name,
        "weights": str(encoder.files.weights),
        "licence": licence_of(spec) or "see the model's own card",
        "fingerprint": encoder.fingerprint,
        "parameters": f"{encoder.parameters / 1e6:.1f} M",
        "image size": f"{preprocess.size[0]} x {preprocess.size[1]}, {preprocess.resize_mode}, "
        f"{preprocess.interpolation}, fill {preprocess.fill_color}",
        "mean, std": f"{_numbers(preprocess.mean)}, {_numbers(preprocess.std)}",
        "tokenizer": str(encoder.files.tokenizer or "CLIP byte-pair encoding"),
        "context length": str(encoder.context_length),
        "embedding": f"{encoder.embed_dim} dimensions",
        "activation": "QuickGELU" if encoder.quick_gelu else "GELU",
        "scores": f"{encoder.activation}, scale {encoder.logit_scale:.4g}{bias}",
        "device": f"{', '.join(encoder.devices)}, {encoder.precision}",
    }
    for name, value in facts.items():
        typer.echo(f"{name + ':':<16}{value}")


@app.command("pull", cls=commands.Command)
def pull(model: Name, pretrained: options.Pretrained = None) -> None:
    """Download all that a model needs, and load it once without the network, as later runs may have to.

    Example: `clipcli models pull balanced`
    """
    from clipcli.cli import progress, session
    from clipcli.models.hub import forget_damaged
    from clipcli.models.lazy import load_encoder
    from clipcli.models.locate import locate
    from clipcli.models.request import ModelRequest

    request = ModelRequest(model, pretrained)
    session.prepare_hub(request)
    spec = request.spec()
    files = locate(spec)
    if forget_damaged(files.weights):
        console.warn(f"{files.weights} was damaged; it is downloaded again")
        files = locate(spec)
    with progress.working(f"loading {spec.name} without the network", True):
        load_encoder(ModelRequest(model, pretrained, "cpu", "fp32", offline=True))
    console.note(
        f"{files.spec.name} is ready, {files.weights.stat().st_size / 1e6:.0f} MB in {files.weights}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
