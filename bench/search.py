"""Searching random vectors in a cache: whole processes, and further queries in one process."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import measured

from clipcli import api
from clipcli.cache import FeatureCache, prompts_digest
from clipcli.gallery import EncodedQueries
from clipcli.images.decode import DEFAULT
from clipcli.inputs.item import FileItem
from clipcli.known_images import KnownImages
from clipcli.records import Encoder, Float32Array, Version
from clipcli.scoring.queries import NEUTRAL
from clipcli.scoring.search import Cut

WIDTH = 512
CHUNK = 10_000
QUERY = "a query"
FOUND = 20  # files that are there, and nearest to the query
REPEATS = 5


def searched(model: str, amount: int) -> None:
    """Print how long it takes to search `amount` vectors, which are mapped and not copied."""
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        encoder = api.load_model(model, cache=cache)
        start = time.perf_counter()
        query, neutral = filled(cache, encoder, Path(folder), amount)
        print(f"\nsearch, {amount} x {WIDTH} random vectors; filled in {time.perf_counter() - start:.0f} s")
        command = [sys.executable, "-m", "clipcli", "search", QUERY, "--known", "-q", "-m", model]
        command += ["--cache", folder, "-o", f"{folder}/found.csv"]
        seconds, memory = measured(command)
        print(f"  a process that makes the matrix{seconds:>14.2f} s   peak {memory:.0f} MB")
        runs = [measured(command) for _ in range(REPEATS)]
        seconds, memory = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
        print(f"  a whole process, median of {REPEATS}{seconds:>16.2f} s   peak {memory:.0f} MB with the map")
        gallery = KnownImages(encoder, None, cache)
        encoded = EncodedQueries([QUERY], query[np.newaxis], neutral)
        times = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            hits = gallery.hits(encoded, Cut(10))
            times.append(time.perf_counter() - start)
        assert len(hits) == 10 and all(hit.score > 0.5 for hit in hits)
        print(f"  the first query of a process{times[0]:>17.2f} s")
        print(f"  a further query, median of {REPEATS}{statistics.median(times[1:]):>16.2f} s")
        cache.close()


def filled(
    cache: FeatureCache, encoder: Encoder, folder: Path, amount: int
) -> tuple[Float32Array, Float32Array]:
    """Put vectors into a cache as if the model had made them; returns those of the query and of "a photo"."""
    key = encoder.cache_key + DEFAULT.cache_suffix
    generator = np.random.default_rng(0)
    texts = unit(generator.standard_normal((2, WIDTH), dtype=np.float32))
    cache.add(encoder.text_key, [prompts_digest((QUERY,)), prompts_digest((NEUTRAL,))], texts)
    real = [folder / f"{number}.png" for number in range(FOUND)]
    for path in real:
        path.write_bytes(b"")
    time.sleep(2.5)  # a file that is newer has no version
    for start in range(0, amount, CHUNK):
        numbers = range(start, min(start + CHUNK, amount))
        vectors = generator.standard_normal((len(numbers), WIDTH), dtype=np.float32)
        digests = [number.to_bytes(8, "big") + bytes(12) for number in numbers]
        versions = [Version(b"/photos/%07d.jpg" % number, "1-1-1-1") for number in numbers]
        if not start:
            vectors[:FOUND] += 30 * texts[0]
            versions[:FOUND] = [version for path in real if (version := FileItem(os.fspath(path)).version())]
        cache.add(key, digests, unit(vectors), zip(versions, digests, strict=True))
    return texts[0], texts[1]


def unit(vectors: Float32Array) -> Float32Array:
    """Of length 1 each."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
