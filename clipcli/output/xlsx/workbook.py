"""An Excel workbook, row by row, within the limits of its sheets."""

from __future__ import annotations

import io
import os
import traceback
import warnings
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipcli.errors import ClipcliWarning
from clipcli.output.cells import ImageName, Row, Score
from clipcli.output.xlsx import thumbnails
from clipcli.output.xlsx.cells import MAX_TEXT, fitting
from clipcli.output.xlsx.links import link_to
from clipcli.output.xlsx.options import Section, WorkbookOptions
from clipcli.records import Value

MAX_ROWS = 1_048_576
MAX_LINKS = 65_530
"""Links in a sheet; Excel repairs a workbook that has more."""

_MEASURED_ROWS = 1_000  # whose texts decide how wide the columns are
_LEAST_WIDTH, _MOST_WIDTH, _WIDTH_OF_ARROW = 7, 60, 3
_WIDTH_OF_PICTURE = 15
_SCORE_FORMAT = "[>=0.001]0.000;[<=-0.001]-0.000;0.0E+00"  # the small scores of sigmoid models keep digits
_MADE = datetime(1980, 1, 1)  # for every workbook: equal rows give equal bytes


class Workbook:
    """Keeps one row in memory, and the links of a sheet; past 1,048,576 rows it goes on in another sheet.

    Args:
        columns: their names, which head every sheet, and their types.
        folder: where the file will lie.
        options: what it has besides its rows.
    """

    def __init__(
        self, columns: Mapping[str, type], folder: Path, options: WorkbookOptions | None = None
    ) -> None:
        import xlsxwriter

        self.columns = list(columns)
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100 (symbolic links stay)
        self.options = options or WorkbookOptions()
        self._images = [kind is ImageName for kind in columns.values()]
        self._scores = [kind is Score for kind in columns.values()]
        self._packed = io.BytesIO()  # small beside the sheets; a full disk leaves no half-closed archive
        self._temporary = TemporaryDirectory(prefix="clipcli-xlsx-")
        options_of_library = {"constant_memory": True, "tmpdir": self._temporary.name}
        self._book = xlsxwriter.Workbook(self._packed, options_of_library)
        self._book.use_zip64()
        self._book.set_properties({"created": _MADE})
        self._formats = _Formats(self._book)
        self._places: list[thumbnails.Place] = []
        self._sheets = self._unlinked = self._undrawn = 0
        self._last_image: str | None = None
        self._new_sheet()

    def _new_sheet(self) -> None:
        self._sheets += 1
        title = self.options.title + (f" {self._sheets}" if self._sheets > 1 else "")
        self._sheet = self._add(title)
        self._sheet.freeze_panes(1, 1)
        self._row, self._links = 0, 0
        self._widths = [len(name) + _WIDTH_OF_ARROW for name in self.columns]
        for column, name in enumerate(self.columns):
            self._sheet.write_string(0, column, fitting(name), self._formats.head)
        self._row = 1

    def _add(self, title: str) -> Any:
        from clipcli.output.xlsx.sheet import Sheet

        return self._book.add_worksheet(title, Sheet)

    def append(self, row: Row) -> None:
        """Add a row.

        Raises:
            OutputError: a text is longer than a cell holds.
        """
        cells = [fitting(value) for value in row]  # before anything of the row is written
        if self._row == MAX_ROWS:
            self._finish_sheet()
            self._new_sheet()
        for column, (name, value) in enumerate(zip(row, cells, strict=True)):
            if self._images[column] and isinstance(name, str):
                self._put_image(column, name, str(value))
            else:
                self._put(self._sheet, column, value, self._formats.score if self._scores[column] else None)
        if self._row <= _MEASURED_ROWS:
            self._measure(cells)
        self._row += 1

    def _put(self, sheet: Any, column: int, value: Value, style: Any = None) -> None:
        """Write a cell of the present row; texts are stored as texts, so that none is run as a formula."""
        if value is None:
            return
        if isinstance(value, str):
            sheet.write_string(self._row, column, value, style)
        elif isinstance(value, bool):
            sheet.write_boolean(self._row, column, value, style)
        elif isinstance(value, date):
            form = self._formats.time if isinstance(value, datetime) else self._formats.day
            sheet.write_datetime(self._row, column, value, form)
        else:
            sheet.write_number(self._row, column, value, style)

    def _measure(self, cells: Sequence[Value]) -> None:
        for column, value in enumerate(cells):
            length = 0 if value is None or self._scores[column] else len(str(value))
            self._widths[column] = max(self._widths[column], length)

    # --- Images ----------------------------------------------------------------------------------

    def _put_image(self, column: int, name: str, text: str) -> None:
        """Write the name of an image, with a link to it; the first time also make room for its thumbnail."""
        from clipcli.output.xlsx.sheet import Link

        draws = self.options.thumbnails and column == 0
        if draws and name != self._last_image:
            self._make_room(name)
        self._last_image = name
        target = link_to(name, self.folder)
        if target is not None and self._links == MAX_LINKS:
            self._unlinked += 1
            target = None
        if target is None:
            self._put(self._sheet, column, text, self._formats.below if draws else None)
            return
        self._links += 1
        form = self._formats.link_below if draws else self._formats.link
        self._sheet.write_url(self._row, column, Link(target, text), form)

    def _make_room(self, name: str) -> None:
        if len(self._places) == thumbnails.MOST:
            self._undrawn += 1
            return
        self._places.append(thumbnails.Place(self._sheet, self._row, name))
        self._sheet.set_row_pixels(self._row, thumbnails.ROW_HEIGHT)

    def forget_thumbnails(self) -> None:
        """Leave them out, as the run did not end well."""
        self._places.clear()

    # --- The end of a sheet, and of all ----------------------------------------------------------

    def _finish_sheet(self) -> None:
        last_row, last_column = self._row - 1, len(self.columns) - 1
        self._sheet.autofilter(0, 0, last_row, last_column)
        if self.options.thumbnails:
            self._widths[0] = max(self._widths[0], _WIDTH_OF_PICTURE)
        for column, width in enumerate(self._widths):
            self._sheet.set_column(column, column, min(max(width, _LEAST_WIDTH), _MOST_WIDTH))
        if any(self._scores) and last_row:
            ranges = _ranges(self._scores, last_row)
            scale = {"type": "2_color_scale", "min_color": "#FFFFFF", "max_color": "#63BE7B"}
            self._sheet.conditional_format(*ranges[0], scale | {"multi_range": _in_a1(ranges)})

    def packed(self) -> memoryview:
        """The whole file.

        Raises:
            OSError: the temporary folder is full.
        """
        from xlsxwriter.exceptions import FileCreateError

        try:
            self._finish_sheet()
            thumbnails.insert_thumbnails(self._places)
            if self.options.about is not None:
                self._add_summary(self.options.about())
            self._book.close()
        except FileCreateError as error:
            failed: OSError = error.args[0]
            traceback.clear_frames(failed.__traceback__)  # an archive in them would complain when it ends
            raise failed from None
        finally:
            self._clean_up()
        return self._packed.getbuffer()

    def _clean_up(self) -> None:
        for sheet in self._book.worksheets():
            sheet.close_rows()
        self._temporary.cleanup()

    def _add_summary(self, sections: Sequence[Section]) -> None:
        """A sheet of headings, names and values."""
        sheet, self._row = self._add("summary"), 0
        sheet.set_column(0, 0, 34)
        sheet.set_column(1, 1, 80)
        for number, (heading, facts) in enumerate(sections):
            self._row += number > 0
            sheet.write_string(self._row, 0, fitting(heading), self._formats.head)
            for name, value in facts:
                self._row += 1
                self._put(sheet, 0, _shortened(name))
                self._put(sheet, 1, _shortened(value), self._formats.fact)
            self._row += 1

    def tell(self, path: Path) -> None:
        """Warn of links and thumbnails that were left out."""
        for count, what in (
            (self._unlinked, f"rows without a link, for a sheet has at most {MAX_LINKS:,} of them"),
            (self._undrawn, f"images without a thumbnail, after the first {thumbnails.MOST:,}"),
        ):
            if count:
                warnings.warn(f"{path}: {count:,} {what}", ClipcliWarning, stacklevel=2)


