"""`clipcli search` end to end, with the bundled model on the examples: it finds what brute force finds."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from conftest import EXAMPLES, Result
from PIL import Image

import clipcli
from clipcli.inputs.inputs import Inputs
from clipcli.records import ImageFeatures
from clipcli.scoring.queries import features_of_texts

Cli = Callable[..., Result]
NANO = ("--model", "nano", "--device", "cpu", "--precision", "fp32")
DRAWN = ("a drawing of a {}.", "a {}")
COLUMNS = ["query", "rank", "image", "score", "relative", "error"]
CAT, FISH = (str(EXAMPLES / name) for name in ("cat-2.png", "fish-5.png"))

pytestmark = pytest.mark.usefixtures("shared_cache", "known")


class Known:
    """The features of all examples, and of texts, from the model itself."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.names = [item.name for item in Inputs((str(EXAMPLES),)) if hasattr(item, "version")]
        outcomes = list(clipcli.encode(EXAMPLES, encoder))
        assert all(isinstance(one, ImageFeatures) for one in outcomes)
        self.features = np.stack([one.features for one in outcomes]).astype(np.float64)  # type: ignore[union-attr]

    def text(self, text: str) -> np.ndarray:
        return self.encoder.encode_texts([text])[0].astype(np.float64)

    def image(self, path: str) -> np.ndarray:
        return self.features[self.names.index(path)]

    def check(self, rows: list[dict[str, str]], query: np.ndarray, count: int = 10) -> None:
        """The rows are the best images for the query, in order, with cosines that are right."""
        query = query / np.linalg.norm(query)
        scores = self.features @ query
        neutral = self.features @ self.text("a photo")
        order = np.argsort(-scores, kind="stable")[:count]
        assert [row["image"] for row in rows] == [self.names[one] for one in order]
        assert [int(row["rank"]) for row in rows] == list(range(1, count + 1))
        assert [float(row["score"]) for row in rows] == pytest.approx(scores[order], abs=2e-6)
        assert [float(row["relative"]) for row in rows] == pytest.approx((scores - neutral)[order], abs=2e-6)


@pytest.fixture(scope="module")
def known(nano: Any, cache_of_module: Path) -> Known:
    """With all that the tests need in the cache: then no command has to load the model."""
    cache = clipcli.FeatureCache(cache_of_module)
    list(clipcli.encode(EXAMPLES, nano, cache=cache))
    single = ["a cat", "a fish", "a house", "a key", "an animal", "the sun", "a photo"]
    features_of_texts(single, nano, cache=cache)
    features_of_texts(["cat"], nano, DRAWN, cache)
    cache.close()
    return Known(nano)


def searched(run_cli: Cli, *arguments: object, code: int = 0) -> list[dict[str, str]]:
    """The rows that a run printed."""
    result = run_cli("search", *arguments, *NANO)
    assert result.code == code, result.err
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert not rows or list(rows[0])[:6] == COLUMNS
    return rows


# --- The same as brute force ---------------------------------------------------------------------


def test_a_text(run_cli: Cli, known: Known) -> None:
    rows = searched(run_cli, "a cat", EXAMPLES)
    known.check(rows, known.text("a cat"))
    assert Path(rows[0]["image"]).name.startswith("cat")
    assert {row["query"] for row in rows} == {"a cat"}


def test_an_image(run_cli: Cli, known: Known) -> None:
    rows = searched(run_cli, "--like", CAT, EXAMPLES, "-k", 5)
    known.check(rows, known.image(CAT), 5)
    assert rows[0]["image"] == CAT
    assert float(rows[0]["score"]) == pytest.approx(1)


