"""`clipcli embed`: images or texts in, their features out, in files for other tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli import choices
from clipcli.cli import console, options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import PerVideoOption, Picked, counted
from clipcli.cli.ray_options import OnRay
from clipcli.cli.run_options import Encoding, Messages, ModelChoice
from clipcli.errors import UsageError
from clipcli.files import shown as shown_path

if TYPE_CHECKING:
    from clipcli.cache import FeatureCache
    from clipcli.output.feature_writer import FeatureWriter
    from clipcli.records import Encoder, ImageFeatures


@grouped
def embed(
    inputs: options.Inputs = None,
    texts: Annotated[
        str | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            help="Encode the lines of this file instead of images.",
            rich_help_panel=options.IMAGES,
        ),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates",
            "-t",
            metavar="NAME|FILE|TEXT",
            help="Put every text of --texts into these templates, such as 'a photo of a {}.', and average"
            " the features. Can be given several times. [default: texts are used as they are]",
            rich_help_panel=options.IMAGES,
        ),
    ] = None,
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    keep: options.Keep = None,
    picked: Picked = Picked(),
    per_video: PerVideoOption = None,
    chosen_model: ModelChoice = ModelChoice(),
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the features to a .npy (with a .csv of names beside it), .npz, .parquet or"
            " .safetensors file. Can be given several times.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    dtype: Annotated[
        choices.FeatureType,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="The numbers in the file: float32, or float16, which take half the room.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "float32",
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
    on_ray: OnRay = OnRay(),
) -> None:
    """Write the features of images, or of texts, for other tools.

    Features have length 1, so that the product of two of them is their cosine. An image that cannot be read
    is listed with the reason, and has no features.

    Exit codes: 0 all images were encoded; 1 the run failed; 2 the command was used wrongly;
    3 some images could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli embed photos/ -o features.parquet`
    """
    messages.begin()
    from clipcli import api
    from clipcli.cli import progress, ray_runs, session, startup
    from clipcli.output.consumers import consume
    from clipcli.output.feature_files import check_feature_files
    from clipcli.ray_stages import Work

    folder = ray_runs.folder(on_ray, output, "parquet", per_video)
    if not output and folder is None:
        raise UsageError("no output file named", "Use -o features.parquet, .npy, .npz or .safetensors.")
    if per_video == "max":
        raise UsageError("features have no best score, and so `per_video` cannot be max", "Use mean.")
    startup.lift_pillow_limit()
    output = output or []
    startup.prepare_hub_client(chosen_model.offline)
    check_feature_files(output)
    engine, request = encoding.engine, chosen_model.request()
    summary = progress.Summary()
    if texts is not None and on_ray.is_chosen:
        raise UsageError("texts are encoded in this process", "Leave --engine ray out.")
    if texts is not None:
        lines = _lines(texts, inputs, from_file)
        chosen = session.templates_of(templates) if templates else ()
        with encoding.opened(request) as run:
            encoder = run.encoder()
            writers = _writers(output, encoder, {}, dtype, "text")
            with progress.working("encoding texts"):
                consume(_encoded(lines, encoder, chosen, run.cache), writers)
        console.tell(f"{len(lines)} texts by {encoder.name}")
        console.tell(f"wrote {', '.join(map(shown_path, output))}")
        return

    if templates:
        raise UsageError("`templates` are for texts, and there are none", "Name them with --texts.")
    columns = session.columns_to_keep(keep)
    found = picked.inputs(inputs, from_file, image_column, columns)
    images = session.at_least_one(found)
    with encoding.opened(request) as run:
        encoder = run.encoder()
        writers = _writers(output, encoder, found.columns, dtype, "image")
        outcomes = partial(
            api.encode,
            images,
            encoder,
            batch_size=engine.batch_size,
            workers=engine.workers,
            decoding=engine.decoding,
            cache=run.cache,
            mean_per_video=per_video is not None,
        )
        if on_ray.is_chosen:
            work = Work(found, request, encoder.preprocess, None, engine.decoding, engine.batch_size)
            outcomes = partial(ray_runs.outcomes, on_ray, work)
        if folder is not None:
            about = {"fingerprint": encoder.fingerprint, **encoder.provenance()}
            writer = ray_runs.FeaturesOfParts(about, found.columns, dtype)
            ray_runs.write(
                on_ray, work, folder, writer, {"encoder": encoder.fingerprint, "dtype": dtype}, summary
            )
            folder.finish(about)
        else:
            count = counted(found, per_video)
            run.run(lambda stop: outcomes(stop=stop), writers, summary, count)
    summary.print(", ".join([*map(shown_path, output), *on_ray.places]), found.left_out)
    if summary.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _lines(path: str, inputs: list[str] | None, from_file: str | None) -> list[str]:
    from clipcli.scoring.queries import read_texts

    if inputs or from_file:
        raise UsageError("images and texts cannot be encoded into one file", "Run it once for each.")
    return read_texts(path)


def _writers(
    paths: Sequence[Path], encoder: Encoder, carried: dict[str, type], dtype: choices.FeatureType, what: str
) -> list[FeatureWriter]:
    """A writer for each file, after telling which of them have no room for the columns of a table."""
    from clipcli.output.feature_files import open_feature_file

    about: dict[str, Any] = {"fingerprint": encoder.fingerprint, **encoder.provenance()}
    writers = [open_feature_file(path, about, carried, dtype, what) for path in paths]
    if carried and (without := [str(one.path) for one in writers if not one.keeps_columns]):
        console.warn(f"the columns of the table are not in {', '.join(without)}; .parquet and .npy keep them")
    return writers


def _encoded(
    texts: Sequence[str], encoder: Encoder, templates: Sequence[str], cache: FeatureCache | None
) -> Iterator[ImageFeatures]:
    """Texts with their features, some thousand at a time."""
    from clipcli.records import ImageFeatures
    from clipcli.scoring.class_embeddings import TEXTS_PER_CALL
    from clipcli.scoring.queries import features_of_texts

    for start in range(0, len(texts), TEXTS_PER_CALL):
        some = texts[start : start + TEXTS_PER_CALL]
        features = features_of_texts(some, encoder, templates, cache)
        yield from (ImageFeatures(text, features[text]) for text in some)
