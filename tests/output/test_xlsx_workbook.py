"""A workbook worth opening: filter, frozen head, colours, links, thumbnails and the sheet `summary`."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import openpyxl
import pytest
from conftest import EXAMPLES, PEAK_MEGABYTES
from openpyxl.drawing.spreadsheet_drawing import TwoCellAnchor
from PIL import Image

from clipcli.choices import LayoutName
from clipcli.errors import ClipcliWarning
from clipcli.output.consumers import RowWriter, consume
from clipcli.output.rows import Layout
from clipcli.output.sinks import open_sink
from clipcli.output.xlsx import thumbnails, workbook
from clipcli.output.xlsx.links import link_to
from clipcli.output.xlsx.options import WorkbookOptions
from clipcli.records import ImageFailure, ImagePredictions, Outcome, Prediction

SOFFICE = shutil.which("soffice")
LABELS = ("cat", "dog")


def predicted(image: str, score: float = 0.75) -> ImagePredictions:
    ranked = (Prediction(image, 1, "cat", score, 0.5), Prediction(image, 2, "dog", 1 - score, 0.25))
    return ImagePredictions(image, ranked, np.array([score, 1 - score]), margin=2 * score - 1)


def written(
    path: Path, outcomes: Iterable[Outcome], layout: LayoutName = "wide", **options: Any
) -> tuple[Any, list[str]]:
    """The workbook as openpyxl reads it, and the warnings."""
    rows = Layout(layout, 2, LABELS)
    sink = open_sink(rows.columns, path, workbook=WorkbookOptions(**options))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ClipcliWarning)
        consume(outcomes, [RowWriter(rows, sink)])
    return openpyxl.load_workbook(path), [str(one.message) for one in told]


def links(sheet: Any) -> dict[str, str]:
    """The target of each cell that has a link."""
    return {
        cell.coordinate: cell.hyperlink.target for row in sheet.iter_rows() for cell in row if cell.hyperlink
    }


# --- How it looks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "coloured", "last"),
    [("long", "D2:D5", "H5"), ("wide", "C2:C3 E2:E3", "H3"), ("matrix", "B2:C3", "G3")],
)
def test_the_head_is_bold_and_stays_and_filters_and_scores_are_coloured(
    layout: LayoutName, coloured: str, last: str, tmp_path: Path
) -> None:
    book, told = written(tmp_path / "a.xlsx", [predicted("a.jpg"), predicted("b.jpg", 0.0001)], layout)
    (sheet,) = book.worksheets
    assert sheet.title == "predictions"
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == f"A1:{last}"
    assert all(cell.font.b for cell in sheet[1])
    assert not any(cell.font.b for cell in sheet[2])
    ((formatting, (rule,)),) = sheet.conditional_formatting._cf_rules.items()
    assert (str(formatting.sqref), rule.type) == (coloured, "colorScale")
    for cells in coloured.split():
        for row in sheet[cells]:
            for cell in row:
                assert (cell.data_type, cell.number_format.startswith("[>=0.001]0.000")) == ("n", True)
    assert not told


def test_columns_are_as_wide_as_their_texts_within_bounds(tmp_path: Path) -> None:
    book, _ = written(tmp_path / "a.xlsx", [predicted("x" * 30), predicted("y" * 500)])
    widths = {name: dimension.width for name, dimension in book.worksheets[0].column_dimensions.items()}
    assert 60 <= widths["A"] < 62
    assert 7 <= widths["B"] < 10
    book, _ = written(tmp_path / "b.xlsx", [predicted("x" * 30)])
    assert 30 <= book.worksheets[0].column_dimensions["A"].width < 32


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / f"{name}.xlsx", [predicted("a.jpg")], about=lambda: [("images", [("ok", 1)])])
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
        assert b">1980-01-01T00:00:00Z</dcterms:created>" in archive.read("docProps/core.xml")


def test_sheets_are_named_for_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 3)
    outcomes = [predicted(f"{number}.jpg") for number in range(5)]
    book, _ = written(tmp_path / "a.xlsx", outcomes, about=lambda: [])
    assert book.sheetnames == ["predictions", "predictions 2", "predictions 3", "summary"]
    assert [sheet.auto_filter.ref for sheet in book.worksheets[:3]] == ["A1:H3", "A1:H3", "A1:H2"]
    assert [sheet.freeze_panes for sheet in book.worksheets[:3]] == ["B2"] * 3
    book, _ = written(tmp_path / "b.xlsx", outcomes[:1], title="results")
    assert book.sheetnames == ["results"]


# --- Links ---------------------------------------------------------------------------------------

NAMES = [
    b"plain.png",
    b"a b  c.png",
    b"#1.png",
    b"100%.png",
    b"%41.png",
    b"what?.png",
    b"q'uo\"te.png",
    b"[x] {y} ^`|.png",
    b"<img src=x onerror=alert(1)>.png",
    b"a&b;c=d,e+f~g!$@.png",
    b"c:d.png",
    b"back\\slash.png",
    b"new\nline\ttab.png",
    b"\x01\x7f.png",
    "é猫 🐈.png".encode(),
    "e\u0301 \u200d\u202e.png".encode(),
    "\ufffe\uffff\ue000.png".encode(),
    b"caf\xe9 \xff.png",
    b"_x0041_.png",
]


def file_of(target: str, folder: Path) -> bytes:
    """The file that a browser or spreadsheet opens from this folder."""
    assert not set(target) & set(' "<>\\^`{|}\n\t#?')
    path = unquote_to_bytes(target.encode())
    return path.removeprefix(b"file://") if path.startswith(b"file:") else os.fsencode(folder) + b"/" + path


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beside", [True, False])
def test_links_lead_to_files_of_any_name(name: bytes, beside: bool, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for path in (folder, tmp_path / "elsewhere"):
        path.mkdir()
    image = folder / os.fsdecode(name)
    image.touch()
    path = (tmp_path if beside else tmp_path / "elsewhere") / "a.xlsx"
    book, _ = written(path, [predicted(str(image))])
    (target,) = links(book.worksheets[0]).values()
    assert target.startswith("photos/" if beside else "file:///")
    found = file_of(target, path.parent)
    assert image.samefile(os.fsdecode(found))


def test_links_start_where_the_workbook_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.png").touch()
    monkeypatch.chdir(tmp_path / "in")
    for place, expected in [
        ("a.xlsx", "deep/a.png"),
        ("../a.xlsx", "in/deep/a.png"),
        ("deep/a.xlsx", "a.png"),
    ]:
        book, _ = written(Path(place), [predicted("deep/a.png")])
        assert links(book.worksheets[0]) == {"A2": expected}


def test_a_name_with_a_colon_is_no_scheme(tmp_path: Path) -> None:
    (tmp_path / "c:d.png").touch()
    assert link_to(str(tmp_path / "c:d.png"), tmp_path) == "./c:d.png"
    assert link_to(str(tmp_path / "c:d.png"), tmp_path.parent) == f"{tmp_path.name}/c:d.png"


def test_urls_stay_and_what_is_no_file_has_no_link(tmp_path: Path) -> None:
    urls = ["https://example.org/a%20b.jpg?x=1&y=[2]#top", "s3://bucket/ä.png"]
    names = [*urls, "http://example.org/a b.jpg", "gone.jpg", "products.csv row 7", "a\0b", "half \ud800"]
    book, _ = written(tmp_path / "a.xlsx", [*map(predicted, names[:-1]), ImageFailure(names[-1], "no")])
    found = links(book.worksheets[0])
    assert found == {"A2": urls[0], "A3": urls[1], "A4": "http://example.org/a%20b.jpg"}
    assert book.worksheets[0]["A2"].value == urls[0]


def test_a_link_that_excel_refuses_is_left_out(tmp_path: Path) -> None:
    assert link_to("http://example.org/" + "x" * 2_060, tmp_path) is not None
    assert link_to("http://example.org/" + "x" * 2_061, tmp_path) is None


def test_links_past_the_limit_of_a_sheet_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workbook.MAX_LINKS == 65_530
    monkeypatch.setattr(workbook, "MAX_LINKS", 2)
    monkeypatch.setattr(workbook, "MAX_ROWS", 5)
    outcomes = [predicted(f"http://example.org/{number}") for number in range(7)]
    book, told = written(tmp_path / "a.xlsx", outcomes)
    assert [len(links(sheet)) for sheet in book.worksheets] == [2, 2]
    assert told == [f"{tmp_path / 'a.xlsx'}: 3 rows without a link, for a sheet has at most 2 of them"]
    assert [row[0].value for row in book.worksheets[0].iter_rows(min_row=2)] == [
        outcome.image for outcome in outcomes[:4]
    ]


# --- Thumbnails ----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """A large one, a turned one, a tiny one, and one that is none."""
    Image.new("RGB", (400, 200), "red").save(tmp_path / "large.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200), "blue").save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGB", (20, 10), "green").save(tmp_path / "tiny.png")
    (tmp_path / "broken.png").write_bytes(b"")
    return [str(tmp_path / name) for name in ("large.png", "turned.jpg", "tiny.png", "broken.png")]


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_each_image_has_one_thumbnail_that_is_never_enlarged(
    images: list[str], layout: LayoutName, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = [*map(predicted, images[:3]), ImageFailure(images[3], "empty file")]
    book, told = written(tmp_path / "a.xlsx", outcomes, layout, thumbnails=True)
    (sheet,) = book.worksheets
    first = [2, 3, 4] if layout == "wide" else [2, 4, 6]
    assert [image.anchor._from.row + 1 for image in sheet._images] == first
    assert {image.anchor._from.col for image in sheet._images} == {0}
    assert [image.anchor.to.row + 1 for image in sheet._images] == first, "it lies within its cell"
    assert {(type(image.anchor), image.anchor.editAs) for image in sheet._images} == {(TwoCellAnchor, None)}
    shown = [Image.open(io.BytesIO(image._data())) for image in sheet._images]
    assert [one.size for one in shown] == [(96, 48), (48, 96), (20, 10)]
    assert [max(range(3), key=one.getpixel((5, 5)).__getitem__) for one in shown] == [0, 2, 1]
    assert sheet["A2"].value == images[0]
    assert [row for row in range(1, 9) if (sheet.row_dimensions[row].height or 0) > 72][:3] == first
    assert not told


def test_there_are_no_thumbnails_unless_they_are_asked_for(images: list[str], tmp_path: Path) -> None:
    book, _ = written(tmp_path / "a.xlsx", map(predicted, images))
    assert not book.worksheets[0]._images
    assert not book.worksheets[0].row_dimensions[2].height


def test_thumbnails_past_the_limit_are_left_out_and_told(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "MOST", 2)
    book, told = written(tmp_path / "a.xlsx", map(predicted, images), thumbnails=True)
    assert len(book.worksheets[0]._images) == 2
    assert told == [f"{tmp_path / 'a.xlsx'}: 2 images without a thumbnail, after the first 2"]


def test_a_run_that_is_broken_off_does_not_wait_for_thumbnails(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_jpeg", lambda path: pytest.fail("a thumbnail is made"))
    rows = Layout("wide", 2, LABELS)
    sink = open_sink(rows.columns, tmp_path / "a.xlsx", workbook=WorkbookOptions(thumbnails=True))
    with pytest.raises(KeyboardInterrupt), RowWriter(rows, sink) as writer:
        writer.add(predicted(images[0]))
        raise KeyboardInterrupt
    with (tmp_path / "a.xlsx.partial").open("rb") as file:
        assert openpyxl.load_workbook(file).worksheets[0]["A2"].value == images[0]


# --- The sheet `summary` -------------------------------------------------------------------------


def test_the_summary_has_headings_names_and_values(tmp_path: Path) -> None:
    asked = []

    def about() -> list[tuple[str, list[tuple[str, Any]]]]:
        asked.append(True)
        return [("images", [("ok", 3), ("=1+1", "=2+2")]), ("command", [("command", "x" * 40_000)])]

    book, _ = written(tmp_path / "a.xlsx", [predicted("a.jpg")], about=about)
    assert asked == [True]
    sheet = book["summary"]
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[:5] == [("images", None), ("ok", 3), ("=1+1", "=2+2"), (None, None), ("command", None)]
    assert rows[5][1].startswith("xxx") and rows[5][1].endswith("… (40,000 characters in all)")
    assert (sheet["A1"].font.b, sheet["A2"].font.b) == (True, False)
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}


# --- Other programs, and size --------------------------------------------------------------------


@pytest.mark.skipif(SOFFICE is None, reason="needs LibreOffice Calc (soffice)")
def test_libreoffice_finds_filter_links_thumbnails_and_colours(tmp_path: Path) -> None:
    names = ["cat #1 é 100%.jpg", "plain.jpg"]
    for name in names:
        shutil.copy(EXAMPLES / "cat-1.jpg", tmp_path / name)
    outcomes = [predicted(str(tmp_path / name)) for name in names]
    written(tmp_path / "a.xlsx", outcomes, thumbnails=True, about=lambda: [("images", [("ok", 2)])])
    command = [str(SOFFICE), f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to"]
    subprocess.run(
        [*command, "xlsx", "--outdir", tmp_path / "saved", tmp_path / "a.xlsx"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    book = openpyxl.load_workbook(tmp_path / "saved" / "a.xlsx")
    sheet = book.worksheets[0]
    assert book.sheetnames == ["predictions", "summary"]
    assert sheet.auto_filter.ref == "A1:H3"
    assert len(sheet._images) == 2
    found = [os.fsdecode(file_of(target, tmp_path / "saved")) for target in links(sheet).values()]
    assert [Path(path).resolve() for path in found] == [tmp_path / name for name in names]
    ((formatting, (rule,)),) = sheet.conditional_formatting._cf_rules.items()
    assert (str(formatting.sqref), rule.type) == ("C2:C3 E2:E3", "colorScale")
    assert (sheet["C2"].value, sheet["A1"].font.b) == (0.75, True)


MANY = (
    PEAK_MEGABYTES
    + """
import sys
from clipcli.output.cells import ImageName, Score
from clipcli.output.sinks import open_sink

columns = {"image": ImageName, "label": str, "score": Score}
with open_sink(columns, Path(sys.argv[1])) as sink:
    for number in range(int(sys.argv[2])):
        sink.write([f"{number:06} of a hundred thousand images.png", "cat", number / 7])
print(peak_megabytes())
"""
)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 100_000):
        command = [sys.executable, "-c", MANY, str(tmp_path / "a.xlsx"), str(count)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx", read_only=True).worksheets[0]
    assert sheet.max_row == 100_001
    assert peaks[1] - peaks[0] < 10, f"{peaks} MB: the packed file itself has 3"
