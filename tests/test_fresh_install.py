"""A stranger's first minutes: a fresh copy and `make demo` (`.ci/run` begins with it too), and the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import EXAMPLES, PHOTOGRAPHS, ROOT

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


INSTALLED = (f"VENV={sys.prefix}", "-o", f"{sys.prefix}/bin/clipcli")  # this environment, and no other


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(INSTALLED, marks=pytest.mark.long, id="installed"),
        pytest.param((f"PYTHON={sys.executable}",), marks=pytest.mark.long, id="from nothing"),
    ],
)
def test_make_demo(options: tuple[str, ...], clone: Path) -> None:
    demo = run("make", "demo", *options, cwd=clone)
    for table, folder in (("predictions.csv", EXAMPLES), ("predictions-photographs.csv", PHOTOGRAPHS)):
        truth = pd.read_csv(folder / "labels.csv")
        assert f"s/{truth.image[0]} " in demo.stdout, "the ranked table"
        frame = pd.read_csv(clone / table)
        assert len(frame) == 3 * len(truth)
        assert frame["rank"].tolist() == [1, 2, 3] * len(truth)
        assert frame.groupby("image").score.is_monotonic_decreasing.all()
        assert frame.error.isna().all()


@pytest.mark.long
def test_the_wheel_works_outside_the_source_tree(clone: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "-w", tmp_path, ".", cwd=clone)
    (wheel,) = tmp_path.glob("clipcli-*.whl")
    assert wheel.stat().st_size < 40_000_000, "with the bundled model"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "clipcli/assets/nano/open_clip_model.safetensors" in names
    assert "clipcli/py.typed" in names
    assert "clipcli/output/report/page/template.html" in names
    assert "clipcli/output/report/page/main.js" in names
    assert "clipcli/_prompts/templates/photo.txt" in names
    assert "clipcli/_prompts/classes/cifar10.txt" in names
    assert all(name.startswith(("clipcli/", "clipcli-")) for name in names), "nothing else at the top level"

    installed = tmp_path / "installed"
    run(*pip, "install", "-q", "--no-deps", "--target", installed, wheel, cwd=tmp_path)
    shutil.copy(EXAMPLES / "bicycle-1.png", tmp_path)
    python = ("env", f"PYTHONPATH={installed}", sys.executable)
    words = ("classify", "bicycle-1.png", "-c", "everyday-objects", "-t", "icons", "-m", "nano")
    done = run(*python, installed / "bin" / "clipcli", *words, cwd=tmp_path)
    assert done.stdout.startswith("image,rank,label,score,cosine,error,status,margin\nbicycle-1.png,1,")
    origin = run(*python, "-c", "import clipcli; print(clipcli.__file__)", cwd=tmp_path).stdout
    assert origin.startswith(str(installed))