class _Formats:
    """How cells look."""

    def __init__(self, book: Any) -> None:
        link = {"font_color": "#0563C1", "underline": 1}
        self.head = book.add_format({"bold": True, "bg_color": "#F2F2F2", "bottom": 1})
        self.link, self.link_below = book.add_format(link), book.add_format(link | {"valign": "bottom"})
        self.below = book.add_format({"valign": "bottom"})
        self.score = book.add_format({"num_format": _SCORE_FORMAT})
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self.fact = book.add_format({"align": "left", "text_wrap": True, "valign": "top"})


def _ranges(marked: Sequence[bool], last_row: int) -> list[tuple[int, int, int, int]]:
    """The cells below the head of marked columns: first row and column, last row and column of each block."""
    blocks = [
        [column for column, _ in block]
        for mark, block in groupby(enumerate(marked), lambda pair: pair[1])
        if mark
    ]
    return [(1, block[0], last_row, block[-1]) for block in blocks]


def _in_a1(ranges: Sequence[tuple[int, int, int, int]]) -> str:
    from xlsxwriter.utility import xl_range

    return " ".join(xl_range(*cells) for cells in ranges)


def _shortened(value: Value) -> Value:
    """A fact as one cell can hold it: a command line can name thousands of files."""
    if isinstance(value, str) and len(value) > MAX_TEXT // 4:
        value = f"{value[: MAX_TEXT // 4]}… ({len(value):,} characters in all)"
    return fitting(value)
