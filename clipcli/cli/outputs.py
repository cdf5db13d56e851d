"""The files that a run writes: tables, reports, and the record of the run beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.choices import FormatName, LayoutName
from clipcli.cli import reports
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.output.consumers import Consumer, RowWriter
    from clipcli.output.report.about import About
    from clipcli.output.report.writer import ReportWriter
    from clipcli.output.rows import Layout
    from clipcli.output.run_record import RecordFile, RunRecord
    from clipcli.records import Outcome


@dataclass(frozen=True)
class Choice:
    """What the options say of the outputs.

    Args:
        paths: the files; `-` is standard output.
        format_name: of the only one, if its suffix does not tell.
        layout: of all tables; None is what suits the format of each.
        excel: whether CSV is written for Excel.
        thumbnails: whether workbooks show the images.
        provenance: whether the record of the run is written beside each file.
    """

    paths: Sequence[Path]
    format_name: FormatName | None
    layout: LayoutName | None
    excel: bool
    thumbnails: bool
    provenance: bool

    @property
    def files(self) -> list[Path]:
        """The outputs that are files."""
        return [path for path in self.paths if str(path) != "-"]


@dataclass(frozen=True)
class Outputs:
    """What writes the outputs of a run, during it and after it."""

    files: Sequence[Path]
    writers: Sequence[RowWriter]
    reports: Sequence[ReportWriter]
    records: Sequence[RecordFile]

    @property
    def consumers(self) -> list[Consumer[Outcome]]:
        """What takes the outcomes of the run."""
        return [*self.writers, *self.reports]

    def complete(self, about: About, max_pixels: int, workers: int | None) -> None:
        """Write the reports, and last what is told of the run, now that it has ended well.

        Raises:
            OutputError: one of them cannot be written.
        """
        reports.write_all(self.reports, about, max_pixels, workers)
        for record in self.records:
            record.write()


def opened(choice: Choice, layout_of: Callable[[LayoutName], Layout], record: RunRecord) -> Outputs:
    """What writes the outputs; places that cannot serve are refused now.

    Raises:
        UsageError: an output cannot be, or an option is for one that is not there.
        OutputError: a file cannot be written, or not hold the name of a class.
    """
    pages, tables = reports.parted(choice.paths, choice.format_name)
    writers = [_row_writer(path, choice, layout_of, record) for path in tables]
    _check_thumbnails(choice, writers)
    records = _records(choice, record) if choice.provenance else []
    return Outputs(choice.files, writers, reports.writers(pages), records)


def _row_writer(
    output: Path, choice: Choice, layout_of: Callable[[LayoutName], Layout], record: RunRecord
) -> RowWriter:
    from clipcli.output.consumers import RowWriter
    from clipcli.output.rows import default_layout
    from clipcli.output.sinks import format_of, open_sink
    from clipcli.output.xlsx.options import WorkbookOptions

    path = None if str(output) == "-" else output
    rows = layout_of(choice.layout or default_layout(format_of(path, choice.format_name)))
    workbook = WorkbookOptions(thumbnails=choice.thumbnails, about=record.sections)
    return RowWriter(rows, open_sink(rows.columns, path, choice.format_name, choice.excel, workbook))


def _check_thumbnails(choice: Choice, writers: Sequence[RowWriter]) -> None:
    if not choice.thumbnails:
        return
    from clipcli.output.xlsx.sink import XlsxSink

    if not any(isinstance(writer.sink, XlsxSink) for writer in writers):
        raise UsageError("--thumbnails is for .xlsx files, and no output is one", "Use -o predictions.xlsx.")


def _records(choice: Choice, record: RunRecord) -> list[RecordFile]:
    from clipcli.output.run_record import RecordFile

    if not choice.files:
        raise UsageError("--provenance is written beside an output file, and there is none", "Use -o FILE.")
    return [RecordFile(path, record) for path in choice.files]
