"""A disk that becomes full: what cannot be read is removed, and what is left is named."""

from __future__ import annotations

import contextlib
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import clipcli

from clipcli.errors import OutputError
from clipcli.output.sinks import open_sink
from clipcli.scoring.classifier import Classifier
from clipcli.scoring.classifier_file import save_classifier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit as on a full disk: Python ignores SIGXFSZ, so that a file of more than that is an error.

    Modules are not compiled meanwhile: Python would leave the first half of one for all later runs.
    """
    before, compiles_not = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = compiles_not
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(path: Path, rows: int, ends: str) -> tuple[str, str, str]:
    """Write rows until the file becomes too large, or the user ends it; the error, and what was kept."""
    sink = open_sink({"image": str, "score": float}, path)
    chance = random.Random(0)
    try:
        with files_of_at_most(100_000), sink:
            for number in range(rows):
                sink.write([f"{chance.getrandbits(160):040x}.png", number / 7])
            if ends == "interrupted":
                raise KeyboardInterrupt
    except (OutputError, KeyboardInterrupt) as error:
        return type(error).__name__, str(error), str(sink.kept or "")
    raise AssertionError("nothing went wrong")


@pytest.mark.parametrize("ends", ["complete", "interrupted"])
@pytest.mark.parametrize("rows", [4_000, 40_000])  # at the end; on the way
@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_what_is_left_of_a_table_can_be_read_and_is_known(
    file_format: str, rows: int, ends: str, tmp_path: Path
) -> None:
    path = tmp_path / f"out.{file_format}"
    path.write_text("before")
    kind, message, kept = fill(path, rows, ends)
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
    embeddings = np.random.default_rng(0).random((400, 256), np.float32)
    classifier = Classifier(tuple(map(str, range(400))), embeddings, 1.0, None, "softmax", "f")
    with files_of_at_most(100_000), pytest.raises(OutputError) as caught:
        save_classifier(classifier, path)
    message = str(caught.value)
    assert message.startswith(f"cannot write {path}: ")
    assert "File too large" in message
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


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
    command = [*clipcli(), "classify", *[str(pictures)] * 9, *map(str, options)]
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limited
    )
    assert done.returncode == 1
    error, *hints = done.stderr.splitlines()
    assert error == f"error: cannot write {output}: File too large"
    left = [found for found in tmp_path.iterdir() if found.is_file()]
    assert [hint.partition(" images are in ")[2] for hint in hints] == [f"{path}." for path in left]
    assert len(left) == (file_format == "csv")
