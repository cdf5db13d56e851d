"""`clipcli models`: which models there are, what one is, and fetching it."""

from __future__ import annotations

from typing import Annotated

import typer

from clipcli.cli import console, options

app = typer.Typer(help="List, describe and download models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="As --model takes it.")]


@app.command("list")
def list_models(
    pattern: Annotated[str, typer.Argument(metavar="FILTER", help="A part of the name or tag.")] = "",
) -> None:
    """Presets first, then every model of open_clip, with published ImageNet zero-shot accuracy."""
    from clipcli.models import registry as models

    rows = models.list_models(pattern)
    columns = ["model", "params (M)", "ImageNet top-1 (%)", "licence", "cached", "note"]
    console.print_table(
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


@app.command("info")
def info(
    model: Name,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Load a model and tell its effective configuration."""
    from clipcli.models.registry import licence_of

    spec = options.model_spec(model, pretrained)
    encoder = options.load_encoder(spec, device, precision, offline)
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


@app.command("pull")
def pull(model: Name, pretrained: options.Pretrained = None) -> None:
    """Download a model, so that it works offline; a broken download goes on where it stopped."""
    from clipcli.models.hub import forget_damaged
    from clipcli.models.locate import locate

    spec = options.model_spec(model, pretrained)
    options.prepare_hub(spec, offline=False)
    files = locate(spec)
    if forget_damaged(files.weights):
        console.warn(f"{files.weights} was damaged; it is downloaded again")
        files = locate(spec)
    console.note(
        f"{files.spec.name} is ready, {files.weights.stat().st_size / 1e6:.0f} MB in {files.weights}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
