"""The report in a browser: what a person sees and does, with the keyboard above all."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from browser import Opened, chromium
from PIL import Image

from clipcli.inputs.predictions import PredictedImage, RankedLabel
from clipcli.output.report.about import About
from clipcli.output.report.records import ReportImage, found
from clipcli.output.report.writer import ReportWriter
from clipcli.records import Hit, ImageFailure
from clipcli.scoring.evaluation import evaluate_classification

LABELS = ("cat", "dog", "receipt", 'a "quoted", label', "<b>bold</b>", "=1+1", "snow leopard", "Ägypten")
HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(2)</script>.png".replace("/", "\N{FRACTION SLASH}"),
    "\"quoted\" & 'single'.png",
    "100% #1?.png",
    "two  spaces, comma.png",
    "a:b.png",
    "Ünïcödé 猫.png",
    "line\nbreak.png",
    os.fsdecode(b"caf\xe9 \xff.png"),
)
COUNT = 300


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


def image_named(number: int) -> str:
    return HOSTILE[number] if number < len(HOSTILE) else f"photo-{number:03}.png"


def ranked(*scored: tuple[str, float]) -> tuple[RankedLabel, ...]:
    return tuple(RankedLabel(label, score, None) for label, score in scored)


def predicted(number: int) -> PredictedImage:
    """Most are cats or dogs with a good margin; of each ten one is doubtful, and a few have no label."""
    name, columns = image_named(number), {"sku": f"A-{number}", "price": 1.5 * number}
    if number % 50 == 20:
        return PredictedImage(name, (), "error", None, "truncated image", columns)
    best, other = ("cat", "dog") if number % 3 else ("dog", LABELS[3 + number % 5])
    score = 0.52 + 0.0001 * number if number % 10 == 5 else 0.8 + 0.0005 * number
    labels = ranked((best, score), (other, 0.9 * (1 - score)), ("receipt", 0.1 * (1 - score)))
    margin = labels[0].score - labels[1].score
    status = "unknown" if number % 100 == 42 else "ok"
    return PredictedImage(name, labels, status, margin, None, columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder whose name means something in an address; those of failures are no images."""
    folder = tmp_path_factory.mktemp("reports")
    images = folder / "images #1 100%"
    images.mkdir()
    for number in range(COUNT):
        path = images / image_named(number)
        if number % 50 == 20:
            path.write_bytes(b"no image")
        else:
            Image.new("RGB", (24, 16), (number % 256, 60, 120)).save(path)
    (images / image_named(30)).unlink()
    return folder


def written(path: Path, images: list[ReportImage], about: About) -> Path:
    writer = ReportWriter(path)
    writer.images = images
    writer.write(about)
    return path


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    """A report of 300 images."""
    places = [str(folder / "images #1 100%" / image_named(number)) for number in range(COUNT)]
    images = [ReportImage(predicted(number), path=places[number]) for number in range(COUNT)]
    return written(folder / "report.html", images, About("photos <&>", "nano", LABELS))


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> Path:
    """A report of an evaluation: each fifth cat is called a dog."""
    labels = ("cat", "dog", "receipt")
    target = np.array([number % 3 for number in range(60)])
    best = np.array([1 if number % 15 == 0 else number % 3 for number in range(60)])
    images = []
    for number, (true, index) in enumerate(zip(target.tolist(), best.tolist(), strict=True)):
        others = [label for label in labels if label != labels[index]]
        scored = ranked((labels[index], 0.7 + 0.001 * number), (others[0], 0.2), (others[1], 0.05))
        image = PredictedImage(image_named(number + 100), scored, "ok", 0.5, None, {})
        images.append(ReportImage(image, (labels[true],), str(folder / "images #1 100%" / image.image)))
    rank = (target != best).astype(int)
    figures = evaluate_classification(labels, target, best, rank, np.full(60, 0.7, np.float32))
    return written(folder / "evaluated.html", images, About("labelled", "nano", labels, figures))


@pytest.fixture(scope="module")
def window(browser: Any, report: Path) -> Iterator[Opened]:
    one = Opened(browser, report)
    yield one
    one.context.close()


@pytest.fixture
def opened(window: Opened, report: Path) -> Iterator[Opened]:
    """The report, with nothing corrected, in a window that several tests use."""
    window.open(report)
    yield window
    window.check()


@pytest.fixture
def evaluation(window: Opened, evaluated: Path) -> Iterator[Opened]:
    """The same for the evaluation."""
    window.open(evaluated)
    yield window
    window.check()


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(os.fsdecode(content), newline="")))


