"""Thousands of images on two machines of a real Ray, from a bucket and a folder, and something is killed."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import clipcli
from PIL import Image

pytest.importorskip("ray", reason="Ray is not installed")

from gate import BUCKET, connected
from ray.cluster_utils import Cluster as Machines
from s3_server import S3Server
from test_ray_engine import joined

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # Ray warns of itself

Run = Callable[..., Any]
IMAGES = 5000
BROKEN = 50  # each so manieth image cannot be read
TIMES = 5  # that each is killed


def image(number: int) -> bytes:
    """A small image unlike the others, or something that is none."""
    if number % BROKEN == 7:
        return b"not an image"
    packed = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


@pytest.fixture(scope="module")
def server(s3_of_module: S3Server) -> Iterator[S3Server]:
    with connected(s3_of_module):
        for number in range(IMAGES):
            s3_of_module.put(f"all/{number:05}.png", image(number))
        yield s3_of_module


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(IMAGES):
        (folder / f"{number:05}.png").write_bytes(image(number))
    return folder


@pytest.fixture
def machines(server: S3Server) -> Iterator[Machines]:
    """Two machines, as far as Ray can tell, which find the bucket."""
    head = {"num_cpus": 1, "include_dashboard": False}
    both = Machines(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    both.add_node(num_cpus=1)
    both.wait_for_nodes()
    yield both
    both.shutdown()


Asked = Callable[[object], list[object]]


@pytest.fixture
def asked(random_model: Callable[[str], Path]) -> Asked:
    """A command over a folder or bucket, with a model that takes little time."""
    model = f"local-dir:{random_model('clip')}"
    return lambda place: ["classify", place, "-l", "cat,key", "-m", model, "-k", "1", "--layout", "wide"]


def on(machines: Machines, parts: Path) -> list[object]:
    return ["--engine", "ray", "--ray-address", machines.address, "--parts", parts]


@pytest.fixture
def local(run_cli: Run, photos: Path, asked: Asked) -> bytes:
    """What the local engine writes, once for all tests."""
    written = photos.parent / "local.csv"
    if not written.exists():
        assert run_cli(*asked(photos), "--no-cache", "-o", written).code == 3
    return written.read_bytes()


def test_a_folder_and_a_bucket(
    run_cli: Run, machines: Machines, photos: Path, asked: Asked, local: bytes, tmp_path: Path
) -> None:
    assert run_cli(*asked(photos), *on(machines, tmp_path / "a")).code == 3
    assert joined(tmp_path / "a") == local
    assert run_cli(*asked(f"s3://{BUCKET}/all/"), *on(machines, tmp_path / "b")).code == 3
    start = f"{photos}/".encode()
    assert joined(tmp_path / "b").replace(f"s3://{BUCKET}/all/".encode(), start) == local


def workers() -> list[int]:
    """The processes that encode, of all machines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::MapWorker" in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def after_a_while(do: Callable[[], object], generator: random.Random, least: int) -> threading.Thread:
    """Do something at a random moment once there are workers."""

    def run() -> None:
        while len(workers()) < least:
            time.sleep(0.1)
        time.sleep(generator.uniform(0, 4))
        do()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("seed", range(TIMES))
def test_a_worker_is_killed(
    run_cli: Run, machines: Machines, photos: Path, asked: Asked, local: bytes, tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)
    killed: list[int] = []

    def kill() -> None:
        killed.append(generator.choice(workers()))
        os.kill(killed[0], signal.SIGKILL)

    killer = after_a_while(kill, generator, 1)
    done = run_cli(*asked(photos), *on(machines, tmp_path / "out"))
    killer.join(timeout=1)
    assert killed
    assert done.code == 3, done.err
    assert joined(tmp_path / "out") == local


@pytest.mark.parametrize("seed", range(TIMES))
def test_a_machine_is_lost(
    run_cli: Run, machines: Machines, photos: Path, asked: Asked, local: bytes, tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)
    lost: list[bool] = []

    def lose() -> None:
        machines.remove_node(next(iter(machines.worker_nodes)), allow_graceful=False)
        lost.append(True)

    loser = after_a_while(lose, generator, 1)
    done = run_cli(*asked(photos), *on(machines, tmp_path / "out"))
    loser.join(timeout=1)
    assert lost
    assert done.code == 3, done.err
    assert joined(tmp_path / "out") == local


@pytest.mark.parametrize("seed", range(TIMES))
def test_the_command_is_killed_and_run_again(
    machines: Machines, photos: Path, asked: Asked, local: bytes, tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)
    parts = tmp_path / "out"
    command = [*clipcli(), *map(str, [*asked(photos), *on(machines, parts)])]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    killer = after_a_while(first.kill, generator, 1)
    first.communicate(timeout=500)
    killer.join(timeout=1)
    again = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    if first.returncode != -signal.SIGKILL:  # it was over already
        assert "holds a finished run" in again.stderr
    else:
        assert again.returncode == 3, again.stderr
    assert joined(parts) == local
