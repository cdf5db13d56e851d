"""Threads that compute on one core each, in forked processes too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SCRIPT = """
import os, signal, sys
import numpy as np
import clipcli

cache = clipcli.FeatureCache(sys.argv[1])
encoder = clipcli.load_model("nano", device="cpu", precision="fp32")
pixels = np.random.default_rng(0).integers(0, 256, (10, *encoder.preprocess.size, 3), dtype=np.uint8)
digest = bytes(20)


def in_child(expected):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        images, texts = encoder.encode_images(pixels), encoder.encode_texts(["a cat"])
        cache.add("here", [os.getpid().to_bytes(20, "big")], texts)
        same = expected is None or all(map(np.array_equal, (images, texts), expected))
        os._exit(0 if same else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


assert in_child(None) == 0, "before the parent has encoded anything"
expected = encoder.encode_images(pixels), encoder.encode_texts(["a cat"])
cache.add("here", [digest], expected[1])
assert in_child(expected) == 0, "after it"
assert np.array_equal(encoder.encode_images(pixels), expected[0]), "and the parent goes on"
assert cache.info().features == {"here": 3}
"""


def test_a_forked_child_encodes_the_same_and_shares_the_cache(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
