"""Whole processes over many images: all encoded, then all from the cache, in several formats."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(time.perf_counter() - start, peak)
"""


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a process, started by a small one: memory at the fork would count."""
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def cached(model: str, paths: list[str], amount: int) -> None:
    """Classify `amount` images by ImageNet's classes, and print time and memory."""
    with tempfile.TemporaryDirectory() as name:
        names = copies(Path(name, "images"), paths, amount)
        print(f"\n{amount} images, 1000 classes, whole processes")
        for label, suffix, some in (
            ("a tenth, cold, CSV", "csv", names[: amount // 10]),
            ("all, cold, CSV", "csv", names),
            ("all, cached, CSV", "csv", names),
            ("all, cached, Parquet", "parquet", names),
            ("all, cached, XLSX", "xlsx", names),
        ):
            Path(name, "list").write_text("\n".join(some))
            command = [sys.executable, "-m", "clipcli", "classify", "--from-file", f"{name}/list", "-q"]
            command += ["-c", "imagenet", "-t", "photo", "-m", model, "--cache", f"{name}/cache"]
            seconds, memory = measured([*command, "-o", f"{name}/out.{suffix}"])
            rate = len(some) / seconds
            print(f"  {label:<34}{rate:>9.1f} images/s   {seconds:>7.1f} s   peak {memory:.0f} MB")


def copies(folder: Path, paths: list[str], amount: int) -> list[str]:
    """Files of the images' content; trailing bytes make each file's content its own."""
    folder.mkdir()
    data = [Path(path).read_bytes() for path in paths]
    for number in range(amount):
        path = folder / f"{number:07}"
        path.write_bytes(data[number % len(data)] + number.to_bytes(4, "little"))
        os.utime(path, (1_500_000_000, 1_500_000_000))
    return sorted(map(str, folder.iterdir()))
