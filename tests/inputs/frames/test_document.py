"""Pages of PDF documents as images."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from conftest import PEAK_MEGABYTES
from media_files import write_pdf
from PIL import Image

from clipcli.errors import ImageError, UsageError
from clipcli.inputs import extras
from clipcli.inputs.frames import document
from clipcli.inputs.frames.parts import PartItem, part_of
from clipcli.inputs.inputs import Inputs
from clipcli.inputs.item import BytesItem, FileItem, open_file
from clipcli.inputs.opening import item_named
from clipcli.inputs.reading import Reading
from clipcli.records import ImageFailure

COLORS = [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 200, 0)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    document._DOCUMENTS.close()


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """Four pages of one colour each, of A4's proportions."""
    return write_pdf(tmp_path / "file.pdf", [Image.new("RGB", (595, 842), color) for color in COLORS])


def taken(path: Path) -> list[PartItem]:
    items = list(Inputs((str(path),)))
    assert all(isinstance(item, PartItem) for item in items), items
    return items  # type: ignore[return-value]


def image(item: PartItem) -> Image.Image:
    found = item.read()
    assert isinstance(found, Image.Image)
    return found


def is_color(item: PartItem, color: tuple[int, ...]) -> bool:
    pixel = np.asarray(image(item)).reshape(-1, 3).mean(axis=0)
    return bool(np.abs(pixel - color).max() < 6)


def written(path: Path, *pages: str, extra: str = "", objects: str = "", root: str = "") -> Path:
    """A document of these pages' dictionaries, without content; PDFium finds the objects by itself."""
    kids = " ".join(f"{10 + n} 0 R" for n in range(len(pages)))
    body = "".join(
        f"{10 + n} 0 obj <</Type/Page/Parent 2 0 R {page}>> endobj\n" for n, page in enumerate(pages)
    )
    path.write_text(
        f"%PDF-1.7\n1 0 obj <</Type/Catalog/Pages 2 0 R {root}>> endobj\n"
        f"2 0 obj <</Type/Pages/Kids[{kids}]/Count {len(pages)}>> endobj\n{body}{objects}"
        f"trailer <</Root 1 0 R/Size 100 {extra}>>\n%%EOF\n"
    )
    return path


# --- Pages ---------------------------------------------------------------------------------------


def test_every_page_of_a_document_that_is_named(pdf: Path) -> None:
    items = taken(pdf)
    assert [item.name for item in items] == [f"{pdf}#page={n}" for n in (1, 2, 3, 4)]
    assert all(map(is_color, items, COLORS))


def test_in_a_folder_only_if_that_is_asked_for(pdf: Path) -> None:
    inputs = Inputs((str(pdf.parent),))
    assert list(inputs) == []
    assert inputs.left_out.kinds == {"document": 1}
    assert len(list(Inputs((str(pdf.parent),), reading=Reading(pages=True)))) == 4


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((595, 842), (724, 1024)),
        ((842, 595), (1024, 724)),
        ((1000, 100), (4096, 410)),
        ((2000, 400), (2240, 448)),
        ((14400, 14400), (1024, 1024)),
        ((14400, 1), (4096, 1)),
        ((3, 3), (1024, 1024)),
    ],
)
def test_pages_of_any_size_fit_the_model_and_the_memory(
    box: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pdf", f"/MediaBox[0 0 {box[0]} {box[1]}]")
    found = image(taken(path)[0]).size
    assert np.abs(np.subtract(found, size)).max() <= 1


def test_a_page_that_is_turned_and_one_with_a_unit_of_metres(tmp_path: Path) -> None:
    turned, metres = taken(
        written(
            tmp_path / "a.pdf",
            "/MediaBox[0 0 100 200]/Rotate 90",
            "/MediaBox[0 0 14400 7200]/UserUnit 2834.6",
        )
    )
    assert image(turned).size == (1024, 512)
    assert image(metres).size == (1024, 512)


@pytest.mark.parametrize("box", [(0, 100), (100, 0), (-1, 5), (float("nan"), 5), (float("inf"), 5)])
def test_what_has_no_size(box: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match="a page without a size"):
        document._scale(*box)


def test_a_page_without_a_size_is_the_only_one_lost(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.pdf", "/MediaBox[0 0 100 100]", "/MediaBox[0 0 1e-30 100]", "/MediaBox[0 0 9 9]"
    )
    first, second, third = taken(path)
    assert image(first).size == image(third).size == (1024, 1024)
    try:
        assert max(image(second).size) <= 4096
    except ImageError as error:
        assert error.message == "a page without a size"


def test_pages_are_transparent_on_white_and_forms_show_what_is_filled_in(tmp_path: Path) -> None:
    form = (
        "20 0 obj <</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(x)/F 4/Rect[0 0 100 100]/P 10 0 R"
        "/AP<</N 21 0 R>>>> endobj\n"
        "21 0 obj <</Type/XObject/Subtype/Form/BBox[0 0 100 100]/Length 29>> stream\n"
        "1 0 0 rg 0 0 100 100 re f    \nendstream endobj\n"
    )
    empty, filled = taken(
        written(
            tmp_path / "a.pdf",
            "/MediaBox[0 0 100 100]",
            "/MediaBox[0 0 100 100]/Annots[20 0 R]",
            objects=form,
            root="/AcroForm<</Fields[20 0 R]>>",
        )
    )
    assert is_color(empty, (255, 255, 255))
    assert not is_color(filled, (255, 255, 255))


# --- Reading -------------------------------------------------------------------------------------


def test_any_order_in_several_threads(pdf: Path, tmp_path: Path) -> None:
    other = write_pdf(tmp_path / "other.pdf", [Image.new("RGB", (60, 80), color) for color in COLORS[::-1]])
    items = [
        (item, color) for item, color in zip(taken(pdf) + taken(other), COLORS + COLORS[::-1], strict=True)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda one: is_color(*one), items[::-1] * 5))


