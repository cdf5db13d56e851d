"""What the commands that write a report share: which outputs are reports, and how one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli import console, progress
from clipcli.errors import UsageError
from clipcli.remote.addresses import shown

if TYPE_CHECKING:
    from clipcli.output.report.about import About
    from clipcli.output.report.records import ReportImage
    from clipcli.output.report.thumbnails import Thumbnail
    from clipcli.output.report.writer import ReportWriter
    from clipcli.records import Outcome

_NAMED = 3  # inputs in a title


def parted(outputs: Sequence[Path], format_name: str | None = None) -> tuple[list[Path], list[Path]]:
    """The outputs that are reports, and the others; `-` is standard output.

    Raises:
        UsageError: an output is named twice, there is one format for several, or a report has no file.
    """
    from clipcli.output.report.about import is_report
    from clipcli.output.sinks import check_places

    check_places([None if str(path) == "-" else path for path in outputs], format_name)
    is_page = is_report if format_name is None else lambda path: format_name == "html"
    pages = [path for path in outputs if is_page(path)]
    if Path("-") in pages:
        raise UsageError("a report cannot go to standard output", "Name a file with -o.")
    return pages, [path for path in outputs if not is_page(path)]


def writers(
    pages: Sequence[Path], image_of: Callable[[Outcome], ReportImage] | None = None
) -> list[ReportWriter]:
    """What collects the images of a run for reports.

    Args:
        pages: the files of the reports.
        image_of: what they show of an outcome; None is its labels.

    Raises:
        UsageError, OutputError: as in `ReportWriter`.
    """
    if not pages:
        return []
    from clipcli.output.report.records import predicted
    from clipcli.output.report.writer import ReportWriter

    return [ReportWriter(path, image_of or predicted) for path in pages]


def title(inputs: Sequence[str] | None, table: str | None) -> str:
    """What a report is headed: the inputs as the user named them, or else the table that names the images."""
    named = inputs or filter(None, [table])
    names = ["standard input" if name == "-" else shown(name) for name in named]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _shown(made: Iterable[Thumbnail], count: int) -> Iterator[Thumbnail]:
    """Pass thumbnails on, with a progress bar."""
    with progress.tracked(made, lambda: count) as tracked:
        yield from tracked


def write_all(
    writers: Sequence[ReportWriter], about: About, max_pixels: int, workers: int | None = None
) -> None:
    """Write the reports of a run that has ended, with a progress bar for their thumbnails.

    Raises:
        OutputError: a report cannot be written.
    """
    for writer in writers:
        lost = writer.write(about, max_pixels, workers, _shown)
        if lost:
            count = len(writer.images)
            console.warn(f"{writer.path}: {lost} of {count} images cannot be read now: no thumbnail")
