"""Damaged images of every format: pixels or an `ImageError`, in bounded time and memory."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from decode_mutants import MOST_MEGABYTES, MOST_SECONDS
from mutations import mutated, seeds

from clipcli.images.decode import DecodeOptions, decode
from clipcli.records import Preprocess

SCRIPT = Path(__file__).with_name("decode_mutants.py")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_damaged_was_sound(exact: bool) -> None:
    for data in seeds().values():
        assert decode(data, Preprocess((8, 8)), DecodeOptions(exact=exact)).shape == (8, 8, 3)


def test_the_damage_depends_on_the_seed_only() -> None:
    for data in seeds().values():
        mutants = [mutated(data, str(number)) for number in range(20)]
        assert mutants == [mutated(data, str(number)) for number in range(20)]
        assert len(set(mutants) - {data}) > 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's size from /proc")
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_damaged_images_are_decoded_or_refused(count: int, tmp_path: Path) -> None:
    if SECONDS:
        seed, count, seconds, folder = (
            str(secrets.randbelow(2**32)),
            10**9,
            SECONDS,
            ROOT / "fuzz-failures",
        )
    else:
        seed, seconds, folder = "0", 600, tmp_path
    folder.mkdir(exist_ok=True)
    sys.stderr.write(f"seed {seed}\n")
    command = [sys.executable, SCRIPT, seed, str(count), str(seconds), folder]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    left = [str(path) for path in folder.glob(f"*-{seed}-*")]
    assert done.returncode == 0, f"{left} ended with {done.returncode}: {done.stderr[-2000:]}"
    result = json.loads(done.stdout)
    sys.stderr.write(f"{result}\n")
    assert result["outcomes"]["decoded"] > count / 10 or SECONDS
    assert result["outcomes"]["refused"] > count / 10 or SECONDS
    assert result["slowest"][0] < MOST_SECONDS
    assert result["peak_megabytes"] < MOST_MEGABYTES
