"""Class and template files that are no UTF-8 text: what they are instead, and what to do."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import Workbook
from PIL import Image

from clipcli.errors import PromptError
from clipcli.prompts.class_lists import load_classes
from clipcli.prompts.templates import load_templates


def workbook() -> bytes:
    stream = io.BytesIO()
    Workbook().save(stream)
    return stream.getvalue()


def image(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (50, 50)).save(stream, kind)
    return stream.getvalue()


TEXT = "a photo of a {} cat\nä {}\n"
WIDE = "It is UTF-16 text: save the file as UTF-8."
BINARY = "It looks like a binary file, such as an image: name a text file."


@pytest.mark.parametrize("load", [load_classes, lambda path: load_templates([path])])
@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (TEXT.encode("utf-16"), WIDE),
        (TEXT.encode("utf-16-le"), WIDE),
        (TEXT.encode("utf-16-be"), WIDE),
        ("\ufeff猫 {}\n".encode("utf-16-be"), WIDE),
        ("cat {}\n".encode("utf-16-le"), WIDE),
        (TEXT.encode("latin-1"), "Save the file as UTF-8."),
        pytest.param(
            workbook(), "It looks like an Excel workbook: save the table as “CSV UTF-8”.", id="workbook"
        ),
        (image("PNG"), BINARY),
        (image("JPEG"), BINARY),
        (image("TIFF"), BINARY),
        (image("GIF"), BINARY),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".yaml"])
def test_what_a_file_is_instead(
    load: Callable[[str], object], content: bytes, hint: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_bytes(content)
    with pytest.raises(PromptError) as caught:
        load(str(path))
    assert f"{path}:" in caught.value.message and ": not UTF-8 text" in caught.value.message
    assert caught.value.hint == hint


def test_a_byte_order_mark_of_utf8_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("a {}\nb {}\n", encoding="utf-8-sig")
    assert load_templates([str(path)]) == ("a {}", "b {}")
    assert [spec.label for spec in load_classes(str(path))] == ["a {}", "b {}"]
