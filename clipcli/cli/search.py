"""`clipcli search`: a text and images in, the images that are most like the text out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli import console, options, output_options
from clipcli.cli.grouped import grouped
from clipcli.cli.image_options import Picked
from clipcli.cli.run_options import Encoding, Messages, ModelChoice
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.session import Session
    from clipcli.gallery import EncodedQueries, Gallery
    from clipcli.inputs.inputs import Inputs
    from clipcli.pipeline import EngineOptions
    from clipcli.records import Duplicate, Encoder, Hit
    from clipcli.scoring.queries import Query
    from clipcli.scoring.search import Cut

QUERY = "Query"
_TOP_K = 10


@grouped
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY INPUT",
            help="What to search for, then where: image files, folders (searched with all their subfolders)"
            " and globs. With -e, --like, --queries or --near-duplicates, every argument is an INPUT.",
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            "-e",
            metavar="TEXT",
            help="A text to search for. Several are added up; '2:a red car' counts twice.",
            rich_help_panel=QUERY,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="FILE|URL",
            help="An image to search for, alone or added to the texts. Can be given several times.",
            rich_help_panel=QUERY,
        ),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(
            "--minus",
            metavar="TEXT|FILE|URL",
            help="A text or an image that the images should be less like. Can be given several times.",
            rich_help_panel=QUERY,
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="Search for each line of this file. What -e, --like and --minus name is added to each.",
            rich_help_panel=QUERY,
        ),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            "--templates",
            "-t",
            metavar="NAME|FILE|TEXT",
            help="Put every text into these templates, such as 'a photo of a {}.'. Can be given several"
            " times. [default: texts are used as they are]",
            rich_help_panel=QUERY,
        ),
    ] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(
            "--near-duplicates",
            metavar="COSINE",
            help="Search for nothing, and list groups of images that are nearly equal: with at least this"
            " cosine, such as 0.96. Every image is compared with every other.",
            rich_help_panel=QUERY,
        ),
    ] = None,
    known: Annotated[
        bool,
        typer.Option(
            "--known",
            help="Search all images that the cache knows, wherever they lie, instead of an INPUT. Only files"
            " that are still there, and unchanged, are found.",
            rich_help_panel=options.IMAGES,
        ),
    ] = False,
    from_file: options.FromFile = None,
    image_column: options.ImageColumn = None,
    keep: options.Keep = None,
    picked: Picked = Picked(),
    chosen_model: ModelChoice = ModelChoice(),
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            "-k",
            metavar="N",
            help="The number of images to find for each query, best first."
            " [default: 10; with --min-score or --within, all]",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="COSINE",
            help="Find images with at least this score.",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            "--within",
            metavar="DISTANCE",
            help="Find images whose score is at most this far below the best one, such as 0.03.",
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    output: output_options.Output = None,
    format_name: output_options.FormatName = None,
    excel: output_options.Excel = False,
    table: output_options.Table = None,
    paths_only: Annotated[
        bool,
        typer.Option(
            "--paths-only",
            help="Print the paths of the images that are found, one a line, and nothing else.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="Print paths only, each followed by NUL, for `xargs -0`.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    encoding: Encoding = Encoding(),
    allow_failures: options.AllowFailures = False,
    messages: Messages = Messages(),
) -> None:
    """Find images by a text, or by images that they should be like.

    The text comes first, as with grep. The output has a row for each image that is found, best first:
    `query,rank,image,score,relative,error`. The score is the cosine of image and query; `relative` is how
    far it is above that of the text "a photo", which fits any image. Images that cannot be read have rows
    after these, with the reason in `error`.

    Images are encoded when they are first searched, and are known from the cache after that.

    Exit codes: 0 all images were searched; 1 the run failed; 2 the command was used wrongly;
    3 some images could not be read; 130 or 143 the run was interrupted.

    Example: `clipcli search "a red car at night" photos/`
    """
    messages.begin()
    from clipcli import api
    from clipcli.cli import progress, session, shown, startup
    from clipcli.cli.asked import asked_for
    from clipcli.gallery import Gallery
    from clipcli.output.hits import DUPLICATE_COLUMNS, HIT_COLUMNS, FoundTable
    from clipcli.scoring.search import Cut

    startup.lift_pillow_limit()
    startup.prepare_hub_client(chosen_model.offline)
    request, how = chosen_model.request(), encoding.engine
    asked = asked_for(words or [], query, like, minus, queries, near_duplicates)
    chosen = session.templates_of(templates) if templates else ()
    cut = Cut(_TOP_K if (top_k, min_score, within) == (None, None, None) else top_k, min_score, within)
    columns = session.columns_to_keep(keep)
    found = None
    if known:
        named = bool(asked.inputs or from_file or image_column or keep or not picked.is_default)
        _check_known(named, encoding.no_cache or encoding.verify, near_duplicates is not None)
    else:
        found = picked.inputs(asked.inputs, from_file, image_column, columns)
    rows = FoundTable(
        HIT_COLUMNS if near_duplicates is None else DUPLICATE_COLUMNS, found.columns if found else {}
    )
    shows = shown.Shown(rows, output, format_name, excel, table, paths_only, null)
    images = session.at_least_one(found) if found else iter(())

    summary = progress.Summary()
    with encoding.opened(request) as run:
        encoder = run.encoder()
        engine = api.engine_options(encoder, how.batch_size, how.workers, how.decoding)
        encoded = _encoded(asked.queries, encoder, chosen, engine, run)
        if found is None:
            gallery = _known_images(encoder, engine, run)
        else:
            gallery = Gallery(encoder, engine, run.cache)
            count = None if found.is_read_once else partial(_count, found)
            run.run(lambda stop: gallery.fill(images, stop), [], summary, count)
        with progress.working("searching"):
            hits = _hits(gallery, encoded, cut, near_duplicates)
    shows.write(hits, gallery.failures, encoder.name, how.decoding.max_pixels, how.workers)
    if found is not None:
        summary.print(shows.files, found.left_out)
    console.tell(shown.counted(hits))
    if summary.failed and not allow_failures:
        raise typer.Exit(console.FINISHED_WITH_FAILURES)


def _encoded(
    queries: list[Query], encoder: Encoder, templates: Sequence[str], engine: EngineOptions, run: Session
) -> EncodedQueries | None:
    """The features of the queries, if there are any."""
    from clipcli.cli import progress
    from clipcli.gallery import encode_queries

    if not queries:
        return None
    with progress.working("encoding the query"):
        return encode_queries(queries, encoder, templates, engine, run.cache)


def _hits(
    gallery: Gallery, encoded: EncodedQueries | None, cut: Cut, near_duplicates: float | None
) -> list[Hit | Duplicate]:
    if encoded is not None:
        return [*gallery.hits(encoded, cut)]
    assert near_duplicates is not None
    return [one for group in gallery.near_duplicates(near_duplicates) for one in group]


def _count(found: Inputs) -> int:
    return sum(1 for _ in found)


def _check_known(is_named: bool, without_cache: bool, wants_groups: bool) -> None:
    """Refuse what makes no sense with all that the cache knows.

    Raises:
        UsageError: images are named, the cache is not to be used, or near-duplicates are asked for.
    """
    if is_named:
        raise UsageError(
            "--known searches all images that the cache knows", "Leave INPUT and its options out."
        )
    if without_cache:
        raise UsageError("--known needs the cache, as it is", "Leave --no-cache and --verify out.")
    if wants_groups:
        raise UsageError("near-duplicates are looked for among images that are named", "Use an INPUT.")


def _known_images(encoder: Encoder, engine: EngineOptions, run: Session) -> Gallery:
    """What the cache knows.

    Raises:
        UsageError: nothing.
    """
    from clipcli.known_images import KnownImages

    assert run.cache is not None
    gallery = KnownImages(encoder, engine, run.cache)
    if not len(gallery):
        hint = "Name a folder: its images are encoded, and known from then on."
        raise UsageError(f"the cache knows no image that {encoder.name} has encoded", hint)
    console.tell(f"{len(gallery)} images known from the cache")
    return gallery
