"""Every class of characters in a workbook: read back by openpyxl, by our own reader and by LibreOffice."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from clipcli.inputs.tables.table import Table
from clipcli.output.sinks import open_sink

SOFFICE = shutil.which("soffice")
KEPT = {
    "carriage return": "a\rb",
    "both line ends": "a\r\nb\n\rc",
    "only a return": "\r",
    "newline and tab": "a\nb\tc",
    "spaces": "  a  ",
    "like an escape": "a_x0041_b",
    "in small letters": "_x00e9_",
    "like an escaped escape": "_x005F_x0041_",
    "two that overlap": "_x0041_x0042_",
    "like a return": "_x000D_",
    "no escape": "_x41_ _x0041 x0041_",
    "markup": "<b>&amp;]]>\"'",
    "rich text": "<r><t>a</t></r>",
    "a formula": "=1+1",
    "a number": "007",
    "delete and C1": "a\x7f\x80\x85\x9fb",
    "line separators": "a\u2028b\u2029c",
    "private use": "\ue000\uf8ff",
    "last of the plane": "\ufffd",
    "noncharacters that XML has": "\ufdd0\U0001ffff\U0010ffff",
    "turned around": "\u202egnp.tac\u202c",
    "astral": "\U0001f408\U00020bb7",
    "combining": unicodedata.normalize("NFD", "café"),
}
REPLACED = {
    "NUL": ("a\0b", "a\ufffdb"),
    "controls": ("a\x01\x08\x0b\x0c\x0e\x1b\x1fb", "a" + "\ufffd" * 7 + "b"),
    "FFFE": ("a\ufffeb", "a\ufffdb"),
    "FFFF": ("a\uffffb", "a\ufffdb"),
    "high half": ("a\ud800b", r"a\ud800b"),
    "low half": ("a\udc00b", r"a\udc00b"),
    "bytes": ("a\udce9\udcffb", r"a\xe9\xffb"),
}


def written(texts: Sequence[str], path: Path) -> Path:
    with open_sink({"image": str, "text": str}, path) as sink:
        for number, text in enumerate(texts):
            sink.write([f"{number}.png", text])
    return path


def by_openpyxl(path: Path) -> list[str]:
    """What the cells of the second column hold; openpyxl leaves escapes to its callers."""
    rows = openpyxl.load_workbook(path).worksheets[0].iter_rows(min_row=2, values_only=True)
    return [unescape(str(row[1])) for row in rows]


def by_ourselves(path: Path) -> list[object]:
    return [item.columns["text"] for item in Table(path)]


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_a_text_comes_back_as_it_was(text: str, tmp_path: Path) -> None:
    path = written([text], tmp_path / "a.xlsx")
    assert by_openpyxl(path) == [text]
    assert by_ourselves(path) == [text]


def test_returns_need_no_escape_in_openpyxl(tmp_path: Path) -> None:
    path = written(["a\rb", "c"], tmp_path / "a.xlsx")
    assert openpyxl.load_workbook(path).worksheets[0]["B2"].value == "a\rb"


@pytest.mark.parametrize(("text", "found"), REPLACED.values(), ids=REPLACED)
def test_what_xml_does_not_have_is_replaced(text: str, found: str, tmp_path: Path) -> None:
    path = written([text], tmp_path / "a.xlsx")
    assert by_openpyxl(path) == [found]
    assert by_ourselves(path) == [found]


def test_every_character_leaves_a_workbook_that_opens(tmp_path: Path) -> None:
    blocks = [
        "".join(map(chr, range(start, min(start + 0x1000, sys.maxunicode + 1))))
        for start in range(0, 0x11000, 0x1000)
    ]
    found = "".join(by_openpyxl(written(blocks, tmp_path / "a.xlsx")))
    for character in ("\t", "\n", "\r", " ", "\ud7ff", "\ue000", "\ufffd", "\U00010000"):
        assert character in found
    assert "\ufffe" not in found and "\uffff" not in found and "\x00" not in found


def test_names_of_columns_go_the_same_way(tmp_path: Path) -> None:
    names = ["_x0041_", "a\rb", "a\uffffb", "=1", "a\ud800", "a\nb"]
    path = tmp_path / "a.xlsx"
    with open_sink({"image": str, **dict.fromkeys(names, str)}, path) as sink:
        sink.write(["a.png", *names])
    header = next(openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True))
    assert [unescape(str(name)) for name in header[1:]] == [
        "_x0041_",
        "a\rb",
        "a\ufffdb",
        "=1",
        r"a\ud800",
        "a\nb",
    ]


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinity_is_a_text(value: float, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with open_sink({"image": str, "value": float}, path) as sink:
        sink.write(["a.png", value])
    assert openpyxl.load_workbook(path).worksheets[0]["B2"].value == str(value)


def test_a_full_sheet_keeps_returns_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.output.xlsx.workbook.MAX_ROWS", 2)
    path = written(["a\rb", "c\rd", "e"], tmp_path / "a.xlsx")
    sheets = openpyxl.load_workbook(path).worksheets
    assert [sheet["B2"].value for sheet in sheets] == ["a\rb", "c\rd", "e"]


@pytest.mark.skipif(SOFFICE is None, reason="needs LibreOffice Calc (soffice)")
def test_libreoffice_reads_the_same(tmp_path: Path) -> None:
    texts = {**{name: (text, text) for name, text in KEPT.items()}, **REPLACED}
    path = written([text for text, _ in texts.values()], tmp_path / "a.xlsx")
    settings = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"
    command = [str(SOFFICE), f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to"]
    subprocess.run(
        [*command, settings, "--outdir", tmp_path, path], check=True, capture_output=True, timeout=120
    )
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        found = [row[1] for row in csv.reader(file)][1:]
    pairs = re.compile("\r\n|\n\r")  # which LibreOffice writes as one line end
    assert [pairs.sub("\n", text) for text in found] == [pairs.sub("\n", text) for _, text in texts.values()]
