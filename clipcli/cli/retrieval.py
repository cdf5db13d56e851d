"""`clipcli eval --captions`: how well images and captions find each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.cli.passes import check_outputs
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.image_options import Picked
    from clipcli.cli.passes import Passes
    from clipcli.inputs.captions import Captions
    from clipcli.models.request import ModelRequest
    from clipcli.records import ImageFailure, Item


def check_alone(given: dict[str, Any], outputs: Sequence[Path]) -> None:
    """Refuse options that say what captions say, or that are of labels.

    Args:
        given: what they say, by their names.
        outputs: files for the figures.

    Raises:
        UsageError: one says something, or a file cannot hold the figures.
    """
    check_outputs(outputs, "the figures of captions")
    for option, value in given.items():
        if value:
            raise UsageError(f"`captions` and `{option}` cannot be used together", "Leave one of them out.")


@dataclass(frozen=True)
class Captioned:
    """Images with captions, each image once.

    Args:
        images: with a caption, or why they cannot be listed.
        captions: of them.
        left_out: how many have none.
    """

    images: list[Item | ImageFailure]
    captions: Captions
    left_out: int


def captioned(
    path: str,
    paths: list[str] | None,
    from_file: str | None,
    picked: Picked,
    image_column: str | None,
) -> Captioned:
    """The images of the inputs that have captions in a table; without inputs, those of the table.

    Args:
        path: the table.
        paths: files, folders and globs.
        from_file: a list or table of images.
        picked: what to take from folders.
        image_column: that of the list, or else that of the table of captions.

    Raises:
        UsageError: no image has a caption, or as in `Inputs` and `Captions`.
    """
    from clipcli.inputs.captions import Captions, each_once
    from clipcli.records import ImageFailure

    captions = Captions(path, paths or (), image_column if from_file is None else None)
    found: Iterable[Item | ImageFailure] = captions.images
    if paths or from_file is not None:
        column = image_column if from_file is not None else None
        found = picked.inputs(paths, from_file, column)
    every = list(each_once(found))
    images = [one for one in every if isinstance(one, ImageFailure) or captions.of(one.name)]
    if not any(not isinstance(one, ImageFailure) for one in images):
        hint = "Paths in a table of captions start at its folder, at the working directory or at an input."
        raise UsageError("no image has a caption", hint)
    return Captioned(images, captions, len(every) - len(images))


def measure(
    found: Captioned, request: ModelRequest, templates: list[str] | None, concept: str, passes: Passes
) -> None:
    """Encode the images once, and the captions of those that could be read, and show the figures.

    Args:
        found: images and captions.
        request: the model.
        templates: as the options name them; None uses captions as they stand.
        concept: what is added to every template, or else to every caption.
        passes: how images are encoded, and where the figures go.

    Raises:
        typer.Exit: images could not be read, or the run was interrupted.
    """
    from clipcli.cli import console, figures, progress, session
    from clipcli.output.feature_evaluators import RetrievalEvaluator
    from clipcli.prompts.templates import add_concept
    from clipcli.scoring.class_embeddings import encode_captions

    filled = session.templates_of(templates) if templates else ("{}",)
    filled = (
        tuple(add_concept(one, session.as_text(concept)) for one in filled) if concept.strip() else filled
    )
    with passes.encoding.opened(request) as run:
        encoder = run.encoder()
        evaluator = RetrievalEvaluator(found.captions.of)
        summary = passes.over(found.images, run, encoder, evaluator, lambda: len(found.images))
        with progress.working("encoding captions"):
            retrieval = evaluator.result(lambda texts: encode_captions(encoder, texts, filled, run.cache))
    if found.left_out:
        console.warn(f"left out, without a caption: {found.left_out} images")
    figures.show_retrieval(retrieval)
    about = {"model": encoder.name, "fingerprint": encoder.fingerprint, "left_out": found.left_out}
    passes.finish(retrieval, about, summary.failed, summary)