def test_texts_and_images_with_weights_added_and_subtracted(run_cli: Cli, known: Known) -> None:
    terms = (
        "-e",
        "2:a cat",
        "-e",
        "a fish",
        "--like",
        f"0.5:{FISH}",
        "--minus",
        "1.5:the sun",
        "--minus",
        CAT,
    )
    rows = searched(run_cli, *terms, EXAMPLES, "-k", 58)
    query = 2 * known.text("a cat") + known.text("a fish") + 0.5 * known.image(FISH)
    known.check(rows, query - 1.5 * known.text("the sun") - known.image(CAT), 58)
    assert rows[0]["query"] == f"2:a cat + a fish + 0.5:{FISH} - 1.5:the sun - {CAT}"


def test_a_text_first_and_a_minus(run_cli: Cli, known: Known) -> None:
    rows = searched(run_cli, "an animal", "--minus", "a cat", EXAMPLES)
    known.check(rows, known.text("an animal") - known.text("a cat"))


def test_many_queries_from_a_file_make_one_table(run_cli: Cli, known: Known, tmp_path: Path) -> None:
    lines = ["a cat", "a house", "a key", "a cat"]
    (tmp_path / "queries.txt").write_text("\n".join(lines))
    rows = searched(run_cli, "--queries", tmp_path / "queries.txt", EXAMPLES, "-k", 3)
    assert len(rows) == 12
    for number, text in enumerate(lines):
        some = rows[3 * number : 3 * number + 3]
        assert {row["query"] for row in some} == {text}
        known.check(some, known.text(text), 3)


def test_templates_are_put_around_texts_and_averaged(run_cli: Cli, known: Known) -> None:
    rows = searched(run_cli, "cat", EXAMPLES, "-t", DRAWN[0], "-t", DRAWN[1])
    mean = known.text("a drawing of a cat.") + known.text("a cat")
    known.check(rows, mean)


def test_cuts(run_cli: Cli, known: Known) -> None:
    scores = np.sort(known.features @ known.text("a cat"))[::-1]
    for options, count in (
        (("--min-score", 0.1), int((scores >= 0.1).sum())),
        (("--within", 0.3), int((scores >= scores[0] - 0.3).sum())),
        (("--within", 0.3, "-k", 2), 2),
        (("--min-score", 0.99), 0),
    ):
        assert count < 58
        rows = searched(run_cli, "a cat", EXAMPLES, *options)
        known.check(rows, known.text("a cat"), count)