# --- Look ----------------------------------------------------------------------------------------


def test_what_needs_a_look_comes_first(opened: Opened) -> None:
    assert opened.text("#count") == "300 images"
    assert opened.text("h1") == "photos <&>"
    first = opened.names()
    failed = [number for number in range(COUNT) if number % 50 == 20]
    unknown = [number for number in range(COUNT) if number % 100 == 42]
    low = [number for number in range(COUNT) if number % 10 == 5]
    lowest = sorted(low, key=lambda number: predicted(number).margin)
    expected = [image_named(number) for number in [*failed, *unknown, *lowest]]
    assert first[: len(first) // 2] == expected[: len(first) // 2]
    assert "truncated image" in opened.text(f"#image-{failed[0]}")


def test_only_images_in_view_are_elements_and_the_last_can_be_reached(opened: Opened) -> None:
    assert opened.page.locator(".cell").count() < 80
    opened.press("End")
    opened.page.wait_for_selector("[aria-posinset='300'][aria-selected=true]")
    assert opened.page.locator(".cell").count() < 80
    opened.press("Home", "ArrowRight", "ArrowDown")
    columns = opened.page.evaluate("columns")
    assert columns > 2
    assert opened.page.get_attribute(".cell[aria-selected=true]", "aria-posinset") == str(columns + 2)


def test_filters_count_and_combine(opened: Opened) -> None:
    dogs = [number for number in range(COUNT) if number % 3 == 0 and number % 50 != 20]
    named = [number for number in dogs if number % 100 != 42]
    option = opened.page.locator("#labels .option", has_text="dog")
    assert option.inner_text().split() == ["dog", str(len(named))]
    option.click()
    assert opened.text("#count") == f"{len(named)} of 300 images"
    opened.press("/")
    opened.page.keyboard.type("PHOTO-1")
    hundreds = [number for number in named if 100 <= number < 200]
    assert opened.text("#count") == f"{len(hundreds)} of 300 images"
    opened.page.click(".chip")
    assert opened.text("#count") == "100 of 300 images"
    opened.page.locator("#shows .option", has_text="Not read").click()
    assert opened.names() == ["photo-120.png", "photo-170.png"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a-117", ["photo-117.png"]),
        ("猫", ["Ünïcödé 猫.png"]),
        ("ÜNÏCÖDÉ", ["Ünïcödé 猫.png"]),
        ("zebra", []),
    ],
)
def test_search_finds_names_and_columns(opened: Opened, words: str, found: list[str]) -> None:
    opened.page.fill("#search", words)
    assert opened.names() == found
    assert opened.page.locator("#empty").is_visible() == (not found)


def test_search_finds_corrected_labels(opened: Opened) -> None:
    opened.press("0")
    opened.page.fill("#search", "none of these")
    assert opened.text("#count") == "1 of 300 images"


def test_sorting(opened: Opened) -> None:
    scored = sorted((n for n in range(COUNT) if n % 50 != 20), key=lambda n: predicted(n).labels[0].score)
    for order, expected in (("score-up", scored), ("score-down", scored[::-1]), ("input", range(COUNT))):
        opened.page.select_option("#sort", order)
        names = [name.replace("\n", " ") for name in opened.names()]
        wanted = [image_named(number) for number in list(expected)[: len(names)]]
        assert names[10:] == wanted[10 : len(names)], order
    opened.page.select_option("#sort", "name-down")
    assert opened.names()[:3] == ["Ünïcödé 猫.png", "two  spaces, comma.png", "photo-299.png"]


def test_the_overview_leads_to_images(opened: Opened) -> None:
    opened.press("v")
    assert opened.page.get_attribute("#tab-overview", "aria-selected") == "true"
    assert "from 0.520 to 0.950" in str(opened.page.locator(".histogram").first.get_attribute("aria-label"))
    opened.page.locator(".histogram").first.locator(".column").first.click()
    low = [number for number in range(COUNT) if number % 10 == 5]
    within = [number for number in low if predicted(number).labels[0].score <= 0.55]
    assert opened.text("#count") == f"{len(within)} of 300 images"
    opened.press("v")
    opened.page.locator(".range input").first.fill("0.9")
    opened.page.locator(".range button").first.click()
    above = [
        number for number in range(COUNT) if number % 50 != 20 and predicted(number).labels[0].score >= 0.9
    ]
    assert opened.text("#count") == f"{len(above)} of 300 images"
    opened.press("v")
    opened.page.locator(".counts .link").first.click()
    assert opened.text(".chip").startswith("cat")


