"""What a report is made of: thumbnails, addresses, data that no text breaks out of, complete files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from colour_profiles import PROFILE
from fakes import FakeEncoder
from PIL import ExifTags, Image

import clipcli
from clipcli.errors import ImageError, OutputError, UsageError
from clipcli.images.decode import decode
from clipcli.inputs.predictions import PredictedImage, RankedLabel
from clipcli.output.report import page, thumbnails, writer
from clipcli.output.report.about import About
from clipcli.output.report.records import Judged, ReportImage, predicted
from clipcli.output.report.writer import ReportWriter
from clipcli.records import ImageFailure, Preprocess
from clipcli.scoring.targets import match_truths

TEST = About("test")
OK = PredictedImage(
    "a.png", (RankedLabel("cat", 0.75, 0.3), RankedLabel("dog", 0.25, 0.2)), "ok", 0.5, None, {}
)


def data_of(path: Path) -> dict[str, Any]:
    """The data in a page, as a browser would read it."""
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S
    )
    return json.loads(text)


def blocks_of(path: Path) -> list[Any]:
    found = re.findall(r'id="thumbnails-\d+">(.*?)</script>', path.read_text("utf-8"))
    return [one for block in found for one in json.loads(block)]


def written(path: Path, *images: ReportImage, about: About = TEST) -> Path:
    one = ReportWriter(path)
    one.images = list(images)
    one.write(about)
    return path


def stored(folder: Path, name: str, size: tuple[int, int] = (20, 10), **options: Any) -> str:
    Image.new("RGB", size, (200, 30, 40)).save(folder / name, **options)
    return str(folder / name)


# --- Thumbnails ----------------------------------------------------------------------------------


def opened(thumbnail: thumbnails.Thumbnail) -> Image.Image:
    assert isinstance(thumbnail, bytes)
    return Image.open(io.BytesIO(thumbnail))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((20, 10), (20, 10)), ((1600, 800), (160, 80)), ((800, 1600), (80, 160)), ((3000, 5), (160, 1))],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_thumbnails_are_small_and_never_larger_than_the_image(
    tmp_path: Path, name: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = opened(thumbnails.thumbnail(stored(tmp_path, name, size)))
    assert (image.format, image.size) == ("WEBP", expected)
    assert np.abs(np.asarray(image.convert("RGB"), int) - (200, 30, 40)).max() < 12


def test_thumbnails_are_upright_and_srgb_without_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "secret"
    Image.new("RGB", (40, 20), (60, 200, 90)).save(tmp_path / "a.jpg", exif=exif, icc_profile=PROFILE)
    made = thumbnails.thumbnail(str(tmp_path / "a.jpg"))
    assert isinstance(made, bytes)
    assert not [name for name in (b"ICCP", b"EXIF", b"XMP ") if name in made]
    Image.new("RGB", (40, 20)).save(tmp_path / "b.jpg", exif=exif, icc_profile=b"damaged")
    assert b"ICCP" not in thumbnails.thumbnail(str(tmp_path / "b.jpg"))  # type: ignore[operator]
    assert opened(made).size == (20, 40)
    seen = decode((tmp_path / "a.jpg").read_bytes(), Preprocess(size=(8, 8)))[4, 4].astype(int)
    assert np.abs(seen - (60, 200, 90)).max() > 20, "the profile says another green"
    assert np.abs(np.asarray(opened(made).convert("RGB"), int)[20, 10] - seen).max() < 8


def test_a_truncated_image_shows_what_there_is_and_others_say_why_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert opened(thumbnails.thumbnail(str(tmp_path / "a.jpg"))).size == (160, 160)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    missing, damaged, large = (
        thumbnails.thumbnail(str(tmp_path / "c.jpg")),
        thumbnails.thumbnail(str(tmp_path / "b.jpg")),
        thumbnails.thumbnail(stored(tmp_path, "d.png"), max_pixels=100),
    )
    assert isinstance(missing, ImageError) and missing.message == "no such file"
    assert isinstance(damaged, ImageError)
    assert isinstance(large, ImageError) and "too large" in large.message


def test_thumbnails_keep_the_order_of_the_images(tmp_path: Path) -> None:
    paths = [stored(tmp_path, f"{n}.png", (n + 1, 2 if n % 2 else 900)) for n in range(20)]
    sizes = [opened(one).size for one in thumbnails.thumbnails(paths, workers=4)]
    assert [size[1] for size in sizes] == [2 if n % 2 else 160 for n in range(20)]


# --- In the page or beside it --------------------------------------------------------------------


def images_in(folder: Path, count: int) -> list[ReportImage]:
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(folder / name, lossless=True)
    return [ReportImage(replace(OK, image=name), path=str(folder / name)) for name in names]


def test_thumbnails_of_few_images_are_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images = images_in(tmp_path / "images", 205)
    images[7] = images[7]._replace(path="gone.png")
    report = written(tmp_path / "report.html", *images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "report.html"]
    blocks = blocks_of(report)
    assert len(blocks) == 205
    assert blocks[7] is None
    reds = [np.asarray(opened(base64.b64decode(one)).convert("RGB"))[5, 10, 0] for one in blocks if one]
    assert np.abs(np.array(reds, int) - [n for n in range(205) if n != 7]).max() < 12


def test_thumbnails_of_many_images_lie_beside_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_INSIDE", 3)
    (tmp_path / "images").mkdir()
    images = images_in(tmp_path / "images", 4)
    report = written(tmp_path / "a report.html", *images)
    data = data_of(report)
    folder = tmp_path / "a report_files"
    assert data["folder"] == "a%20report_files"
    assert [(folder / name).exists() for name in data["thumbnails"]] == [True] * 4
    assert blocks_of(report) == []

    (folder / "notes.txt").write_text("mine")
    written(tmp_path / "a report.html", *images[2:], *images[2:])
    assert {path.name for path in folder.iterdir()} == {*data["thumbnails"][2:], "notes.txt"}
    written(tmp_path / "a report.html", *images[:3])
    assert [path.name for path in folder.iterdir()] == ["notes.txt"], "those in the page need no files"
    (folder / "notes.txt").unlink()
    written(tmp_path / "a report.html", *images[:3])
    assert not folder.exists()


def test_a_report_that_cannot_be_made_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_INSIDE", 1)
    (tmp_path / "images").mkdir()
    images = images_in(tmp_path / "images", 5)
    report = written(tmp_path / "report.html", *images[:3])
    before = report.read_bytes()

    def full(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "render", full)
    with pytest.raises(OutputError, match="No space left"):
        written(report, *images[3:])
    assert report.read_bytes() == before
    assert all((tmp_path / "report_files" / name).exists() for name in data_of(report)["thumbnails"])
    assert not list(tmp_path.glob("*.partial"))


def test_no_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        ReportWriter(tmp_path / "none" / "report.html")


# --- The page ------------------------------------------------------------------------------------

BREAKING = "</script><script>alert(1)</script><!-- & \u2028 \" ' \\ {{ 7*7 }}"


def test_no_text_breaks_out_of_the_page(tmp_path: Path) -> None:
    image = PredictedImage(
        BREAKING + "\udcff.png", (RankedLabel(BREAKING, 0.5, None),), "ok", None, None, {BREAKING: BREAKING}
    )
    failed = PredictedImage("b.png", (), "error", None, BREAKING, {})
    about = About(BREAKING, BREAKING, (BREAKING, "half \ud800"))
    report = written(tmp_path / "report.html", ReportImage(image), ReportImage(failed), about=about)
    text = report.read_text(encoding="utf-8")
    assert text.count("alert(1)") == text.count("\\u003cscript\\u003ealert(1)") + text.count(
        "&lt;script&gt;alert(1)"
    )
    assert "\u2028" not in text.partition('id="data">')[2]
    assert "{{ 7*7 }}" in text
    data = data_of(report)
    assert data["names"][0] == BREAKING + "\udcff.png"
    assert data["labels"] == [BREAKING, "half \ud800"]
    assert data["cells"][0] == [BREAKING]
    assert data["errors"] == {"1": BREAKING}


def test_the_policy_names_the_script_and_style_of_the_page(tmp_path: Path) -> None:
    text = written(tmp_path / "report.html", ReportImage(OK)).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1].replace("&#39;", "'")  # type: ignore[index]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy
    assert not re.search(
        r"\b(https?:)?//(?!www\.w3\.org/2000/svg)\w+\.\w", re.sub(r"(?m)^\s*//.*|; //.*", "", text)
    )


def test_the_script_is_all_of_its_files_and_makes_no_html_of_texts() -> None:
    folder = Path(page.__file__).parent / "page"
    assert {path.stem for path in folder.glob("*.js")} == set(page.SCRIPTS)
    for path in folder.iterdir():
        content = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=", content
        ), path


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    image = ReportImage(OK, path=stored(tmp_path, "a.png"))
    one, other = (written(tmp_path / name, image).read_bytes() for name in ("report.html", "again.html"))
    assert one == other


def test_the_digest_changes_with_what_is_shown(tmp_path: Path) -> None:
    digests = [
        data_of(written(tmp_path / "report.html", ReportImage(image), about=about))["digest"]
        for image, about in (
            (OK, About("one")),
            (OK, About("other title")),
            (replace(OK, image="b.png"), About("one")),
            (replace(OK, labels=OK.labels[::-1]), About("one")),
            (replace(OK, status="unknown"), About("one")),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_cells_of_any_type_are_texts(tmp_path: Path) -> None:
    columns = {
        "day": date(2024, 2, 29),
        "new": True,
        "price": 19.9,
        "count": 2**60,
        "none": None,
        "nan": float("nan"),
    }
    other = replace(OK, columns={"later": "x"})
    data = data_of(
        written(tmp_path / "r.html", ReportImage(replace(OK, columns=columns)), ReportImage(other))
    )
    assert data["columns"] == [*columns, "later"]
    assert data["cells"][0] == ["2024-02-29", "true", "19.9", str(2**60), "", "nan", ""]
    assert data["cells"][1] == [""] * 6 + ["x"]


def test_of_many_labels_the_best_are_shown_and_all_are_to_choose_from(tmp_path: Path) -> None:
    labels = tuple(RankedLabel(f"label {number}", 1 / (number + 2), None) for number in range(100))
    data = data_of(written(tmp_path / "r.html", ReportImage(replace(OK, labels=labels))))
    assert [data["labels"][label] for label, _ in data["ranked"][0]] == [f"label {n}" for n in range(20)]
    assert len(data["labels"]) == 100


def test_scores_that_are_missing_stay_missing(tmp_path: Path) -> None:
    image = replace(
        OK, labels=(RankedLabel("cat", None, None), RankedLabel("dog", float("nan"), None)), margin=None
    )
    data = data_of(written(tmp_path / "r.html", ReportImage(image)))
    assert data["ranked"] == [[[0, None], [1, None]]]
    assert data["margins"] == [None]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("reports/a.png", "a.png"),
        ("photos/a b.png", "../photos/a%20b.png"),
        ("photos/100% #1?.png", "../photos/100%25%20%231%3F.png"),
        ("reports/a:b.png", "a%3Ab.png"),
        (os.fsdecode(b"reports/caf\xe9.png"), "caf%E9.png"),
        ("reports/Ü.png", "%C3%9C.png"),
        ("reports//x/../a.png", "a.png"),
    ],
)
def test_addresses_are_relative_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert page.address(image, Path("reports/report.html")) == expected
    assert page.address(str(tmp_path / image), Path("reports/report.html")) == expected
    relative = os.fsdecode(unquote_to_bytes(expected))
    assert (Path("reports") / relative).resolve() == Path(image).resolve()


# --- From outcomes -------------------------------------------------------------------------------


def test_outcomes_of_a_run_become_images(pictures: Path) -> None:
    encoder = FakeEncoder(logit_scale=5)
    classifier = clipcli.build_classifier(encoder, ["cat", "dog", "bird"])
    (pictures / "00.jpg").write_bytes(b"no image")
    outcomes = list(clipcli.classify(str(pictures), encoder, classifier, top_k=2, min_margin=0.5))
    images = [predicted(outcome).predicted for outcome in outcomes]
    assert isinstance(outcomes[0], ImageFailure)
    assert images[0] == PredictedImage(outcomes[0].image, (), "error", None, outcomes[0].reason, {})
    for outcome, image in zip(outcomes[1:], images[1:], strict=True):
        best, second = sorted(outcome.scores.tolist(), reverse=True)[:2]
        assert image.margin == pytest.approx(best - second)
        assert image.status == ("unknown" if best - second < 0.5 else "ok")
        assert [one.label for one in image.labels] == [one.label for one in outcome.predictions]
        assert len(image.labels) == 2
    assert {image.status for image in images} == {"error", "ok", "unknown"}


def test_outcomes_of_an_evaluation_have_scores_and_true_labels(pictures: Path) -> None:
    encoder = FakeEncoder()
    classifier = clipcli.build_classifier(encoder, [f"label {number}" for number in range(12)])
    targets = match_truths(["Label 3"], classifier.classnames)
    (outcome, *_) = clipcli.classify(str(pictures), encoder, classifier, top_k=1, score="cosine")
    image = Judged(classifier, targets)(outcome._replace(truth="Label 3"))
    assert image.truth == ("label 3",)
    scores = classifier.scores(outcome.scores[None])[0]
    order = np.argsort(-outcome.scores, kind="stable")[:9]  # small scores are equal where cosines are not
    assert [one.label for one in image.predicted.labels] == [classifier.classnames[index] for index in order]
    assert [one.score for one in image.predicted.labels] == pytest.approx(scores[order].tolist())
    assert image.predicted.margin == pytest.approx(float(scores[order[0]] - scores[order[1]]))
    failed = Judged(classifier, targets)(ImageFailure("a.png", "no such file", truth="Label 3"))
    assert (failed.truth, failed.predicted.status) == (("label 3",), "error")
