"""The images in examples/: their tables agree with the files, and each has a row that tells its licence."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from clipcli.prompts.class_lists import load_classes
from training.photographs import LIST, PHOTO_SOURCES
from training.sources import SOURCES

README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
LICENCES = {
    "MIT",
    "Apache-2.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "LicenseRef-public-domain",
    "LicenseRef-no-known-restrictions",
}

of_both = pytest.mark.parametrize("name", ["drawings", "photographs"])


def folder(name: str) -> Path:
    return ROOT / "examples" / name


def labels(name: str) -> dict[str, str]:
    """The true label of each image of a folder."""
    with (folder(name) / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["image"]: row["label"] for row in csv.DictReader(file)}


def images(name: str) -> list[Path]:
    return sorted(path for path in folder(name).iterdir() if path.suffix not in {".csv", ".txt"})


def rows(name: str) -> list[list[str]]:
    """The rows that the README has for a folder: file, class, source, package, author, licence."""
    section = README.partition(f"\n## {name.capitalize()}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [line.strip("| ").split(" | ") for line in lines]


@of_both
def test_each_image_has_a_label_that_is_a_class_and_that_it_is_named_by(name: str) -> None:
    truth = labels(name)
    assert sorted(truth) == [path.name for path in images(name)]
    classes = [spec.label for spec in load_classes(str(folder(name) / "classes.txt"))]
    assert classes == list(dict.fromkeys(truth.values()))
    for image, label in truth.items():
        assert re.fullmatch(rf"{label.replace(' ', '-')}-[1-9]\.(jpg|png|webp)", image)


@of_both
def test_the_readme_tells_how_many_there_are(name: str) -> None:
    truth = labels(name)
    assert f"| [`{name}/`](#{name}) | {len(truth)} | {len(set(truth.values()))} |" in README


@of_both
def test_each_image_has_a_row_with_its_package_author_and_licence(name: str) -> None:
    found = rows(name)
    assert {file.strip("`"): label for file, label, *_ in found} == labels(name)
    assert len(found) == len(images(name))
    for _, _, source, package, author, licence in found:
        assert re.fullmatch(r"`[^`]+`", source)
        assert re.fullmatch(r"(npm|PyPI|Debian) `[^`]+` [\w.:+-]+", package)
        assert author
        assert licence in LICENCES


@of_both
def test_no_package_of_theirs_is_trained_on(name: str) -> None:
    trained_on = {source.package for source in (*SOURCES, *PHOTO_SOURCES) if source.role == "train"}
    assert not trained_on & {package.split("`")[1] for _, _, _, package, _, _ in rows(name)}


def test_photographs_are_of_those_that_are_measured() -> None:
    packages = {source.name: f"`{source.package}` {source.version}" for source in PHOTO_SOURCES}
    with LIST.open(newline="", encoding="utf-8") as file:
        measured = [(packages[row["source"]], f"/{row['file']}") for row in csv.DictReader(file)]
    for file, _, source, package, _, _ in rows("photographs"):
        ending = "/" + source.strip("`")
        assert [path for of, path in measured if package.endswith(of) and path.endswith(ending)], file


@of_both
def test_images_are_small_and_tell_nothing_but_what_they_show(name: str) -> None:
    for path in images(name):
        assert path.stat().st_size <= 60_000, path
        with Image.open(path) as image:
            assert max(image.size) <= 512, path
            assert not image.getexif(), path
            assert not {"icc_profile", "xmp", "comment", "photoshop"} & set(image.info), path


@of_both
def test_the_source_distribution_holds_them(name: str) -> None:
    """All of examples/, of which version control ignores nothing."""
    build = (ROOT / "pyproject.toml").read_text().partition("[tool.hatch.build.targets.sdist]")[2]
    assert '"examples"' in build.partition("[tool.ruff]")[0]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert not [path for path in folder(name).iterdir() if any(path.match(one) for one in ignored if one)]