# --- One image -----------------------------------------------------------------------------------


def test_names_are_shown_as_text_and_lead_to_their_files(opened: Opened, folder: Path) -> None:
    """The file itself is shown, not only its thumbnail, so the link is right."""
    opened.page.select_option("#sort", "input")
    opened.press("Home", "Enter")
    for hostile in HOSTILE:
        name = hostile.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        assert opened.page.locator("#large-name").text_content() == name
        address = opened.page.evaluate("document.getElementById('open').href")
        path = unquote_to_bytes(urlsplit(address).path)
        assert path == os.fsencode(folder / "images #1 100%" / hostile)
        opened.wait("byId('large-image').complete && byId('large-image').naturalWidth === 24")
        assert opened.page.evaluate("document.getElementById('large-image').currentSrc") == address
        assert opened.page.locator("#large-note").inner_text() == ""
        opened.press("ArrowRight")


def test_an_image_that_is_gone_is_shown_as_its_labels(opened: Opened) -> None:
    opened.page.fill("#search", "photo-030")
    opened.press("Enter", "Enter")
    opened.page.wait_for_selector("#large-note:not(:empty)")
    assert "lies elsewhere" in opened.text("#large-note")
    assert opened.text("#ranked").split()[:2] == ["1", "dog"]
    assert opened.text("#cells").split() == ["sku", "A-30", "price", "45.0"]
    opened.forgive("ERR_FILE_NOT_FOUND")


def test_a_thumbnail_is_shown_of_a_file_that_is_moved(opened: Opened) -> None:
    opened.page.evaluate("report.addresses.fill('elsewhere.png')")
    opened.page.fill("#search", "photo-031")
    opened.press("Enter", "Enter")
    opened.page.wait_for_selector("#large-note:not(:empty)")
    assert "A thumbnail" in opened.text("#large-note")
    assert opened.page.evaluate("document.getElementById('large-image').naturalWidth") == 24
    opened.forgive("ERR_FILE_NOT_FOUND")


def test_an_image_that_is_no_file_of_its_own_has_its_thumbnail_and_no_link(opened: Opened) -> None:
    opened.page.evaluate("report.addresses.fill('')")
    opened.page.fill("#search", "photo-031")
    opened.press("Enter", "Enter")
    opened.page.wait_for_selector("#large-note:not(:empty)")
    assert opened.text("#large-note") == "A thumbnail: the image is no file of its own."
    assert opened.page.evaluate("document.getElementById('large-image').naturalWidth") == 24
    assert opened.page.evaluate("document.getElementById('open').hidden")


