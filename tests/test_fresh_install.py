"""A stranger's first minutes: a fresh copy, `make demo`, and a wheel outside the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "MAKEFLAGS")
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, and those about to be, in a new folder."""
    if not (ROOT / ".git").exists() or shutil.which("make") is None:
        pytest.skip("needs a git checkout and make")
    target = tmp_path_factory.mktemp("clone")
    names = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def demo(clone: Path) -> subprocess.CompletedProcess[str]:
    return run("make", "demo", f"PYTHON={sys.executable}", cwd=clone)


def test_make_demo(demo: subprocess.CompletedProcess[str], clone: Path) -> None:
    assert "examples/bicycle-1.png" in demo.stdout, "the ranked table"
    frame = pd.read_csv(clone / "predictions.csv")
    truth = pd.read_csv(EXAMPLES / "labels.csv")
    assert len(frame) == 3 * len(truth)
    assert frame["rank"].tolist() == [1, 2, 3] * len(truth)
    assert frame.groupby("image").score.is_monotonic_decreasing.all()
    assert frame.error.isna().all()


def test_the_wheel_works_outside_the_source_tree(
    demo: subprocess.CompletedProcess[str], clone: Path, tmp_path: Path
) -> None:
    python = clone / ".venv" / "bin" / "python"
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ".", cwd=clone)
    (wheel,) = tmp_path.glob("clipcli-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "clipcli/assets/nano/open_clip_model.safetensors" in names
    assert "clipcli/_prompts/templates/photo.txt" in names
    assert "clipcli/_prompts/classes/cifar10.txt" in names
    assert all(name.startswith(("clipcli/", "clipcli-")) for name in names), "nothing else at the top level"

    run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel, cwd=tmp_path)
    shutil.copy(EXAMPLES / "bicycle-1.png", tmp_path)
    clipcli = clone / ".venv" / "bin" / "clipcli"
    done = run(
        clipcli,
        "classify",
        "bicycle-1.png",
        "-c",
        "everyday-objects",
        "-t",
        "icons",
        "-m",
        "nano",
        cwd=tmp_path,
    )
    assert done.stdout.startswith("image,rank,label,score,cosine,error\nbicycle-1.png,1,")
    origin = run(python, "-c", "import clipcli; print(clipcli.__file__)", cwd=tmp_path).stdout
    assert "site-packages" in origin
