"""A Parquet file of 2 GB through the command itself: flat memory, and a killed run that goes on.

Images are read, decoded, cached and scored as ever, but their features are their pixels, so that it takes
minutes: what a model makes of images is tested elsewhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

IMAGES = int(os.environ.get("LARGE_TABLE_IMAGES", "100000"))
FEW = 2000
BATCH = 64

WRITE = """
import io, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image

path, count = sys.argv[1], int(sys.argv[2])
schema = pa.schema({"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]), "n": pa.int64()})
random = np.random.default_rng(0)

def image():  # a JPEG with a long comment
    stream = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(stream, "JPEG")
    jpeg, comment = stream.getvalue(), random.bytes(20_000)
    return jpeg[:2] + b"\\xff\\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]

with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        images = [{"bytes": image(), "path": f"{number}.jpg"} for number in numbers]
        batch = pa.record_batch([pa.array(images, schema.field(0).type), pa.array(numbers)], schema=schema)
        writer.write_batch(batch, row_group_size=count)
"""

CLASSIFY = """
import os, sys
from pathlib import Path
import numpy as np
import clipcli.models.encoder
from clipcli.cli.app import main

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def counting(self, pixels):
    os.write(log, f"{len(pixels)}\\n".encode())
    features = pixels.reshape(len(pixels), -1)[:, : self.encode_texts(["a"]).shape[1]].astype(np.float32) + 1
    return features / np.linalg.norm(features, axis=1, keepdims=True)

clipcli.models.encoder.OpenClipEncoder.encode_images = counting
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0])
"""


class Run(NamedTuple):
    """What a run wrote, how many images it encoded, and its peak of memory."""

    output: Path
    encoded: int
    megabytes: float


def started(table: Path, log: Path, *options: object) -> subprocess.Popen[str]:
    arguments = ["classify", table, "-l", "cat,dog", "-m", "nano", "-k", 1, "-b", BATCH, "-q", *options]
    command = [sys.executable, "-c", CLASSIFY, log, *arguments]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)


def classify(table: Path, output: Path, *options: object) -> Run:
    log = output.with_suffix(".log")
    out, _ = (process := started(table, log, "-o", output, *options)).communicate()
    assert process.returncode == 0
    run = Run(output, encoded(log), int(out) / 1024)
    sys.stderr.write(f"{output.name}: {run.encoded} encoded, {run.megabytes:.0f} MB at most\n")
    return run


def encoded(log: Path) -> int:
    return sum(map(int, log.read_text().split())) if log.exists() else 0


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A Parquet file of so many images in a single row group."""
    folder = tmp_path_factory.mktemp("tables")

    def written(count: int) -> Path:
        path = folder / f"{count}.parquet"
        subprocess.run([sys.executable, "-c", WRITE, str(path), str(count)], check=True)
        return path

    return written


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc")
def test_a_row_group_of_two_gigabytes(tables: Callable[[int], Path], tmp_path: Path) -> None:
    few, many = tables(FEW), tables(IMAGES)
    small = classify(few, tmp_path / "small.csv", "--no-cache")
    output, log = tmp_path / "out.csv", tmp_path / "killed.log"
    process = started(many, log, "-o", output)
    while process.poll() is None and encoded(log) < 0.6 * IMAGES:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert not output.exists()
    resumed = classify(many, output)
    assert encoded(log) + resumed.encoded - IMAGES <= 2 * BATCH
    again = classify(many, tmp_path / "again.csv")
    assert again.encoded == 0

    whole = classify(many, tmp_path / "whole.csv", "--no-cache")
    assert whole.encoded == IMAGES
    assert whole.output.read_bytes() == output.read_bytes() == again.output.read_bytes()
    assert max(whole.megabytes, resumed.megabytes, again.megabytes) < 1.15 * small.megabytes
