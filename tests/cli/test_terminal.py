"""What a real terminal shows: tables of any width, names as they are, help pages, and the bar."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, Result
from rich.cells import cell_len
from terminal import on_terminal

from clipcli.cli.tables import PredictionTable, laid_out
from clipcli.records import ImageFailure, ImagePredictions, Prediction

pytestmark = pytest.mark.usefixtures("shared_cache")

NANO = ("-m", "nano", "--device", "cpu", "--precision", "fp32")
LABELS = ["cat", "golden retriever with a ball", ":x: [bold]sun[/]", "house", "bicycle"]
SCORE = re.compile(r"(?<= )[01]\.\d{3}(?= |$)")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with names of any length, and with what is markup or an emoji elsewhere."""
    folder = tmp_path_factory.mktemp("a folder with a long name") / "below" / "another"
    folder.mkdir(parents=True)
    for name in ("cat.jpg", ":dog: [red]x.jpg", "猫" * 20 + ".jpg", "n" * 120 + ".jpg"):
        shutil.copy(EXAMPLES / "cat-1.jpg", folder / name)
    return folder


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_table_fits_its_terminal_and_shows_labels_and_scores_whole(photos: Path, columns: int) -> None:
    options = [option for label in LABELS for option in ("--label", label)]
    shown = on_terminal("classify", photos, *options, *NANO, columns=columns)
    assert shown.code == 0, shown.text
    header = next(number for number, line in enumerate(shown.lines) if line.lstrip().startswith("image "))
    ranks = int(shown.lines[header].split()[-1].removesuffix("."))
    lines = shown.lines[header + 1 : header + 5]
    for line, name in zip(lines, [".jpg"] * 4, strict=True):
        assert cell_len(line) <= columns
        assert name in line, "names lose their beginning, not their end"
        assert len(SCORE.findall(line)) == ranks, line
        shown_labels = [label for label in LABELS if label in line]
        assert len(shown_labels) >= ranks or (columns == 40 and "golden retriever" in line), line
    assert ranks >= {40: 1, 60: 1, 80: 1, 200: 5}[columns]
    if ranks < 5:
        assert f"shown: the best {ranks} of 5 labels" in shown.text
    best = re.findall(r"\x1b\[1m(.*?)\x1b\[0m", shown.raw)
    assert len([text for text in best if SCORE.search(text)]) == 4, "the best label of each is bold"


@pytest.mark.parametrize(
    ("width", "room", "ranks"),
    [(80, 32, 3), (65, 32, 3), (64, 31, 3), (49, 16, 3), (48, 26, 2), (38, 16, 2), (37, 26, 1), (20, 9, 1)],
)
def test_names_are_shortened_so_that_ranks_fit(width: int, room: int, ranks: int) -> None:
    name, row = "photos/a-name-of-some-length.jpg", [("cat", "0.900"), ("dog", "0.090"), ("sun", "0.010")]
    lines, shown = laid_out(["image", name], [[("1.", ""), ("2.", ""), ("3.", "")], row], width)
    beginning = name if room == len(name) else "…" + name[1 - room :]
    assert lines[1].plain == "  ".join([beginning, *(f"{label} {score}" for label, score in row[:ranks])])
    assert lines[0].plain.split() == ["image", "1.", "2.", "3."][: ranks + 1]
    assert shown == ranks


@pytest.mark.parametrize("width", [8, 12, 20, 30])
def test_no_score_is_ever_cut(width: int) -> None:
    lines, ranks = laid_out(["image", "a" * 50], [[("1.", "")], [("a label of many words", "0.123")]], width)
    assert ranks == 1
    assert lines[1].plain.endswith(" 0.123")


def test_a_failed_image_has_its_line() -> None:
    lines, _ = laid_out(["image", "a.jpg"], [[("1.", ""), ("2.", "")], [("(failed)", "")]], 80)
    assert lines[1].plain == "a.jpg  (failed)"


def test_a_label_below_a_threshold_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    ranked = (Prediction("a.jpg", 1, "cat", 0.5, 0.3), Prediction("a.jpg", 2, "dog", 0.375, 0.2))
    certain = ImagePredictions("a.jpg", ranked, np.ones(2, np.float32))
    table = PredictionTable(2)
    for outcome in (certain, certain._replace(status="unknown"), ImageFailure("a.jpg", "empty file")):
        table.add(outcome)
    table.print()
    shown = [re.split("  +", line.strip()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == [
        ["a.jpg", "cat 0.500", "dog 0.375"],
        ["a.jpg", "(unknown) cat 0.500", "dog 0.375"],
        ["a.jpg", "(failed)"],
    ]


def test_names_and_labels_are_neither_emoji_nor_markup(photos: Path) -> None:
    shown = on_terminal(
        "classify", photos, "--label", ":x: [bold]sun[/]", "--label", "cat", *NANO, columns=200
    )
    assert ":dog: [red]x.jpg" in shown.text
    assert ":x: [bold]sun[/]" in shown.text
    broken = photos.parent / ":skull: [b].jpg"
    broken.write_bytes(b"")
    shown = on_terminal("classify", broken, "-l", "cat,dog", *NANO, columns=200)
    assert f"warning: {broken}: empty file" in shown.text


def test_no_bar_mixes_with_rows_on_the_same_terminal(photos: Path) -> None:
    shown = on_terminal("classify", photos, "-l", "cat,dog", *NANO, "--no-cache", "--format", "csv", "-b", 1)
    before, header, rows = shown.raw.partition("image,rank,label,score,cosine,error,status,margin\r\n")
    assert header
    assert "loading nano" in before
    assert before.endswith("\x1b[2K"), "what was shown before is cleared"
    written = rows.partition("4 images in")[0].replace("\r\n", "\n")
    assert "\r" not in written
    assert "\x1b" not in written
    assert len(written.splitlines()) == 8


def test_the_bar_is_cleared_before_the_table(photos: Path) -> None:
    shown = on_terminal("classify", photos, "-l", "cat,dog", *NANO, "--no-cache", "-b", 1)
    before, header, _ = shown.raw.partition("image ")
    assert header
    assert "4/4" in before
    assert before.endswith("\x1b[2K")


def test_a_list_leaves_out_what_it_has_no_room_for(run_cli: Callable[..., Result]) -> None:
    names = [line.split(",")[0] for line in run_cli("models", "list", "vit-b").out.splitlines()[1:]]
    shown_at = {}
    for columns in (60, 80, 160):
        shown_at[columns] = shown = on_terminal("models", "list", "vit-b", columns=columns)
        assert all(cell_len(line) <= columns for line in shown.lines[:-1])
        assert not [name for name in names if name not in shown.text.split()], "names are whole"
        assert ("not shown, for want of room: " in shown.text) == (columns < 160)
    assert "licence, cached, note" in shown_at[80].text


def test_help_pages_name_no_types_of_python(run_cli: Callable[..., Result]) -> None:
    import typer

    from clipcli.cli.app import app

    def commands_of(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = getattr(group, "commands", {})
        return [path, *(found for name, one in inner.items() for found in commands_of(one, (*path, name)))]

    for words in commands_of(typer.main.get_command(app)):
        page = run_cli(*words, "--help").out
        assert not re.findall(r"<[a-z\[\]|0-9]+>|\.\.\.\]\.\.\.", page), words
    page = on_terminal("classify", "--help", columns=80).text
    assert all(cell_len(line) <= 80 for line in page.splitlines())
    assert "clipcli[gpu-decode]" in re.sub(r"\s+", "", page.replace("│", ""))
    assert "--max-pixels          N" in page
