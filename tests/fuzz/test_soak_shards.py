"""Many images in many shards: memory that does not grow, and runs that go on where they were killed.

Images are read, decoded, cached and scored as ever, but in the longest test their features are their pixels:
what a model makes of images is tested elsewhere.
"""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

IMAGES = int(os.environ.get("SHARDED_IMAGES", "100000"))
SHARDS, FEW, BATCH = 100, 2000, 32
WORDS = [
    "-l",
    "cat,dog",
    "-m",
    "nano",
    "--precision",
    "fp32",
    "--device",
    "cpu",
    "-k",
    "1",
    "-b",
    str(BATCH),
    "-q",
]
ONE_IN_PROCESS = """
import os, sys
from pathlib import Path
import numpy as np
import clipcli.models.encoder
from clipcli.cli.app import main

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
is_plain = sys.argv.pop(1) == "plain"
encode = clipcli.models.encoder.OpenClipEncoder.encode_images

def counting(self, pixels):
    os.write(log, f"{len(pixels)}\\n".encode())
    if is_plain:
        return encode(self, pixels)
    features = pixels.reshape(len(pixels), -1)[:, : self.encode_texts(["a"]).shape[1]].astype(np.float32) + 1
    return features / np.linalg.norm(features, axis=1, keepdims=True)

clipcli.models.encoder.OpenClipEncoder.encode_images = counting
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0])
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(6 * 3600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak of memory from /proc"),
]


def image_files() -> Iterator[bytes]:
    """Images without end, of which no two are the same file."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    kinds = []
    for one in pixels:
        stream = io.BytesIO()
        Image.fromarray(one).save(stream, "JPEG")
        kinds.append(stream.getvalue())
    number = 0
    while True:
        yield kinds[number % len(kinds)] + number.to_bytes(4, "little")
        number += 1


def make_shards(folder: Path, images: int, shards: int, pack: Callable[[bytes], bytes] = bytes) -> list[str]:
    """Tar files with so many images altogether, each with its number as `cls`."""
    folder.mkdir()
    contents, names = image_files(), []
    suffix = ".tar" if pack is bytes else ".tar.gz"
    for shard in range(shards):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for number in range(images // shards):
                for kind, data in (("jpg", next(contents)), ("cls", str(number).encode())):
                    member = tarfile.TarInfo(f"{number:06}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        names.append(f"{folder.name}/{shard:03}{suffix}")
        (folder.parent / names[-1]).write_bytes(pack(stream.getvalue()))
    return names


def command(log: Path, cache: str, *arguments: str, encoder: str = "plain") -> list[str]:
    words = ["classify", *arguments, *WORDS, "--cache", cache]
    return [sys.executable, "-c", ONE_IN_PROCESS, str(log), encoder, *words]


def encoded(log: Path) -> int:
    """Images that were encoded until now."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", IMAGES, SHARDS)
    few = FEW * SHARDS // IMAGES
    peaks = []
    for last in (few - 1, SHARDS - 1):
        named = f"shards/{{000..{last:03}}}.tar"
        log = tmp_path / f"log-{last}"
        words = command(log, f"cache-{last}", named, "-o", f"{last}.csv", encoder="pixels")
        start = time.perf_counter()
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
        count = encoded(log)
        sys.stderr.write(f"{count} images: {time.perf_counter() - start:.0f} s, {peaks[-1]:.0f} MB at most\n")
        assert count == (last + 1) * (IMAGES // SHARDS)
        assert (tmp_path / f"{last}.csv").read_text().count("\n") == count + 1
    assert peaks[1] <= 1.15 * peaks[0], peaks


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_killed_after_sixty_percent_a_run_goes_on(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    images = 2000
    names = make_shards(tmp_path / "shards", images, 20, pack)
    time.sleep(3)  # an archive that was made just now has no version
    logs = [tmp_path / name for name in ("whole", "killed", "again")]
    subprocess.run(command(logs[0], "other", *names, "-o", "whole.csv"), cwd=tmp_path, check=True)
    running = subprocess.Popen(command(logs[1], "cache", *names, "-o", "out.csv"), cwd=tmp_path)
    while encoded(logs[1]) < 0.6 * images:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out.csv").exists()
    subprocess.run(command(logs[2], "cache", *names, "-o", "out.csv"), cwd=tmp_path, check=True)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert encoded(logs[0]) == images
    assert images <= encoded(logs[1]) + encoded(logs[2]) <= images + 2 * BATCH