def test_new_images_known_ones_and_no_cache_give_the_same_bytes(
    run_cli: Cli, tmp_path: Path, known: Known
) -> None:
    """Also when some are in the matrix, some only in the cache, and some nowhere."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.csv", "*.md", "*.txt"))
    folder, cache = tmp_path / "examples", ("--cache", tmp_path / "cache")
    command = ("search", "a cat", folder, *NANO, "-k", 60)
    store = clipcli.FeatureCache(tmp_path / "cache")
    time.sleep(2)  # files that are newer have no version
    list(clipcli.encode(sorted(folder.iterdir())[::3], known.encoder, cache=store))
    assert len(clipcli.open_gallery(folder / "cat-2.png", known.encoder, cache=store)) == 1
    list(clipcli.encode(folder / "sun-1.png", known.encoder, cache=store))
    store.close()
    mixed, again, alone = (run_cli(*command, *more) for more in (cache, cache, ("--no-cache",)))
    assert mixed.out == again.out == alone.out
    assert mixed.out.count("\n") == 59
    assert "58 images" in alone.err
    assert "58 known from the cache, 0 new" in again.err
    assert "21 known from the cache, 37 new" in mixed.err


# --- What the cache knows ------------------------------------------------------------------------


def test_all_that_is_known_is_searched_and_what_is_gone_or_changed_is_passed_over(
    run_cli: Cli, tmp_path: Path, known: Known
) -> None:
    """More of them than are asked for at first: the best ones are those that are gone."""
    folder, cache = tmp_path / "images", tmp_path / "cache"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("*.csv", "*.md", "*.txt"))
    store = clipcli.FeatureCache(cache)
    time.sleep(2)  # files that are newer have no version
    list(clipcli.encode(folder, known.encoder, cache=store))
    features_of_texts(["a cat", "a photo"], known.encoder, cache=store)
    store.close()
    searched(run_cli, "a cat", EXAMPLES / "sun-1.png", "--cache", cache)  # the model's facts
    scores = known.features @ known.text("a cat")
    best = [Path(known.names[one]).name for one in np.argsort(-scores, kind="stable")]
    for name in best[:20:2]:
        (folder / name).unlink()
    shutil.copy(folder / best[-1], folder / best[1])
    left = [name for name in best[3:] if (folder / name).exists()]
    for options, expected in (
        (("-k", 2), left[:2]),
        (("-k", 30), left[:30]),
        (("--min-score", float(np.sort(scores)[19:21].mean())), left[:-20]),
        (
            ("--within", 0.02),
            [name for name in left if scores[named(known, name)] >= scores[named(known, left[0])] - 0.02],
        ),
    ):
        rows = searched(run_cli, "a cat", "--known", *options, "--cache", cache)
        assert [row["image"] for row in rows if "examples" not in row["image"]] == [
            str(folder / name) for name in expected
        ]


def named(known: Known, name: str) -> int:
    """The place of an example, by its name."""
    return known.names.index(str(EXAMPLES / name))


def test_a_content_with_several_names_is_found_by_each(run_cli: Cli, tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        shutil.copy(CAT, tmp_path / name)
    time.sleep(2)
    searched(run_cli, "a cat", tmp_path)
    rows = searched(run_cli, "a cat", "--known", "-k", 3)
    expected = sorted([CAT, str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    assert sorted(row["image"] for row in rows) == expected
    assert len({row["score"] for row in rows}) == 1


def test_known_images_are_those_of_the_same_model(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("search", "a cat", "--known", *NANO, "--exact-decode")
    assert result.code == 2
    assert "the cache knows no image that nano has encoded" in result.err


# --- Output --------------------------------------------------------------------------------------


def test_columns_of_a_table_travel_along_and_failures_have_rows(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    table = tmp_path / "products.csv"
    table.write_text(f"file,sku,rank\n{tmp_path}/broken.png,A1,x\n{CAT},A2,y\n{FISH},A3,z\n")
    output = [tmp_path / f"found.{suffix}" for suffix in ("csv", "jsonl", "parquet", "xlsx")]
    outputs = [part for path in output for part in ("-o", path)]
    result = run_cli("search", "a cat", "--from-file", table, *NANO, *outputs)
    assert result.code == 3
    frame = pd.read_csv(output[0])
    assert list(frame.columns) == [*COLUMNS, "sku", "input_rank"]
    assert frame.image.tolist() == [CAT, FISH, f"{tmp_path}/broken.png"]
    assert frame.sku.tolist() == ["A2", "A3", "A1"]
    assert frame.error.notna().tolist() == [False, False, True]
    assert frame["rank"].isna().tolist() == [False, False, True]
    lines = [json.loads(line) for line in output[1].read_text().splitlines()]
    assert [line["image"] for line in lines] == frame.image.tolist()
    assert pd.read_parquet(output[2]).image.tolist() == frame.image.tolist()
    (sheet,) = openpyxl.load_workbook(output[3]).worksheets
    assert sheet.title == "results"
    found = [row[2] for row in sheet.iter_rows(min_row=2)]
    assert [cell.value for cell in found] == frame.image.tolist()
    assert all(cell.hyperlink for cell in found)
    assert "1 failed" in result.err
    assert run_cli("search", "a cat", "--from-file", table, *NANO, "--allow-failures").code == 0


def test_a_page_shows_what_was_found(run_cli: Cli, tmp_path: Path) -> None:
    page, table = tmp_path / "cats.html", tmp_path / "cats.csv"
    result = run_cli("search", "a cat", EXAMPLES, *NANO, "-k", 3, "-o", page, "-o", table)
    assert result.code == 0, result.err
    content = json.loads(page.read_text().partition('id="data">')[2].partition("</script>")[0])
    found = pd.read_csv(table)
    assert content["names"] == found.image.tolist()
    assert content["labels"] == ["a cat"]
    assert [one[0][1] for one in content["ranked"]] == pytest.approx(found.score)
    assert content["columns"] == ["rank", "relative"]
    assert (content["title"], content["gallery"]) == ("a cat", True)
    assert f"wrote {table}, {page}" in result.err
    groups = run_cli("search", "--near-duplicates", 0.9, CAT, CAT, *NANO, "-o", page)
    assert groups.code == 0, groups.err
    assert '"labels":["group 1"]' in page.read_text()


def test_paths_for_other_programs(run_cli: Cli, tmp_path: Path, known: Known) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    odd = folder / "a\ncat.png"
    shutil.copy(CAT, odd)
    shutil.copy(FISH, folder / "fish.png")
    result = run_cli("search", "a cat", folder, *NANO, "-0")
    assert result.out == f"{odd}\0{folder}/fish.png\0"
    assert run_cli("search", "a cat", folder, *NANO, "--paths-only", "-k", 1).out == f"{odd}\n"
    (tmp_path / "q").write_text("a cat\na fish\n")
    several = run_cli(
        "search", "--queries", tmp_path / "q", folder, *NANO, "-0", "-o", tmp_path / "found.csv"
    )
    assert several.out == f"{odd}\0{folder}/fish.png\0", "each once"
    assert len(pd.read_csv(tmp_path / "found.csv")) == 4


def test_near_duplicates_are_listed_in_groups(run_cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, source in (("1-sun", "sun-1"), ("2-cat", "cat-2"), ("4-fish", "fish-5")):
        shutil.copy(EXAMPLES / f"{source}.png", folder / f"{name}.png")
    shutil.copy(folder / "2-cat.png", folder / "3-same.png")
    with Image.open(folder / "2-cat.png") as image:
        image.convert("RGB").resize((image.width * 2, image.height * 2)).save(folder / "5-larger.png")
    (folder / "6-broken.png").write_bytes(b"")
    result = run_cli("search", "--near-duplicates", 0.96, folder, *NANO)
    assert result.code == 3
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert list(rows[0]) == ["group", "image", "score", "error"]
    names = [(row["group"], Path(row["image"]).stem) for row in rows]
    assert names == [("1", "2-cat"), ("1", "3-same"), ("1", "5-larger"), ("", "6-broken")]
    assert [float(row["score"]) for row in rows[:2]] == pytest.approx([1, 1])
    assert 0.96 <= float(rows[2]["score"]) < 1
    assert "found: 3 images in 1 group\n" in result.err


def test_the_table_of_a_terminal(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = run_cli("search", "a cat", EXAMPLES, *NANO, "-k", 2).out
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    assert shown[0].split() == ["rank", "score", "relative", "image"]
    assert shown[1].split()[0] == "1"
    assert shown[1].split()[-1].endswith("cat-2.png")


# --- Use -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to search for"),
        ((EXAMPLES,), "the text comes first"),
        ((EXAMPLES, "a cat"), "the text comes first"),
        (("a cat",), "no images given"),
        (("a cat", "no-such-folder"), "no such file or folder"),
        (("a cat", EXAMPLES, "--like", EXAMPLES / "cat-1.jpg"), "write --query 'a cat'"),
        (("--like", "none.png", EXAMPLES), "no such image: none.png"),
        (("--like", "https://example.org/a.png", "--offline", EXAMPLES), "offline: nothing is read"),
        (("https://example.org/a.png", EXAMPLES), "is an address, not a text"),
        (("a cat", EXAMPLES, "--within", "3"), "--within must be a number from 0 to 2"),
        (("a cat", EXAMPLES, "--min-score", "60"), "--min-score must be a number from -1 to 1"),
        (("--near-duplicates", "0.9", "-e", "a cat", EXAMPLES), "searches for nothing"),
        (("--near-duplicates", "9", EXAMPLES), "--near-duplicates must be a number from -1 to 1"),
        (("-e", "a cat", "--minus", "a cat", EXAMPLES), "cancel each other out"),
        (("a cat", EXAMPLES, "-0", "-o", "-"), "cannot both go to standard output"),
        (("a cat", EXAMPLES, "--known"), "--known searches all images that the cache knows"),
        (("a cat", "--known", "--no-cache"), "--known needs the cache"),
        (("--near-duplicates", "0.9", "--known"), "among images that are named"),
    ],
)
def test_wrong_use_is_told(run_cli: Cli, arguments: tuple[object, ...], message: str) -> None:
    result = run_cli("search", *arguments, *NANO)
    assert result.code == 2, result.err
    assert message in result.err
    assert result.out == ""


def test_an_image_of_the_query_that_cannot_be_read_is_told(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    result = run_cli("search", "--like", tmp_path / "bad.png", EXAMPLES, *NANO)
    assert result.code == 2
    assert "bad.png cannot be searched for: " in result.err


def test_a_damaged_matrix_is_told_removed_and_made_again(run_cli: Cli, shared_cache: Path) -> None:
    command = ("search", "a house", EXAMPLES, *NANO)
    run_cli(*command)
    before = run_cli(*command).out
    path = max((shared_cache / "matrices").glob("*.f32"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[::4] = bytes(byte ^ 1 for byte in content[::4])  # every vector, by a little
    path.write_bytes(content)
    damaged = run_cli(*command)
    assert damaged.code == 1
    assert "was damaged, and has been removed" in damaged.err
    assert "Run it again" in damaged.err
    assert run_cli(*command).out == before
    assert "the same features as matrices for searching, 0." in run_cli("cache", "info").out


def test_torch_is_not_imported_when_all_is_known(run_cli: Cli, shared_cache: Path, tmp_path: Path) -> None:
    command = ["search", "a cat", "--like", CAT, str(EXAMPLES), *NANO, "--cache", str(shared_cache)]
    command[1:2] = ["-e", "a cat"]
    run_cli(*command)
    code = f"""
