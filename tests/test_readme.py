"""The README and docs/: commands that can run offline are run, links lead somewhere, figures agree."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import clipcli as clipcli_words
from conftest import EXAMPLES, ROOT
from media_files import write_dng, write_pdf, write_video
from PIL import Image

import clipcli
from clipcli.models.registry import PRESETS, list_models

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
LINKING = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "bench/RESULTS.md", "clipcli/assets/nano/MODEL_CARD.md")),
    *(ROOT / name / "README.md" for name in ("examples", "prompts", "training", "training/results")),
]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.*?) -->\n)?```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.DOTALL
)
NOT_RUN = {
    "installs a second time": 3,
    "the tests run it in a clone of its own": 2,
    "installs a plug-in": 4,
    "needs the network": 6,
    "needs a GPU": 2,
    "needs exiftool": 1,
    "needs a cluster": 3,
    "starts Ray a second time": 3,
}


class Block(NamedTuple):
    """A fenced block of a page; `reason` says why it is not run, and is empty for those that are."""

    page: str
    reason: str
    kind: str
    code: str


def _blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    name = str(page.relative_to(ROOT))
    return [Block(name, match["reason"] or "", match["kind"], match["code"]) for match in found]


def _runs(page: Path) -> list[Block]:
    """What is run of a page: each shell block by itself, and all Python blocks as one program."""
    blocks = [block for block in _blocks(page) if not block.reason]
    python = [block.code for block in blocks if block.kind == "python"]
    program = [Block(str(page.relative_to(ROOT)), "", "python", "\n".join(python))] if python else []
    return [block for block in blocks if block.kind == "sh"] + program


BLOCKS = [block for page in PAGES for block in _blocks(page)]
COMMANDS = [block for block in BLOCKS if block.kind in ("sh", "python")]
RUNS = [run for page in PAGES for run in _runs(page)]


# --- Commands ------------------------------------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with some photos, as the pages have it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(EXAMPLES.iterdir())[3::4]:
        if path.suffix in (".png", ".jpg", ".webp"):
            shutil.copy2(path, photos)
    return tmp_path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clipcli`, for the PATH."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "clipcli"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(clipcli_words())} "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    "block", RUNS, ids=[f"{run.page}: {run.code.strip().splitlines()[-1][:50]}" for run in RUNS]
)
def test_the_block_runs(block: Block, workplace: Path, shared_cache: Path, programs: Path) -> None:
    if block.page.endswith("raw-video-documents.md"):
        _add_other_files(workplace)
    program = ["bash", "-euo", "pipefail", "-c"] if block.kind == "sh" else [sys.executable, "-c"]
    environment = os.environ | {
        "CLIPCLI_CACHE": str(shared_cache),
        "CLIPCLI_MODEL": "nano",
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [*program, block.code], cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    for name in re.findall(r"-o (\S+)", block.code):
        assert (workplace / name).stat().st_size > 0, name


def _add_other_files(folder: Path) -> None:
    for name in ("raw", "clips", "scans"):
        (folder / name).mkdir()
    write_dng(folder / "raw" / "a.dng", 6)
    shutil.copy2(EXAMPLES / "bicycle-1.png", folder / "raw" / "b.png")
    write_video(folder / "clip.mp4")
    write_video(folder / "clips" / "b.mov")
    pages = [Image.new("RGB", (60, 80), color) for color in ("white", "grey")]
    first, *others = (page.copy() for page in pages)  # saving an image as PDF changes it
    first.save(folder / "scans" / "scan.tif", save_all=True, append_images=others)
    write_pdf(folder / "scans" / "file.pdf", pages)


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    assert len([block for block in COMMANDS if not block.reason]) >= 30
    assert Counter(block.reason for block in COMMANDS if block.reason) == NOT_RUN


def test_no_command_hides_in_a_block_of_another_kind() -> None:
    assert {block.kind for block in BLOCKS} <= {"sh", "python", "text", "yaml"}
    others = [block for block in BLOCKS if block.kind in ("text", "yaml")]
    assert not [block for block in others if re.search(r"^(\$ |clipcli |pip |python)", block.code, re.M)]


# --- Links ---------------------------------------------------------------------------------------


def _headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING, ids=[str(page.relative_to(ROOT)) for page in LINKING])
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in _headings(file), target


def test_every_page_can_be_found_from_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert "docs/README.md" in README.read_text(encoding="utf-8")
    assert not [page.name for page in DOCS.glob("*.md") if page.name not in ("README.md", *_named(index))]


def _named(index: str) -> list[str]:
    return re.findall(r"\]\(([\w-]+\.md)\)", index)


# --- What the pages say --------------------------------------------------------------------------


def test_the_front_page_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_images_are_called_images(page: Path) -> None:
    text = re.sub(r"`tests/[^`]*`", "", page.read_text(encoding="utf-8"))  # a test may have an older name
    assert not re.findall(r"\bpictures?\b", text, re.I)


def test_the_drawing_of_a_run_shows_what_the_bundled_model_says(
    nano: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    texts = [element.text or "" for element in ET.parse(DOCS / "images" / "run.svg").iter()]
    shown = " ".join(" ".join(texts).replace("\N{NO-BREAK SPACE}", " ").split())
    classifier = clipcli.build_classifier(nano, "examples/drawings/classes.txt")
    outcomes = list(clipcli.classify("examples/drawings/*-1.*", nano, classifier, top_k=3))
    assert len(outcomes) == 12
    for outcome in outcomes:
        assert f"{outcome.image} {outcome.predictions[0].label} " in shown


def test_the_tables_of_models_are_those_of_the_package() -> None:
    models, front = (page.read_text(encoding="utf-8").splitlines() for page in (DOCS / "models.md", README))
    for lines in (models, front):
        rows = [name for line in lines for name in re.findall(r"^\| `([\w-]+)`(?: \(default\))? \|", line)]
        assert [name for name in rows if name in PRESETS] == list(PRESETS)
    for row in list_models()[1 : len(PRESETS)]:
        line = next(line for line in models if line.startswith(f"| `{row.name}`"))
        assert f"{row.model_name} {row.pretrained}" in line
        assert f"| {row.imagenet_top1} %" in line
        assert f"| {row.params_m:.0f} M |" in line
        assert line.endswith(f"| {row.licence} |")
        assert next(line for line in front if line.startswith(f"| `{row.name}`")).endswith(
            f"| {row.imagenet_top1} % |"
        )


def test_the_speeds_are_those_that_were_measured() -> None:
    table = (DOCS / "speed.md").read_text(encoding="utf-8").partition("## Measurements")[2]
    results = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")
    figures = re.findall(r"\| (\d+\.\d+x?) \|$", table, re.M)
    assert len(figures) == 5
    for figure in figures:
        assert f" {figure} " in results, figure


def test_every_row_of_the_table_of_faults_names_a_test_that_exists() -> None:
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) > 40
    for *_, shown_by in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
        assert tests, shown_by
        for file, name in tests:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_the_layout_names_every_module() -> None:
    contributing = (DOCS / "contributing.md").read_text(encoding="utf-8")
    layout = contributing.partition("```text\nclipcli/\n")[2].partition("```")[0]
    package = ROOT / "clipcli"
    missing = [
        str(path.relative_to(package))
        for path in sorted(package.rglob("*.py"))
        if path.name != "__init__.py" and not re.search(rf"\b{path.stem}\b", layout)
    ]
    folders = [path.parent.name for path in package.rglob("__init__.py") if path.parent != package]
    assert missing == []
    assert not [name for name in folders if f"{name}/" not in layout]
