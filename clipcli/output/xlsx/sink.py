"""Rows go to an Excel workbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clipcli.output.cells import Row
from clipcli.output.sink import Sink
from clipcli.output.xlsx.cells import check_columns, check_text
from clipcli.output.xlsx.options import WorkbookOptions
from clipcli.output.xlsx.workbook import Workbook


class XlsxSink(Sink):
    """An Excel workbook, streamed to disk; past 1,048,576 rows it goes on in another sheet."""

    binary = True
    workbook: Workbook | None = None

    def __init__(
        self,
        columns: Mapping[str, type],
        path: Path | None,
        excel: bool = False,
        options: WorkbookOptions | None = None,
    ) -> None:
        super().__init__(columns, path, excel)
        self.options = options
        self._marked = dict(zip(self.columns, columns.values(), strict=True))
        check_columns(list(columns))

    def check_text(self, text: str) -> None:
        """Refuse a text that is longer than a cell holds."""
        check_text(text)

    def _open(self) -> None:
        assert self.path is not None and self.file is not None
        self.file.partial.touch()  # tell now, not at the end, that the place cannot be written
        self.workbook = Workbook(self._marked, self.path.parent, self.options)

    def _write(self, row: Row) -> None:
        assert self.workbook is not None
        self.workbook.append(row)

    def _complete(self) -> None:
        super()._complete()
        assert self.path is not None and self.workbook is not None
        self.workbook.tell(self.path)

    def _abandon(self) -> None:
        if self.workbook is not None:
            self.workbook.forget_thumbnails()
        super()._abandon()

    def _close(self) -> None:
        assert self.file is not None and self.workbook is not None
        self.file.partial.write_bytes(self.workbook.packed())
