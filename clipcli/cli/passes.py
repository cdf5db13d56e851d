"""One pass over images whose features several figures share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli import console
from clipcli.cli.progress import Summary
from clipcli.errors import UsageError
from clipcli.files import shown as shown_path

if TYPE_CHECKING:
    from clipcli.cli.run_options import Encoding
    from clipcli.cli.session import Session
    from clipcli.output.consumers import Consumer
    from clipcli.records import Encoder, ImageFailure, ImageFeatures, Item
    from clipcli.scoring.comparison import Comparison
    from clipcli.scoring.retrieval import Retrieval


@dataclass(frozen=True)
class Passes:
    """How images are encoded, as the options of a command say.

    Args:
        encoding: how images are read and encoded, and where their features are kept.
        outputs: files for the figures.
        allow_failures: whether images that cannot be read are fine.

    Raises:
        UsageError: a value of an option that cannot be.
    """

    encoding: Encoding
    outputs: Sequence[Path]
    allow_failures: bool

    def __post_init__(self) -> None:
        self.encoding.engine  # noqa: B018 (tells now of a value that cannot be)

    def over(
        self,
        images: Iterable[Item | ImageFailure],
        run: Session,
        encoder: Encoder,
        consumer: Consumer[ImageFeatures | ImageFailure],
        count: Callable[[], int],
    ) -> Summary:
        """Encode images once, and feed their features to a consumer; returns a summary.

        Args:
            images: in order.
            run: the open session.
            encoder: its model.
            consumer: takes the features.
            count: finds the number of images in the background.

        Raises:
            typer.Exit: the run was interrupted.
        """
        from clipcli import api

        summary = Summary()
        run.run(
            lambda stop: api.encode(
                images,
                encoder,
                batch_size=self.encoding.batch_size,
                workers=self.encoding.workers,
                decoding=self.encoding.decoding,
                cache=run.cache,
                stop=stop,
            ),
            [consumer],
            summary,
            count,
        )
        return summary

    def finish(
        self, figures: Comparison | Retrieval, about: Mapping[str, Any], failed: int, summary: Summary
    ) -> None:
        """Write the figures, and tell where they are.

        Args:
            figures: of all passes.
            about: what else to write, such as the model.
            failed: how many images could not be read.
            summary: of the last pass.

        Raises:
            typer.Exit: images could not be read.
            OutputError: a file cannot be written.
        """
        from clipcli.output.metrics_file import write_metrics

        for path in self.outputs:
            write_metrics(path, figures, {**about, "failed": failed})
        summary.print(", ".join(map(shown_path, self.outputs)))
        if failed and not self.allow_failures:
            raise typer.Exit(console.FINISHED_WITH_FAILURES)


def check_outputs(outputs: Sequence[Path], what: str) -> None:
    """Refuse files that can only hold the figures of labels.

    Args:
        outputs: the files.
        what: the figures that are to be written.

    Raises:
        UsageError: one is neither JSON nor CSV.
    """
    for path in outputs:
        if path.suffix.lower() not in (".json", ".csv"):
            raise UsageError(f"{what} cannot be written to {path}", "Use a .json or .csv file.")