import sys
from clipcli.cli.app import main
sys.argv = ["clipcli", *{command!r}]
try:
    main()
except SystemExit as exit_:
    assert not exit_.code, exit_.code
heavy = {{"torch", "open_clip", "scipy", "sklearn", "pandas"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("query,rank,image")


# --- Python --------------------------------------------------------------------------------------


def test_a_gallery_is_searched_again_and_again(nano: Any, known: Known, shared_cache: Path) -> None:
    cache = clipcli.FeatureCache(shared_cache)
    gallery = clipcli.open_gallery(EXAMPLES, nano, cache=cache)
    assert len(gallery) == 58
    for text in ("a cat", "a house"):
        hits = clipcli.search(text, gallery, nano, top_k=3)
        scores = known.features @ known.text(text)
        assert [hit.image for hit in hits] == [known.names[one] for one in np.argsort(-scores)[:3]]
        assert hits == clipcli.search(text, EXAMPLES, nano, top_k=3, cache=cache)
    (group,) = gallery.near_duplicates(0.95)
    assert len(group) >= 2
    cache.close()


def test_images_in_memory_are_searched_and_searched_for(nano: Any, tmp_path: Path) -> None:
    with Image.open(CAT) as image, Image.open(FISH) as other:
        images = {"cat": image.convert("RGBA"), "fish": other.convert("RGBA"), "broken": b"x"}
    gallery = clipcli.open_gallery(images, nano)
    assert [failure.image for failure in gallery.failures] == ["broken"]
    (hit,) = clipcli.search("", gallery, nano, like=[images["fish"]], top_k=1)
    assert (hit.image, hit.query, hit.rank) == ("fish", "image", 1)
    assert hit.score == pytest.approx(1, abs=1e-6)
    away = clipcli.search(["a fish", "a cat"], gallery, nano, minus=[Path(CAT)], plus="a fish", top_k=1)
    assert [hit.image for hit in away] == ["fish", "fish"]