def test_walking_through_images_and_copying_a_path(opened: Opened, browser: Any) -> None:
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.page.select_option("#sort", "input")
    opened.press("Home", "Enter", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert opened.text("#position") == "2 of 300"
    opened.page.click("#next")
    opened.page.click("#copy")
    opened.page.wait_for_selector("#toast.visible")
    assert opened.page.evaluate("navigator.clipboard.readText()") == HOSTILE[2]
    opened.press("Escape")
    assert not opened.page.locator("#large").is_visible()
    assert opened.page.get_attribute(".cell[aria-selected=true]", "aria-posinset") == "3"


# --- Corrections ---------------------------------------------------------------------------------


def test_corrections_by_keyboard_go_to_a_file(opened: Opened) -> None:
    opened.page.select_option("#sort", "input")
    opened.press("Home", "2")  # the second label, in the grid
    opened.press("ArrowRight", "1")  # confirms
    opened.press("ArrowRight", "Enter", "x", "ArrowRight", "3", "Escape")  # in the large view
    opened.press("ArrowRight", "2", "u")  # undone
    opened.press("ArrowRight", "l")
    opened.page.keyboard.type("snow")
    opened.press("Enter")
    opened.press("ArrowRight", "l")
    opened.page.keyboard.type("a brand new label")
    opened.press("Enter")
    opened.press("ArrowRight", "ArrowRight", "1")
    assert opened.text("#export") == "Export 7 corrections"
    content = opened.exported()
    assert rows(content) == [
        ["image", "label", "was"],
        [HOSTILE[0], 'a "quoted", label', "dog"],
        [HOSTILE[1], "cat", "cat"],
        [HOSTILE[2], "", "cat"],
        [HOSTILE[3], "receipt", "dog"],
        [HOSTILE[5], "snow leopard", "cat"],
        [HOSTILE[6], "a brand new label", "dog"],
        [r"caf\xe9 \xff.png", "cat", "cat"],
    ]
    assert content.count(b"\r\n") == len(rows(content))


def test_what_is_corrected_shows_as_changed_or_confirmed(opened: Opened) -> None:
    opened.page.select_option("#sort", "input")
    opened.press("Home", "2", "ArrowRight", "1", "ArrowRight", "0")
    assert "changed" in opened.text("#image-0")
    assert "was dog" in opened.text("#image-0")
    assert "confirmed" in opened.text("#image-1")
    assert "none of these" in opened.text("#image-2")
    assert opened.active().endswith("changed, set to none of these")
    opened.page.locator("#shows .option", has_text="Corrected").click()
    assert opened.text("#count") == "3 of 300 images"
    opened.page.click("#grid .cell >> nth=0")
    assert opened.page.get_attribute("#ranked .rank >> nth=1", "aria-pressed") == "true"
    opened.page.click("#ranked .rank >> nth=0")
    assert opened.text("#large-state").startswith("confirmed")
    opened.page.click("#undo")
    assert opened.text("#large-state").startswith("changed")


def test_the_keyboard_stays_on_a_label_that_it_sets(opened: Opened) -> None:
    opened.press("End", "Enter")
    opened.page.locator("#ranked .rank").nth(1).focus()
    opened.press("Enter")
    assert opened.page.locator("#ranked .rank").nth(1).get_attribute("aria-pressed") == "true"
    assert (
        opened.page.evaluate("[...document.querySelectorAll('.rank')].indexOf(document.activeElement)") == 1
    )


def test_corrections_stay_after_reloading_and_none_of_another_report(opened: Opened, evaluated: Path) -> None:
    opened.press("2", "ArrowRight", "0", "ArrowRight", "l")
    opened.page.keyboard.type("brand new")
    opened.press("Enter")
    before = opened.exported()
    opened.page.reload()
    assert opened.exported() == before
    opened.page.goto(evaluated.as_uri())
    assert opened.page.locator("#export").is_disabled()
    opened.page.goto(opened.file.as_uri())
    assert opened.exported() == before


def test_an_exported_file_can_be_imported(opened: Opened, browser: Any, report: Path, tmp_path: Path) -> None:
    opened.page.select_option("#sort", "input")
    for key in ("1", "2", "3", "0", "1", "2", "3", "0", "1"):
        opened.press(key, "ArrowRight")
    content = opened.exported()
    file = tmp_path / "corrections.csv"
    file.write_bytes(b"\xef\xbb\xbf" + content + b"elsewhere.png,cat,dog\r\n")
    other = Opened(browser, report)
    other.page.set_input_files("#import-file", file)
    other.page.wait_for_selector("#toast.visible")
    assert other.text("#toast") == "9 corrections imported, 1 row of other images left out"
    assert other.exported() == content
    other.close()


def test_a_file_without_corrections_is_refused(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    opened.page.set_input_files("#import-file", tmp_path / "other.csv")
    opened.page.wait_for_selector("#toast.visible")
    assert opened.text("#toast") == "other.csv has no columns image and label"
    assert opened.page.locator("#export").is_disabled()


def test_a_browser_that_keeps_nothing_says_so(browser: Any, report: Path) -> None:
    one = Opened(browser, report)
    one.page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    one.press("x")
    assert "export corrections before you close the page" in one.text("#toast")
    assert len(rows(one.exported())) == 2
    one.close()


def test_images_of_one_name_are_corrected_together(browser: Any, folder: Path) -> None:
    images = [ReportImage(predicted(number)) for number in (11, 13, 11)]
    one = Opened(browser, written(folder / "twice.html", images, About("twice")))
    one.page.select_option("#sort", "input")
    one.press("Home", "2")
    assert "changed" in one.text("#image-2")
    assert rows(one.exported())[1:] == [["photo-011.png", "dog", "cat"]]
    one.close()


# --- Evaluation ----------------------------------------------------------------------------------


def test_wrong_images_come_first_and_figures_are_shown(evaluation: Opened) -> None:
    wrong = [number for number in range(60) if number % 15 == 0]
    assert evaluation.names()[:4] == [image_named(number + 100) for number in reversed(wrong)]
    assert "true: cat" in evaluation.text(f"#image-{wrong[0]}")
    evaluation.page.locator("#shows .option", has_text="Wrong").click()
    assert evaluation.text("#count") == "4 of 60 images"
    evaluation.press("v")
    assert "93.3 %\ntop-1" in evaluation.text(".tiles")


def test_the_confusion_matrix_leads_to_its_images_by_keyboard(evaluation: Opened) -> None:
    evaluation.press("v")
    cells = evaluation.page.locator(".matrix td")
    counts = [cells.nth(index).inner_text() for index in range(9)]
    assert counts == ["16", "4", "", "", "20", "", "", "", "20"]
    cells.nth(0).focus()
    evaluation.press("ArrowRight", "Enter")
    assert evaluation.text("#count") == "4 of 60 images"
    assert evaluation.text(".chip").startswith("cat taken for dog")
    evaluation.press("v")
    evaluation.page.locator(".pairs .link").first.click()
    assert evaluation.text("#count") == "4 of 60 images"


def test_correcting_the_truth_counts_anew(evaluation: Opened) -> None:
    evaluation.press("1")  # the best label is right after all
    assert rows(evaluation.exported())[1:] == [["photo-145.png", "dog", "cat"]]
    evaluation.press("v")
    assert "95.0 % of 60 right" in evaluation.text(".tiles")
    assert evaluation.page.locator(".matrix td").nth(1).inner_text() == "3"


def test_a_gallery_shows_what_was_found_and_has_nothing_to_correct(browser: Any, folder: Path) -> None:
    places = [str(folder / "images #1 100%" / image_named(number)) for number in (6, 0, 31)]
    hits = [
        Hit("a <b>cat</b>", rank, place, 0.4 - 0.1 * rank, 0.01, {}) for rank, place in enumerate(places, 1)
    ]
    failed = ImageFailure(str(folder / "none.png"), "No such file or directory")
    about = About("a <b>cat</b>", "nano", is_gallery=True)
    one = Opened(browser, written(folder / "gallery.html", [*found(hits, [failed])], about))
    names = [one.page.evaluate(f"fileName(selection[{place}])") for place in range(4)]
    assert names == [*map(image_named, (6, 0, 31)), "none.png"]
    assert one.page.locator("#labels .text").all_inner_texts() == ["a <b>cat</b>"]
    assert not any(one.page.locator(f"#{name}").is_visible() for name in ("export", "import", "tab-overview"))
    one.press("1", "0", "l")
    assert one.page.evaluate("corrections.size") == 0
    one.press("Enter")
    one.page.locator("#ranked button").first.click()
    assert one.page.evaluate("corrections.size") == 0
    assert not one.page.locator("#none").is_visible()
    one.close()


def test_a_gallery_of_nothing(browser: Any, folder: Path) -> None:
    one = Opened(browser, written(folder / "nothing.html", [], About("nothing found", is_gallery=True)))
    assert one.page.locator("#count").inner_text() == "0 images"
    one.press("ArrowRight", "Enter", "/")
    one.close()


def test_many_classes_show_those_that_are_confused_most(browser: Any, folder: Path) -> None:
    names = [f"class {number}" for number in range(120)]
    target = np.repeat(np.arange(120), 2)
    best = np.where(np.arange(240) < 30, (target + 1) % 120, target)
    images = []
    for number, (true, index) in enumerate(zip(target.tolist(), best.tolist(), strict=True)):
        image = PredictedImage(
            f"{number}.png", ranked((names[index], 0.9), (names[true - 1], 0.05)), "ok", 0.85, None, {}
        )
        images.append(ReportImage(image, (names[true],)))
    figures = evaluate_classification(
        names, target, best, (target != best).astype(int), np.full(240, 0.9, np.float32)
    )
    one = Opened(
        browser, written(folder / "many.html", images, About("many", labels=tuple(names), evaluation=figures))
    )
    one.press("v")
    assert one.page.locator(".matrix tbody tr").count() == 16
    assert "The 16 classes that are confused most, of 120." in one.text("#view-overview")
    assert one.page.locator("#label-search").is_hidden()
    one.press("v")
    one.page.fill("#label-search", "class 11")
    assert one.page.locator("#labels .option").count() == 11
    one.close()


# --- For everyone --------------------------------------------------------------------------------


def serious(opened: Opened) -> list[str]:
    """What axe-core finds that keeps people from using the page."""
    found = opened.page.evaluate("axe.run({resultTypes: ['violations']}).then((found) => found.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in found
        if one["impact"] in ("serious", "critical", "moderate")
    ]


@pytest.mark.parametrize(
    ("scheme", "width", "kind"),
    [
        ("light", 1200, "report"),
        ("dark", 390, "evaluated"),
        pytest.param("dark", 1200, "report", marks=pytest.mark.long),
        pytest.param("light", 390, "report", marks=pytest.mark.long),
        pytest.param("light", 1200, "evaluated", marks=pytest.mark.long),
    ],
)
def test_axe_finds_nothing(
    browser: Any, request: pytest.FixtureRequest, scheme: str, width: int, kind: str
) -> None:
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    file = request.getfixturevalue(kind)
    one = Opened(browser, file, color_scheme=scheme, viewport={"width": width, "height": 800})
    one.page.evaluate(f"() => {{ {axe} }}")
    one.press("2", "ArrowRight", "1")
    one.page.wait_for_timeout(300)  # the message has appeared
    assert serious(one) == []
    for keys in (("Enter",), ("l",), ("Escape", "Escape", "?"), ("Escape", "v")):
        one.press(*keys)
        assert serious(one) == [], keys
    one.close()


def test_narrow_screens_show_everything_without_scrolling_sideways(browser: Any, report: Path) -> None:
    one = Opened(browser, report, viewport={"width": 360, "height": 740}, has_touch=True)
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert one.page.evaluate("columns") == 2
    assert not one.page.evaluate(wide)
    one.page.tap(".cell >> nth=3")
    one.page.tap("#ranked .rank >> nth=1") if one.page.locator("#ranked .rank").count() else one.page.tap(
        "#none"
    )
    assert not one.page.evaluate(wide)
    one.page.tap("#close")
    one.page.tap("summary")
    one.page.locator("#labels .option", has_text="dog").tap()
    assert "of 300" in one.text("#count")
    one.press("v")
    assert not one.page.evaluate(wide)
    one.close()


def test_the_keyboard_alone_reaches_everything(opened: Opened) -> None:
    opened.press("?")
    assert opened.page.locator("#help-dialog").is_visible()
    opened.press("Escape", "/")
    opened.page.keyboard.type("photo-2")
    opened.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "grid"
    opened.press("Shift+Tab")
    assert opened.page.evaluate("document.activeElement.id") == "sort"
    seen = set()
    for _ in range(25):
        opened.press("Shift+Tab")
        seen.add(opened.page.evaluate("document.activeElement.id || document.activeElement.dataset.key"))
    assert {"search", "label-0", "look", "threshold", "tab-images", "import", "help"} <= seen


def test_a_policy_keeps_the_network_out(opened: Opened) -> None:
    fetched = opened.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'fetched', (error) => 'refused')")
    assert fetched == "refused"
    opened.forgive("Content Security Policy")


# --- Many images ---------------------------------------------------------------------------------


@pytest.mark.long
def test_20_000_images_are_shown_at_once(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(200):
        Image.new("RGB", (40, 30), (number, 60, 120)).save(tmp_path / "images" / f"{number}.png")
    images = []
    for number in range(20_000):
        name = f"images/part-{number % 200:03}/photo-{number:05}.jpg"
        one = replace(predicted(number % 200), image=name)
        images.append(ReportImage(one, path=str(tmp_path / "images" / f"{number % 200}.png")))
    opened = Opened(browser, written(tmp_path / "report.html", images, About("many", "nano", LABELS)))
    interactive = opened.page.evaluate("Number(document.documentElement.dataset.ready)")
    opened.wait("texts.length === COUNT")
    timed = """() => {
      const start = performance.now();
      act();
      grid.getBoundingClientRect();
      return performance.now() - start;
    }"""
    assert opened.page.evaluate("document.querySelectorAll('.cell img').length") > 0
    acts = {
        "label": "filters.labels.add(0); refresh()",
        "search": "filters.labels.clear(); filters.words = ['photo-1', 'cat']; refresh()",
        "low margins": "clearFilters(); filters.show = LOOK; refresh()",
        "order": "clearFilters(); sortedBy = 'score-up'; orders.clear(); refresh()",
    }
    times = {name: opened.fastest(timed.replace("act();", f"{act};")) for name, act in acts.items()}
    opened.press("End")
    opened.page.wait_for_selector("[aria-posinset='20000'][aria-selected=true] img")
    opened.wait("document.querySelector('[aria-selected=true] img').naturalWidth === 40")
    with capsys.disabled():
        told = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in times.items())
        sys.stdout.write(f"\n20,000 images: interactive after {interactive} ms; {told}\n")
    assert interactive < 1500
    assert max(times.values()) < 100, times
    opened.close()
