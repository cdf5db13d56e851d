"""Why an image cannot be read: what is true, and what helps."""

from __future__ import annotations

import struct
import sys

import pytest
from picture_files import encoded, noise

from clipcli.errors import ImageError
from clipcli.images.decode import decode
from clipcli.records import Preprocess

HEIC_HEAD = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"
INSTALL = "HEIC needs a plug-in: pip install 'clipcli[heif]'"


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        decode(data, Preprocess((8, 8)))
    return error.value.message


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc", b"msf1"])
def test_a_damaged_heic_is_damaged_where_the_plug_in_is_installed(brand: bytes) -> None:
    pytest.importorskip("pillow_heif")
    for data in (HEIC_HEAD, HEIC_HEAD + bytes(500)):
        message = reason(data.replace(b"heic", brand, 1))
        assert "plug-in" not in message
        assert message.startswith(("damaged image: ", "not an image file"))


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_heic_is_damaged(kept: float) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(noise(64, 64), "HEIF")
    assert reason(data[: int(len(data) * kept)]).startswith("damaged image: ")


def test_without_the_plug_in_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.images.decode._formats", lambda: ["JPEG", "PNG"])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert reason(HEIC_HEAD) == INSTALL


def test_a_plug_in_that_cannot_be_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "pillow_heif.py").write_text(
        "raise ImportError('libheif.so.1: cannot open shared object file')"
    )
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("clipcli.images.decode._formats", lambda: ["JPEG", "PNG"])
    message = reason(HEIC_HEAD)
    assert message == (
        "HEIC needs its plug-in, which is installed but cannot be loaded:"
        " libheif.so.1: cannot open shared object file"
    )


def test_what_a_decoder_does_not_support_is_not_called_damaged() -> None:
    info = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 6, 0, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 500, 0, 0, 54) + info + bytes(300)
    assert reason(data) == "not supported: Unsupported BMP compression (6)"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(noise(8, 8))[:20], "damaged image: Truncated File Read"),
        (encoded(noise(8, 8)).replace(b"IHDR", b"\1\2\3\4"), "damaged image: broken PNG file"),
        (b"II*\0" + bytes(50), "not an image file"),
        (b"GIF89a" + bytes(7), "not an image file"),
    ],
)
def test_a_known_beginning_is_called_by_its_name(data: bytes, expected: str) -> None:
    assert reason(data).startswith(expected)
