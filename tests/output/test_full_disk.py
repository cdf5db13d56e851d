"""A disk that becomes full: what cannot be read is removed, and what is left is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Python ignores SIGXFSZ, so that a file of more than the limit is an error, as on a full disk. It must not
# compile modules meanwhile: it would keep the first half of one for all later runs.
SINK = """
import json, os, random, resource, sys
sys.dont_write_bytecode = True
from pathlib import Path
from clipcli.errors import OutputError
from clipcli.output.sinks import open_sink

path, rows, ends = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sink = open_sink({"image": str, "score": float}, path)
chance = random.Random(0)
try:
    with sink:
        for number in range(rows):
            sink.write([f"{chance.getrandbits(160):040x}.png", number / 7])
        if ends == "interrupted":
            raise KeyboardInterrupt
except (OutputError, KeyboardInterrupt) as error:
    print(json.dumps([type(error).__name__, str(error), str(sink.kept or "")]))
"""
SAVE = """
import resource, sys
sys.dont_write_bytecode = True
from pathlib import Path
import numpy as np
from clipcli.errors import OutputError
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.classifier_file import save_classifier

embeddings = np.random.default_rng(0).random((400, 256), np.float32)
classifier = Classifier(tuple(map(str, range(400))), embeddings, 1.0, None, "softmax", "f")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_classifier(classifier, Path(sys.argv[1]))
except OutputError as error:
    print(error)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")


def run(code: str, *arguments: Any) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("ends", ["complete", "interrupted"])
@pytest.mark.parametrize("rows", [4_000, 40_000])  # at the end; on the way
@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_what_is_left_of_a_table_can_be_read_and_is_known(
    file_format: str, rows: int, ends: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out.{file_format}"
    path.write_text("before")
    kind, message, kept = json.loads(run(SINK, path, rows, ends))
    if kind == "OutputError":
        assert message == f"cannot write {path}: File too large"
    else:
        assert ends == "interrupted"
    assert path.read_text() == "before"
    left = [found for found in tmp_path.iterdir() if found != path]
    assert [str(found) for found in left] == [kept] * bool(kept)
    if file_format in ("parquet", "xlsx"):
        assert not left
    else:
        assert left[0].read_text().startswith(("image", '{"image": "'))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".csv", ".parquet"])
def test_nothing_is_left_of_class_embeddings(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text("before")
    message = run(SAVE, path)
    assert message.startswith(f"cannot write {path}: ")
    assert "File too large" in message
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


CLI = """
import resource, sys
sys.dont_write_bytecode = True
from clipcli.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.argv = ["clipcli", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_the_command_names_what_is_left(file_format: str, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / f"out.{file_format}"
    options = [
        "-m",
        "nano",
        "--device",
        "cpu",
        "-l",
        "cat,dog,sun,fish,tree",
        "--no-cache",
        "-q",
        "-o",
        output,
    ]
    command = [sys.executable, "-c", CLI, "classify", *[str(pictures)] * 9, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    error, *hints = done.stderr.splitlines()
    assert error == f"error: cannot write {output}: File too large"
    left = [found for found in tmp_path.iterdir() if found.is_file()]
    assert [hint.partition(" images are in ")[2] for hint in hints] == [f"{path}." for path in left]
    assert len(left) == (file_format == "csv")
