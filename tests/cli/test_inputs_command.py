"""`clipcli inputs`, and what commands say of files that they did not take."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipcli.inputs.item import FileItem

Run = Callable[..., Any]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, format="PNG")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, and one of everything that a folder may hold besides."""
    photos = tmp_path / "photos"
    for name in ("a.png", "B.PNG", "sub/c.png", ".hidden.png", ".old/e.png", "sub/._c.png", "__MACOSX/d.png"):
        picture(photos / name)
    for name in ("clip.mp4", "clip.MOV", "paper.pdf", "old.zip", "old.tar.gz", "notes.txt", "README"):
        (photos / name).write_bytes(b"x")
    return photos


def rows(done: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done.out)))


def test_images_are_listed_with_kind_and_version(run_cli: Run, folder: Path) -> None:
    done = run_cli("inputs", folder)
    assert done.code == 0, done.err
    names = [str(folder / name) for name in ("B.PNG", "a.png", "sub/c.png")]
    assert [row["image"] for row in rows(done)] == names
    assert {row["kind"] for row in rows(done)} == {"file"}
    for row in rows(done):
        version = FileItem(row["image"]).version()
        assert row["version"] == (version.token if version else "")


def test_what_was_not_taken_is_counted_by_what_it_is(run_cli: Run, folder: Path) -> None:
    told = run_cli("inputs", folder, "--count").err
    line = next(line for line in told.splitlines() if line.startswith("not taken from folders"))
    assert "2 videos (use --frames or --every)" in line
    assert "1 document (use --pages)" in line
    assert "2 archives (use --archives)" in line
    assert "1 hidden image, 1 hidden folder," in line
    assert "2 other files (without a suffix, .txt)" in line


def test_without_its_reader_a_raw_file_is_counted_with_what_to_install(
    run_cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "scan.CR2").write_bytes(b"x")
    monkeypatch.setattr("clipcli.inputs.extras._is_installed", lambda name: False)
    assert "1 RAW file (pip install 'clipcli[raw]')" in run_cli("inputs", folder, "--count").err


def test_classify_tells_the_same_in_its_summary(run_cli: Run, folder: Path) -> None:
    done = run_cli("classify", folder, "-l", "cat,dog", "--model", "nano")
    assert "not taken from folders: " in done.err
    assert "2 archives (use --archives)" in done.err


def test_a_folder_of_images_only_says_nothing_of_others(run_cli: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert "not taken" not in run_cli("inputs", tmp_path).err


def test_count_prints_a_number_alone(run_cli: Run, folder: Path) -> None:
    assert run_cli("inputs", folder, "--count").out == "3\n"


def test_an_include_that_matches_nothing_says_how_many_it_leaves_out(run_cli: Run, folder: Path) -> None:
    done = run_cli("inputs", folder, "--include", "*.webp")
    assert done.code == 2
    assert f"no images found in {folder}" in done.err
    assert "--include leaves out 3 images" in done.err


def test_an_exclude_that_matches_all_says_so(run_cli: Run, folder: Path) -> None:
    done = run_cli("inputs", folder, "--exclude", "*.png")
    assert done.code == 2
    assert "--exclude leaves out 3 images" in done.err


def test_an_excluded_folder_is_told_where_nothing_else_is_found(run_cli: Run, tmp_path: Path) -> None:
    picture(tmp_path / "drafts" / "a.png")
    done = run_cli("inputs", tmp_path, "--exclude", "drafts/")
    assert "--exclude leaves out 1 folder" in done.err


def test_what_was_asked_to_be_left_out_is_not_told(run_cli: Run, folder: Path) -> None:
    done = run_cli("inputs", folder, "--exclude", "sub/", "--count")
    assert done.out == "2\n"
    assert "exclude" not in done.err


def test_columns_of_a_table_are_listed(run_cli: Run, tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    table = tmp_path / "products.csv"
    table.write_text(f"path,sku,error\n{image},A-17,none\n,A-18,none\n")
    done = run_cli("inputs", "-f", table)
    assert done.code == 3
    first, second = rows(done)
    assert (first["image"], first["sku"], first["input_error"]) == (str(image), "A-17", "none")
    assert second["error"] == "no image named in line 3"
    assert "1 could not be listed" in done.err


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet", "xlsx"])
def test_the_list_is_written_in_every_format(run_cli: Run, folder: Path, tmp_path: Path, suffix: str) -> None:
    listed = tmp_path / f"list.{suffix}"
    assert run_cli("inputs", folder, "-o", listed).code == 0
    again = run_cli("inputs", "-f", listed, "--count")
    assert again.out == "3\n", again.err
