"""What `clipcli search` found: rows in files, paths for other programs, a table on the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli import console
from clipcli.errors import UsageError
from clipcli.files import shown as shown_path

if TYPE_CHECKING:
    from clipcli.output.hits import FoundTable
    from clipcli.output.sink import Sink
    from clipcli.records import Duplicate, Hit, ImageFailure

_MOST_ROWS = 60  # of the table on a terminal


class Shown:
    """The ways in which a user wants to see what is found.

    Args:
        table: columns and rows.
        output: files; `-` is standard output.
        format_name: of the output, if the suffix does not tell.
        excel: make CSV and TSV fit for Excel.
        on_terminal: whether to show a table; None does so on a terminal if nothing else is asked for.
        paths_only: print paths instead of rows.
        null: print paths, each followed by NUL.

    Raises:
        UsageError: a place that cannot serve, or rows and paths are both to go to standard output.
        OutputError: a file cannot be written.
    """

    def __init__(
        self,
        table: FoundTable,
        output: list[Path] | None,
        format_name: str | None,
        excel: bool,
        on_terminal: bool | None,
        paths_only: bool,
        null: bool,
    ) -> None:
        from clipcli.cli import reports
        from clipcli.output.report.writer import ReportWriter

        paths_only = paths_only or null
        if on_terminal is None:
            on_terminal = not (output or format_name or paths_only) and sys.stdout.isatty()
        places = output or ([] if (on_terminal or paths_only) and not format_name else [Path("-")])
        self._table = table
        pages, files = reports.parted(places, format_name)
        self._pages = [ReportWriter(path) for path in pages]
        self._sinks = _open_sinks(table, files, format_name, excel)
        self._on_terminal = on_terminal
        self._end = (b"\0" if null else b"\n") if paths_only else b""
        if paths_only and any(sink.path is None for sink in self._sinks):
            raise UsageError("paths and rows cannot both go to standard output", "Name a file for the rows.")

    @property
    def files(self) -> str:
        """The files that are written."""
        tables = (sink.path for sink in self._sinks if sink.path)
        return ", ".join(map(shown_path, [*tables, *(page.path for page in self._pages)]))

    def write(
        self,
        hits: Sequence[Hit | Duplicate],
        failures: Sequence[ImageFailure],
        model: str,
        max_pixels: int,
        workers: int | None,
    ) -> None:
        """Write and show all.

        Args:
            hits: what was found.
            failures: what cannot be read.
            model: its name, for galleries.
            max_pixels: images with more pixels have no thumbnail in them.
            workers: threads that make thumbnails; None is one per core.

        Raises:
            OutputError: a file cannot be written.
        """
        from clipcli.cli import reports
        from clipcli.output.report.about import About
        from clipcli.output.report.records import found

        with contextlib.ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            for row in self._table.rows(hits, failures) if self._sinks else ():
                for sink in self._sinks:
                    sink.write(row)
        for page in self._pages:
            page.images += found(hits, failures)
        about = About(_title(hits), model, is_gallery=True)
        reports.write_all(self._pages, about, max_pixels, workers)
        if self._end:
            _print_paths(hits, self._end)
        if self._on_terminal:
            _print_table(hits)


def _title(hits: Sequence[Hit | Duplicate]) -> str:
    """What a gallery is headed: the queries, or what else was asked for."""
    from clipcli.cli import reports
    from clipcli.records import Hit

    queries = list(dict.fromkeys(hit.query for hit in hits if isinstance(hit, Hit)))
    return reports.title(queries, None) or ("near-duplicates" if hits else "nothing found")


def _open_sinks(
    table: FoundTable, places: Sequence[Path], format_name: str | None, excel: bool
) -> list[Sink]:
    from clipcli.output.sinks import open_sinks
    from clipcli.output.xlsx.options import WorkbookOptions

    paths = [None if str(path) == "-" else path for path in places]
    return open_sinks(table.columns, paths, format_name, excel, WorkbookOptions(title="results"))


def _print_paths(hits: Sequence[Hit | Duplicate], end: bytes) -> None:
    """The images that were found, each once, as bytes: a name may be no text."""
    names = dict.fromkeys(hit.image for hit in hits)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(os.fsencode(name) + end for name in names))


def _print_table(hits: Sequence[Hit | Duplicate]) -> None:
    """The first rows; on a terminal that can show images, fewer of them and each beside its image."""
    from clipcli.cli import tables, terminal_images

    draw = terminal_images.renderable() if hits else None
    first = hits[: terminal_images.MOST if draw else _MOST_ROWS]
    columns, rows = _cells(first)
    if draw:
        terminal_images.print_with_images(draw, columns, rows, [hit.image for hit in first])
    elif rows:
        tables.print_table(columns, rows)
    if len(hits) > len(first):
        console.note(f"shown: the first {len(first)} of {len(hits)} rows; -o found.csv keeps them all")


def _cells(hits: Sequence[Hit | Duplicate]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a table on a terminal."""
    from clipcli.records import Hit

    groups = [hit for hit in hits if not isinstance(hit, Hit)]
    if groups:
        return ["group", "score", "image"], [
            [str(one.group), f"{one.score:.3f}", one.image] for one in groups
        ]
    found = [hit for hit in hits if isinstance(hit, Hit)]
    several = len({hit.query for hit in found}) > 1
    numbers = [[str(hit.rank), f"{hit.score:.3f}", f"{hit.relative:+.3f}", hit.image] for hit in found]
    rows = [[hit.query, *row] if several else row for hit, row in zip(found, numbers, strict=True)]
    return [*["query"][:several], "rank", "score", "relative", "image"], rows


def counted(hits: Sequence[Hit | Duplicate]) -> str:
    """How many images were found, in words."""
    from clipcli.records import Duplicate

    groups = len({hit.group for hit in hits if isinstance(hit, Duplicate)})
    images = len({hit.image for hit in hits})
    return f"found: {images} image{'s' * (images != 1)}" + (
        f" in {groups} group{'s' * (groups != 1)}" if groups else ""
    )
