"""Every command block of the README that can run offline is run, on the bundled model."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLES, ROOT

from clipcli.models.registry import list_models

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<skip><!-- not run: .*? -->\n)?```(?P<kind>sh|python)\n(?P<code>.*?)```", re.DOTALL)
BLOCKS = [match.groupdict() for match in BLOCK.finditer(README)]
RUN = [block for block in BLOCKS if not block["skip"]]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with some photos, as the README has it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(EXAMPLES.iterdir())[::4]:
        if path.suffix in (".png", ".jpg", ".webp"):
            shutil.copy(path, photos)
    return tmp_path


@pytest.mark.parametrize("block", RUN, ids=[block["code"].strip().splitlines()[-1][:60] for block in RUN])
def test_the_block_runs(block: dict[str, str], workplace: Path) -> None:
    program = ["bash", "-euc"] if block["kind"] == "sh" else [sys.executable, "-c"]
    environment = os.environ | {
        "CLIPCLI_MODEL": "nano",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*program, block["code"]], cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    for name in re.findall(r"-o (\S+)", block["code"]):
        assert (workplace / name).stat().st_size > 0, name


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    assert len(RUN) >= 11
    assert len(BLOCKS) - len(RUN) == 7


def test_the_table_of_models_is_that_of_the_package() -> None:
    for row in list_models()[1:5]:
        line = next(line for line in README.splitlines() if line.startswith(f"| `{row.name}`"))
        assert f"{row.model_name} {row.pretrained}" in line
        assert f"| {row.imagenet_top1} %" in line
        assert f"| {row.params_m:.0f} M |" in line
        assert line.endswith(f"| {row.licence} |")


def test_links_within_the_repository_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in README.splitlines()
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in headings, anchor


RELIABILITY = README.partition("## Reliability")[2].partition("\n## ")[0]


def test_every_row_of_the_table_of_faults_names_a_test_that_exists() -> None:
    rows = [line.split(" | ") for line in RELIABILITY.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) > 40
    for *_, shown_by in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
        assert tests, shown_by
        for file, name in tests:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name
