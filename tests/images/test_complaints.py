"""What libtiff complains of is a failure with its reason, and no line on stderr."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from picture_files import encoded, noise
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.complaints import libtiff_complaints
from clipcli.images.decode import DecodeOptions, decode
from clipcli.records import Preprocess

DOTS = Image.fromarray(np.random.default_rng(0).random((120, 200)) < 0.5)
PREPROCESS = Preprocess((32, 32))
LEAVES_PIXELS_UNSET = PIL.__version__ < "13"  # those that a damaged file does not give


def damaged(compression: str, seed: int = 0) -> bytes:
    """A TIFF with some bits flipped among its pixels."""
    image = DOTS if compression.startswith(("group", "tiff_ccitt")) else noise(200, 120)
    data = bytearray(encoded(image, "TIFF", compression=compression))
    generator = random.Random(seed)
    for _ in range(40):
        data[generator.randrange(400, len(data) // 2)] ^= 1 << generator.randrange(8)
    return bytes(data)


@pytest.mark.parametrize(
    ("compression", "reason"),
    [
        ("group4", r"Fax4Decode: .* at line \d+"),
        ("tiff_ccitt", r"Fax3DecodeRLE: Bad code word at line \d+"),
        ("tiff_adobe_deflate", r"ZIPDecode: Decoding error at scanline \d+"),
    ],
)
def test_a_complaint_is_a_failure_with_its_reason(
    compression: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageError, match=f"damaged image: .*{reason}"):
        decode(damaged(compression), PREPROCESS)
    assert capfd.readouterr() == ("", "")


def test_pillow_calls_it_a_success() -> None:
    """So that the test before is no test of nothing."""
    code = "import sys, PIL.Image; PIL.Image.open(sys.argv[1]).load()"
    done = run_with_file(code, damaged("group4"))
    assert done.returncode == 0
    assert "Fax4Decode" in done.stderr


def run_with_file(code: str, data: bytes) -> subprocess.CompletedProcess[str]:
    path = Path(os.environ["CLIPCLI_CACHE"], "damaged.tif")
    path.write_bytes(data)
    return subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)


def test_the_part_that_can_be_read_is_used_when_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    pixels = decode(damaged("group4"), PREPROCESS, DecodeOptions(truncated="ok"))
    assert pixels.min() < pixels.max()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "compression", ["group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd"]
)
def test_of_a_whole_image_nothing_is_said(compression: str) -> None:
    image = DOTS if compression.startswith("group") else noise(200, 120)
    with libtiff_complaints() as complaints:
        decode(encoded(image, "TIFF", compression=compression), PREPROCESS)
        Image.open(io.BytesIO(encoded(image, "TIFF", compression=compression))).load()
    assert complaints == []


def test_each_image_gets_its_own_complaints_whatever_thread_decodes_it() -> None:
    whole = encoded(DOTS, "TIFF", compression="group4")
    files = [damaged("group4", number) if number % 2 else whole for number in range(200)]
    expected = list(map(outcome, files))
    assert sum("Fax4Decode" in one for one in expected if isinstance(one, str)) > 80
    with ThreadPoolExecutor(8) as pool:
        for data, one, alone in zip(files, pool.map(outcome, files), expected, strict=True):
            if LEAVES_PIXELS_UNSET and data is not whole and isinstance(alone, np.ndarray):
                assert isinstance(one, np.ndarray)
            else:
                np.testing.assert_array_equal(one, alone)


def outcome(data: bytes) -> np.ndarray | str:
    try:
        return decode(data, PREPROCESS)
    except ImageError as error:
        return error.message


HOST = """
import sys, threading, os
import PIL.Image
from pathlib import Path
from clipcli.errors import ImageError
from clipcli.images.decode import decode
from clipcli.records import Preprocess
data = Path(sys.argv[1]).read_bytes()
for _ in range(20):
    try:
        decode(data, Preprocess())
        raise SystemExit("it was decoded")
    except ImageError:
        pass
    os.write(2, b"mine\\n")
PIL.Image.open(sys.argv[1]).load()
"""


def test_what_a_host_writes_and_decodes_itself_is_on_its_stderr() -> None:
    done = run_with_file(HOST, damaged("group4"))
    alone = run_with_file("import sys, PIL.Image; PIL.Image.open(sys.argv[1]).load()", damaged("group4"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == 20 * "mine\n" + alone.stderr


def test_a_thread_that_does_not_listen_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    def decode_elsewhere() -> None:
        Image.open(io.BytesIO(damaged("group4"))).load()

    with libtiff_complaints() as complaints:
        thread = threading.Thread(target=decode_elsewhere)
        thread.start()
        thread.join()
    assert complaints == []
    assert "Fax4Decode" in capfd.readouterr().err
