"""One folder with everything that real folders hold: each input gets one outcome, and the right one."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from fakes import names
from picture_files import encoded, noise
from PIL import Image

from clipcli.inputs.inputs import Inputs

Cli = Callable[..., Result]
ARGUMENTS = (
    "-l",
    "cat,fish,sun",
    "-m",
    "nano",
    "--precision",
    "fp32",
    "--device",
    "cpu",
    "--no-cache",
    "-k",
    2,
)
GOOD = 300

SMOOTH = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize(
    (64, 48)
)
JPEG, PNG, WEBP = (encoded(SMOOTH, kind) for kind in ("JPEG", "PNG", "WEBP"))
HEADER = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
BOMB = PNG[:8] + (13).to_bytes(4, "big") + HEADER + zlib.crc32(HEADER).to_bytes(4, "big")
BOMB += (5).to_bytes(4, "big") + b"IDAT" + bytes(9)

BAD = {  # name: content, and the reason that its row gives
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"this is a text\n" * 9, "not an image file, or a format that is not supported"),
    "page.jpg": (b"<!DOCTYPE html><p>404", "a web page is not an image"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "damaged image: "),
    "cut.png": (PNG[: len(PNG) // 2], "damaged image: "),
    "cut.webp": (WEBP[: len(WEBP) // 2], "damaged image: |not an image file"),
    "zeros.png": (PNG[:60] + bytes(200) + PNG[260:], "damaged image: "),
    "bomb.png": (BOMB, "too large: 20000x20000 is 400 megapixels, the limit is 268"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG is not a raster image"),
    "paper.jpg": (b"%PDF-1.7", "a PDF is not a raster image"),
    "program.jpg": (b"%!PS-Adobe-3.0", "a PostScript file is not a raster image"),
    "archive.jpg": (b"PK\x03\x04", "an archive is not an image"),
}
ODD = {  # good pictures of unusual kinds
    "small.png": encoded(noise(1, 1)),
    "strip.png": encoded(Image.new("RGB", (1, 30_000), "red")),
    "png called jpg.jpg": PNG,
    "inks.jpg": encoded(SMOOTH.convert("CMYK"), "JPEG"),
    "deep.png": encoded(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))),
    "float.tiff": encoded(SMOOTH.convert("F"), "TIFF"),
    "palette.gif": encoded(SMOOTH.convert("P"), "GIF"),
    "bits.png": encoded(SMOOTH.convert("1")),
    "grey alpha.png": encoded(SMOOTH.convert("LA")),
    "colours alpha.png": encoded(SMOOTH.convert("RGBA")),
    "progressive.jpg": encoded(SMOOTH, "JPEG", progressive=True),
    "moving.gif": encoded(SMOOTH, "GIF", save_all=True, append_images=[SMOOTH.rotate(90)]),
    "moving.webp": encoded(SMOOTH, "WEBP", save_all=True, append_images=[SMOOTH.rotate(90)]),
    "icon.ico": encoded(SMOOTH, "ICO"),
    "targa.tga": encoded(SMOOTH, "TGA"),
    "wavelets.jp2": encoded(SMOOTH, "JPEG2000"),
}
NAMES = [
    b"comma, quote \" and 'quote'.png",
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"tab\there.png",
    b"=1+1.png",
    b"-k.png",
    "🧀 ünï 奶酪.png".encode(),
    b"caf\xe9.png",
    b"\x1b[31mred.png",
    b"[red]markup[bold].png",
    b"UPPER.png",
    b"upper.png",
    b"x" * 251 + b".png",
]


def write(folder: Path, name: bytes | str, content: bytes) -> None:
    with open(os.path.join(os.fsencode(folder), os.fsencode(name)), "wb") as file:  # noqa: PTH118, PTH123
        file.write(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 good pictures, and nothing else yet."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(GOOD):
        coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((40 + number % 17, 40), Image.Resampling.BICUBIC)
        write(folder, f"{number * 37 % GOOD:03}.jpg", encoded(picture, "JPEG"))
    return folder


def add_everything_else(folder: Path) -> None:
    for name, (content, _) in BAD.items():
        write(folder, name, content)
    for name, content in ODD.items():
        write(folder, name, content)
    for raw in NAMES:
        write(folder, raw, PNG)
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "again").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "predictions.csv").write_text("of an earlier run")
    (folder / ".hidden.jpg").write_bytes(JPEG)
    if os.geteuid() == 0:
        os.mknod(folder / "device.jpg", 0o600 | stat.S_IFCHR, os.makedev(1, 5))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_every_input_has_one_outcome_in_order_and_the_good_rows_do_not_change(
    run_cli: Cli, folder: Path, tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone.csv", folder / "out.csv"  # inside: its own output is no input
    assert run_cli("classify", folder, *ARGUMENTS, "-o", alone).code == 0
    add_everything_else(folder)
    result = run_cli("classify", folder, *ARGUMENTS, "-o", together)
    assert result.code == 3, result.err

    rows = rows_of(together)
    images = list(dict.fromkeys(row["image"] for row in rows))
    assert images == names(Inputs((str(folder),))), "each once, in order, its name kept to the byte"
    expected = {
        *(f"{number:03}.jpg".encode() for number in range(GOOD)),
        *map(os.fsencode, [*BAD, *ODD, "gone.jpg", "itself.jpg"]),
        *NAMES,
    }
    assert {os.path.basename(os.fsencode(image)) for image in images} == expected  # noqa: PTH119

    failed = {Path(row["image"]).name: row["error"] for row in rows if row["error"]}
    assert set(failed) == {*BAD, "gone.jpg", "itself.jpg"}
    for name, (_, reason) in BAD.items():
        assert re.match(reason, failed[name]), name
    assert failed["gone.jpg"] == "no such file"
    labels = Counter(row["image"] for row in rows if row["label"])
    assert set(labels.values()) == {2}
    assert sum(row["error"] != "" for row in rows) == len(failed), "a failure has one row"

    good = {str(folder / f"{number:03}.jpg") for number in range(GOOD)}
    assert [row for row in rows if row["image"] in good] == rows_of(alone)


def test_the_summary_counts_the_reasons(run_cli: Cli, folder: Path, tmp_path: Path) -> None:
    add_everything_else(folder)
    output = tmp_path / "out.csv"
    errors = run_cli("classify", folder, *ARGUMENTS, "-o", output).err
    reasons = Counter(row["error"].partition(":")[0] for row in rows_of(output) if row["error"])
    told = re.search(r"^warning: (\d+) failed: (.*)$", errors, re.MULTILINE)
    assert told is not None, errors
    assert int(told[1]) == len(BAD) + 2
    assert told[2] == ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    assert f"{GOOD + len(BAD) + len(ODD) + len(NAMES) + 2} images in" in errors


def test_a_file_deleted_or_replaced_while_the_run_goes_on(run_cli: Cli, folder: Path, tmp_path: Path) -> None:
    """The list names what is no longer there when its turn comes."""
    names = [str(folder / f"{number:03}.jpg") for number in range(6)]
    listed = tmp_path / "list"
    listed.write_text("\n".join(names))
    Path(names[1]).unlink()
    Path(names[2]).unlink()
    Path(names[2]).mkdir()
    Path(names[3]).write_bytes(PNG)
    os.truncate(names[4], 100)
    output = tmp_path / "out.csv"
    assert run_cli("classify", "-f", listed, *ARGUMENTS, "-k", 1, "-o", output).code == 3
    errors = [row["error"] for row in rows_of(output)]
    assert errors[1:5] == ["no such file", "a folder, not an image", "", errors[4]]
    assert errors[4].startswith(("damaged image", "not an image"))
    assert [row["image"] for row in rows_of(output)] == names


def test_truncated_ok_labels_what_can_be_read(run_cli: Cli, folder: Path, tmp_path: Path) -> None:
    write(folder, "cut.jpg", JPEG[: len(JPEG) * 3 // 4])
    strict = run_cli("classify", folder / "cut.jpg", *ARGUMENTS, "--format", "csv")
    assert strict.code == 3
    lenient = run_cli("classify", folder / "cut.jpg", *ARGUMENTS, "--format", "csv", "--truncated", "ok")
    assert lenient.code == 0, lenient.err
    assert len(list(csv.DictReader(io.StringIO(lenient.out)))) == 2


def test_a_name_with_a_leading_dash_is_named_after_two_dashes(
    run_cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "-k.png", PNG)
    monkeypatch.chdir(folder)
    result = run_cli("classify", *ARGUMENTS, "--format", "csv", "--", "-k.png")
    assert result.code == 0, result.err
    assert "\n-k.png,1," in result.out
