"""XlsxWriter's worksheet and link, made to write texts, numbers and targets as they are given.

XlsxWriter cuts numbers to 16 digits, takes a text in `<r>` for marked-up text, reads `_x0041_x0042_` as one
escape, has carriage returns only as escapes that openpyxl does not undo, and writes links with backslashes.
This module imports XlsxWriter, so import it where a workbook is begun.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from xlsxwriter.url import Url, UrlTypes
from xlsxwriter.worksheet import Worksheet

from clipcli.output.xlsx.cells import as_xml_text

_Attributes = Sequence[tuple[str, Any]]


class Sheet(Worksheet):  # type: ignore[misc]
    """A worksheet that stores every text and every number exactly."""

    @staticmethod
    def _escape_control_characters(data: str) -> str:
        return as_xml_text(data)

    def _escape_data(self, data: str) -> str:
        """Readers of XML take a bare carriage return for a newline."""
        return str(super()._escape_data(data)).replace("\r", "&#13;")

    def _xml_rich_inline_string(self, string: str, attributes: _Attributes = ()) -> None:
        self._xml_inline_string(string, True, attributes)

    def _xml_number_element(self, number: float, attributes: _Attributes = ()) -> None:
        attr = "".join(f' {key}="{value}"' for key, value in attributes)
        self.fh.write(f"<c{attr}><v>{number!r}</v></c>")

    def close_rows(self) -> None:
        """Close the file of rows, whatever becomes of what is not written yet."""
        with contextlib.suppress(OSError):
            self._opt_close()


class Link(Url):  # type: ignore[misc]
    """A link to a target that is a relative reference or URI already.

    Args:
        target: is written as it stands.
        text: what the cell shows.
    """

    def __init__(self, target: str, text: str) -> None:
        super().__init__(target)
        self._text = text

    def _parse_url(self) -> None:
        self._link_type = UrlTypes.EXTERNAL
        self._relationship_link = self._link

    def _escape_strings(self) -> None:
        return