def test_pdfium_does_one_thing_at_a_time(pdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_pdf(tmp_path / "other.pdf", [Image.new("RGB", (60, 80))] * 4)
    at_once, most = [0], [0]
    rendered = document._rendered

    def counted(page: object) -> Image.Image:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        at_once[0] -= 1
        return rendered(page)

    monkeypatch.setattr(document, "_rendered", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(image, [one for pair in zip(taken(pdf), taken(other), strict=True) for one in pair]))
    assert most == [1]


def test_a_long_document_is_opened_anew_now_and_then(pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_PAGES_KEPT", 2)
    opened: list[str] = []
    monkeypatch.setattr(document, "opened", lambda item: (opened.append(item.name), open_file(item.name))[1])
    item = next(document.pages_of(FileItem(str(pdf))))
    assert isinstance(item, PartItem)
    opened.clear()
    for _ in range(7):
        assert is_color(replace(item, is_last=False), COLORS[0])
    assert len(opened) == 4


def test_names_lead_back_and_a_document_may_be_in_memory(pdf: Path) -> None:
    for item in taken(pdf):
        assert item_named(item.name) == item
    assert is_color(part_of(BytesItem("a.pdf", pdf.read_bytes()), "page", 3), COLORS[2])


# --- Damage --------------------------------------------------------------------------------------


def failure(path: Path) -> str:
    (found,) = Inputs((str(path),))
    assert isinstance(found, ImageFailure)
    assert found.image == str(path)
    return found.reason


def test_a_password(tmp_path: Path) -> None:
    owner = "<" + "00" * 32 + ">"
    encrypt = f"/Encrypt <</Filter/Standard/V 1/R 2/O{owner}/U{owner}/P -4>>/ID[{owner}{owner}]"
    path = written(tmp_path / "a.pdf", "/MediaBox[0 0 9 9]", extra=encrypt)
    assert failure(path) == "protected by a password; save it without one"


def test_damaged_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.touch()
    assert failure(path).startswith("damaged document: ")
    path.write_bytes(b"%PDF-1.7 garbage")
    assert failure(path).startswith("damaged document: ")
    assert failure(written(path)).startswith("damaged document: ")


def test_a_document_without_pages_is_a_row(pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypdfium2.PdfDocument, "__len__", lambda self: 0)
    assert failure(pdf) == "a document without pages"


def test_a_damaged_page_is_a_row_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pdf", "/MediaBox[0 0 9 9]", "/MediaBox[0 0 9 9]", "/MediaBox[0 0 9 9]")
    path.write_text(path.read_text().replace("11 0 obj <<", "11 0 obj 7 endobj 30 0 obj <<"))
    first, second, third = taken(path)
    assert image(first).size == image(third).size == (1024, 1024)
    with pytest.raises(ImageError, match="damaged document: Failed to load page"):
        second.read()


def test_a_page_that_is_not_there(pdf: Path) -> None:
    with pytest.raises(ImageError, match="no such page: the document has 4"):
        part_of(FileItem(str(pdf)), "page", 5).read()


def test_without_the_library(pdf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_installed", lambda library: library != "pypdfium2")
    with pytest.raises(UsageError, match="PDF documents need a library") as caught:
        Inputs((str(pdf),))
    assert caught.value.hint == "pip install 'clipcli[pdf]'."
    inputs = Inputs((str(pdf.parent),), reading=Reading(pages=True))
    assert list(inputs) == []
    assert inputs.left_out.kinds == {"document": 1}


# --- Memory --------------------------------------------------------------------------------------

PEAK = f"""
import sys
{PEAK_MEGABYTES}
from itertools import islice
from clipcli.inputs.inputs import Inputs
for item in islice(Inputs((sys.argv[1],)), int(sys.argv[2])):
    item.read()
print(peak_megabytes())
"""


@pytest.mark.long
def test_a_thousand_pages_take_the_memory_of_some(tmp_path: Path) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PDF")
    with pypdfium2.PdfDocument(file.getvalue()) as one, pypdfium2.PdfDocument.new() as many:
        for _ in range(1000):
            many.import_pages(one)
        many.save(tmp_path / "a.pdf")
    few, all_ = (
        float(
            subprocess.run(
                [sys.executable, "-c", PEAK, str(tmp_path / "a.pdf"), count],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for count in ("200", "1000")
    )
    assert all_ < few + 20
