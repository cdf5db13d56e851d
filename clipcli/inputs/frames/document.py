"""Pages of PDF documents, through pypdfium2, as images."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipcli.errors import ImageError
from clipcli.inputs.frames.open_files import OpenFiles
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.streams import opened
from clipcli.records import ImageFailure, Item

if TYPE_CHECKING:
    from PIL import Image

_LONGER_SIDE = 1024  # pixels: at least twice what models see
_SHORTER_SIDE = 448  # of long receipts too: as much as the largest models see
_LONGEST_SIDE = 4096
_PAGES_KEPT = 256  # after so many, a document is opened anew: PDFium keeps fonts and more of each page

_PDFIUM = threading.RLock()  # it does one thing at a time, whatever the document


def pages_of(item: Item) -> Iterator[PartItem | ImageFailure]:
    """The pages of a document; one failure if it cannot be opened."""
    try:
        document = _Document(item)
        count = document.count
        document.close()
        if not count:
            raise ImageError("a document without pages")
    except ImageError as error:
        yield ImageFailure(item.name, error.message, item.columns, item.truth)
        return
    for number in range(1, count + 1):
        yield part_of(item, "page", number, is_last=number == count)


def read_part(part: PartItem) -> Image.Image:
    """A page on white, as viewers show it, with what is filled in on forms.

    Its longer side has 1024 pixels, or more where the shorter one had fewer than 448.

    Raises:
        ImageError: there is no such page, it has no size, or it is damaged.
    """
    with _DOCUMENTS.reading(part) as document:
        return document.page(part.position)


@contextmanager
def _pdfium() -> Iterator[Any]:
    """The library, for this thread only; what it raises becomes an `ImageError`."""
    import pypdfium2

    with _PDFIUM:
        try:
            yield pypdfium2
        except pypdfium2.PdfiumError as error:
            if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise ImageError("protected by a password; save it without one") from None
            raise ImageError(f"damaged document: {error}") from None


class _Document:
    """A document that is open.

    Raises:
        ImageError: it cannot be opened, or has no pages.
    """

    def __init__(self, item: Item) -> None:
        self._item = item
        self._open()

    def _open(self) -> None:
        self._file, self._pages_made = opened(self._item), 0
        try:
            with _pdfium() as pypdfium2:
                self._pdf = pypdfium2.PdfDocument(self._file)
                self._pdf.init_forms()
                self.count = len(self._pdf)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with _PDFIUM:
            self._pdf.close()
        self._file.close()

    def page(self, number: int) -> Image.Image:
        """A page, from 1; errors as in `read_part`."""
        if self._pages_made == _PAGES_KEPT:
            self.close()
            self._open()
        self._pages_made += 1
        with _pdfium():
            if number > self.count:
                raise ImageError(f"no such page: the document has {self.count}")
            page = self._pdf[number - 1]
            try:
                return _rendered(page)
            finally:
                page.close()


def _rendered(page: Any) -> Image.Image:
    bitmap = page.render(scale=_scale(*page.get_size()), rev_byteorder=True)
    try:
        image: Image.Image = bitmap.to_pil().convert("RGB").copy()  # the bitmap's memory is PDFium's
        return image
    finally:
        bitmap.close()


def _scale(width: float, height: float) -> float:
    """Pixels a point."""
    shorter, longer = sorted((width, height))
    if not 0 < shorter <= longer < math.inf:
        raise ImageError("a page without a size")
    return min(max(_LONGER_SIDE / longer, _SHORTER_SIDE / shorter), _LONGEST_SIDE / longer)


_DOCUMENTS = OpenFiles(_Document, _Document.close)
