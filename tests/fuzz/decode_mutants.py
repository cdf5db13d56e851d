"""Decode damaged images in a process of its own: `decode_mutants.py SEED COUNT SECONDS FOLDER`.

What is being decoded lies in FOLDER, and stays there when decoding it ends the process, takes more than
a few seconds or too much memory, raises anything but `ImageError`, or returns anything but pixels.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from mutations import mutated, seeds

from clipcli.errors import ImageError
from clipcli.images.decode import DecodeOptions, decode
from clipcli.records import Preprocess

MOST_MEGABYTES = 1500
MOST_SECONDS = 10
OPTIONS = (
    DecodeOptions(2**24, exact=True),
    DecodeOptions(2**24),
    DecodeOptions(2**24, truncated="ok"),
)
PREPROCESSES = (Preprocess((32, 32)), Preprocess((24, 40), "longest"), Preprocess((32, 32), "squash"))


def main(seed: str, count: int, seconds: float, folder: Path) -> int:
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even within a library
    resource.setrlimit(resource.RLIMIT_AS, (_used_bytes() + MOST_MEGABYTES * 10**6,) * 2)
    images = seeds()
    outcomes: Counter[str] = Counter()
    slowest, end = (0.0, ""), time.monotonic() + seconds
    for number in range(count):
        if time.monotonic() > end:
            break
        name = list(images)[number % len(images)]
        mutant = mutated(images[name], f"{seed} {name} {number}")
        path = folder / f"{name}-{seed}-{number}"
        path.write_bytes(mutant)
        start = time.monotonic()
        for options in OPTIONS:
            outcomes[_outcome(mutant, PREPROCESSES[number // len(images) % 3], options)] += 1
        slowest = max(slowest, (time.monotonic() - start, path.name))
        path.unlink()
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
    sys.stdout.write(json.dumps({"outcomes": outcomes, "slowest": slowest, "peak_megabytes": peak}))
    return 0


def _outcome(mutant: bytes, preprocess: Preprocess, options: DecodeOptions) -> str:
    signal.alarm(MOST_SECONDS)
    try:
        pixels = decode(mutant, preprocess, options)
    except ImageError as error:
        assert error.message, "an error without a message"
        assert "not enough memory" not in error.message, f"more than {MOST_MEGABYTES} MB"
        return "refused"
    finally:
        signal.alarm(0)
    assert pixels.shape == (*preprocess.size, 3)
    assert pixels.dtype == np.uint8
    return "decoded"


def _used_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
