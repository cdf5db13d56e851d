"""Commands on archives: the same rows as of a folder, and what comes after that finds the images again."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from archive_files import archive, png, stored
from conftest import EXAMPLES, Result
from PIL import Image

from clipcli.inputs.archives import file as file_module
from clipcli.inputs.archives.items import MemberItem
from clipcli.output.report import thumbnails

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
LABELS = ("--labels", "cat,fish,key")
CLASSES = ("cat", "fish", "key")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images in one for each class, and archives of the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file_module, "RACY_SECONDS", -9)  # the archives are made just now
    return tmp_path


@pytest.fixture
def members(tmp_path: Path) -> list[tuple[str, bytes]]:
    files = [
        (f"{label}/{path.name}", path.read_bytes())
        for label in CLASSES
        for path in sorted(EXAMPLES.glob(f"{label}-*"))[:2]
    ]
    for name, data in files:
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(data)
    return files


def rows_of(result: Result) -> list[list[str]]:
    return list(csv.reader(io.StringIO(result.out)))


def test_rows_are_those_of_a_folder_and_an_archive_is_not_read_twice(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows_of(run_cli("classify", "plain", *LABELS, *NANO, "--no-cache"))
    for suffix in (".zip", ".tar", ".tar.gz", ".tar.zst"):
        path = archive(tmp_path / f"a{suffix}", members)
        fresh = run_cli("classify", path.name, *LABELS, *NANO, "--no-cache")
        assert fresh.code == 0, fresh.err
        assert [[row[0].replace(f"a{suffix}!/", "plain/"), *row[1:]] for row in rows_of(fresh)] == expected
        assert run_cli("classify", path.name, *LABELS, *NANO).out == fresh.out
        with monkeypatch.context() as without:
            without.delattr(MemberItem, "read")
            again = run_cli("classify", path.name, *LABELS, *NANO)
        assert (again.out, again.code) == (fresh.out, 0)
        assert "6 known from the cache, 0 new" in again.err


def test_archives_in_a_folder_are_told_or_read(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "mixed").mkdir()
    archive(tmp_path / "mixed" / "a.zip", [*members, ("deep.tar", b""), ("notes.txt", b"")])
    (tmp_path / "mixed" / "z.png").write_bytes(png(1))
    told = run_cli("classify", "mixed", *LABELS, *NANO)
    assert [row[0] for row in rows_of(told)][1::3] == ["mixed/z.png"]
    assert "not taken from folders: 1 archive (use --archives)" in told.err
    read = run_cli("classify", "mixed", "--archives", *LABELS, *NANO)
    assert len({row[0] for row in rows_of(read)}) == 8
    assert (
        "not taken from folders: 1 archive in other archives (unpack those first), 1 other file (.txt)"
        in read.err
    )
    (tmp_path / "none.zip").write_bytes(archive(tmp_path / "x.zip", [("a.txt", b"")]).read_bytes())
    nothing = run_cli("classify", "none.zip", *LABELS, *NANO)
    assert nothing.code == 2 and "no images found in none.zip" in nothing.err


def test_a_damaged_archive_is_a_row_beside_its_images(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    whole = archive(tmp_path / "a.zip", members).read_bytes()
    stored(tmp_path / "b.zip", whole[: whole.index(b"fish/")])
    result = run_cli("classify", "b.zip", "-k", 1, *LABELS, *NANO)
    assert result.code == 3
    _, *rows = rows_of(result)
    assert [row[0] for row in rows] == [*(f"b.zip!/{name}" for name, _ in members[:2]), "b.zip"]
    assert rows[-1][5].startswith("the archive is truncated or damaged: its first 2 members are read")


def test_inputs_lists_members(run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path) -> None:
    archive(tmp_path / "a.tar.gz", members)
    result = run_cli("inputs", "a.tar.gz")
    assert result.code == 0, result.err
    assert "6 images: 6 archive member" in result.err
    rows = rows_of(result)
    assert rows[1][:2] == [f"a.tar.gz!/{members[0][0]}", "archive member"]


# --- True labels ---------------------------------------------------------------------------------


def shards(tmp_path: Path, members: list[tuple[str, bytes]]) -> str:
    for shard in range(2):
        files: list[tuple[str, bytes]] = []
        for number, (name, data) in enumerate(members[shard::2]):
            label, suffix = name.partition("/")[0], name.rpartition(".")[2]
            key = f"{number:04}"
            files += [(f"{key}.{suffix}", data), (f"{key}.cls", str(CLASSES.index(label)).encode())]
            files += [(f"{key}.txt", label.encode())]
        archive(tmp_path / f"s-{shard:02}.tar", files)
    return "s-{00..01}.tar"


def test_labels_of_shards_are_the_truth(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    spelled = shards(tmp_path, members)
    by_folder = run_cli("eval", "plain", *NANO, "-o", "folder.json")
    by_column = run_cli("eval", spelled, "--truth-column", "txt", *NANO, "-o", "column.json")
    assert (by_folder.code, by_column.code) == (0, 0), by_column.err
    one, other = (json.loads(Path(name).read_text()) for name in ("folder.json", "column.json"))
    assert one["per_class"] == other["per_class"]
    assert one["images"] == other["images"] == 6
    numbers = run_cli("eval", spelled, "--truth-column", "cls", *NANO)
    assert numbers.code == 0, numbers.err
    refused = run_cli("eval", spelled, "--truth-column", "label", *NANO)
    assert refused.code == 2
    assert "no column 'label'" in refused.err and "cls, txt" in refused.err


def test_folders_in_an_archive_are_the_truth(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    archive(tmp_path / "a.zip", members)
    for name in ("plain", "a.zip"):
        assert run_cli("eval", name, *NANO, "-o", f"{name}.json").code == 0
    one, other = (json.loads(Path(f"{name}.json").read_text()) for name in ("plain", "a.zip"))
    assert one["per_class"] == other["per_class"]


def test_a_probe_learns_from_members(run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", members)
    rows = [f"a.tar!/{name},{name.partition('/')[0]}," for name, _ in members]
    (tmp_path / "corrections.csv").write_text("\n".join(["image,label,was", *rows]) + "\n")
    for name in ("plain", "a.tar", "corrections.csv"):
        result = run_cli("probe", name, *NANO, "-o", f"{name}.safetensors")
        assert result.code == 0, result.err
    spelled = shards(tmp_path, members)
    assert run_cli("probe", spelled, "--truth-column", "txt", *NANO, "-o", "s.safetensors").code == 0
    made = [Path(f"{name}.safetensors").read_bytes() for name in ("plain", "a.tar", "corrections.csv")]
    assert made[0] == made[1] == made[2]


# --- Found again ---------------------------------------------------------------------------------


def test_reports_and_workbooks_show_members(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    for suffix in (".zip", ".tar.zst"):
        archive(tmp_path / f"a{suffix}", members)
        outputs = ("-o", "out.csv", "-o", "out.html", "-o", "out.xlsx", "--thumbnails")
        result = run_cli("classify", f"a{suffix}", "plain/cat", *outputs, *LABELS, *NANO)
        assert result.code == 0, result.err
        assert "cannot be read now" not in result.err
        page = Path("out.html").read_text("utf-8")
        data = json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])
        assert data["addresses"][:6] == [""] * 6
        assert data["addresses"][6:] == [f"plain/{name}" for name, _ in members[:2]]
        blocks = re.findall(r'<script[^>]*id="thumbnails-\d+">(.*?)</script>', page)
        assert None not in json.loads(blocks[0]) and len(json.loads(blocks[0])) == 8
        again = run_cli("report", "out.csv", "-o", "again.html")
        assert again.err == "wrote again.html\n"
        with zipfile.ZipFile("out.xlsx") as workbook:
            thumbnails = [name for name in workbook.namelist() if name.startswith("xl/media/")]
        assert len(thumbnails) == 6, "equal ones are kept once"


def test_a_table_beside_its_archive_is_found_from_anywhere(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "a.zip", members)
    assert run_cli("classify", "a.zip", *LABELS, *NANO, "-k", 1, "-o", "out.csv").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_cli("report", "../out.csv", "-o", "a.html").err == "wrote a.html\n"
    result = run_cli("classify", "--from-file", "../out.csv", *LABELS, *NANO, "-k", 1)
    assert result.code == 0, result.err
    assert rows_of(result)[1][0] == f"../a.zip!/{members[0][0]}"


def test_a_thumbnail_of_an_image_that_is_no_file() -> None:
    made = thumbnails.thumbnail("gone.zip!/a.png")
    assert str(made) == "no such file"


def test_members_are_searched_for_and_found(
    run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    archive(tmp_path / "a.zip", members)
    name = f"a.zip!/{members[0][0]}"
    result = run_cli("search", "--like", name, "a.zip", "-k", 1, *NANO)
    assert result.code == 0, result.err
    assert rows_of(result)[1][2] == name
    known = run_cli("search", "--like", f"2:{name}", "--known", "-k", 3, *NANO)
    assert str(tmp_path / name) in [row[2] for row in rows_of(known)]
    gone = run_cli("search", "--like", "gone.zip!/a.png", "a.zip", *NANO)
    assert gone.code == 2 and "no such image: gone.zip!/a.png" in gone.err


@pytest.mark.parametrize("command", ["sort", "tag"])
def test_members_are_neither_sorted_nor_tagged(
    command: str, run_cli: Cli, members: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    before = archive(tmp_path / "a.zip", members).read_bytes()
    table = pd.DataFrame({"image": [f"a.zip!/{name}" for name, _ in members], "label": "cat"})
    table.to_csv("out.csv", index=False)
    into = ("--into", "sorted") if command == "sort" else ()
    result = run_cli(command, "out.csv", *into, "--apply")
    assert result.code == 0
    assert "6 left where they are: inside an archive: unpack it first" in result.err
    assert (tmp_path / "a.zip").read_bytes() == before
    assert not list((tmp_path / "plain").rglob("*.xmp"))
    assert Image.open("plain/" + members[0][0]).size
