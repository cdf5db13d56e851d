"""The matrix that the cache keeps of an encoder's vectors: always complete, whatever happens to its files."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clipcli.cache import FeatureCache, content_digest
from clipcli.cache.matrix import FOLDER, FeatureMatrix
from clipcli.errors import ClipcliWarning
from clipcli.records import Version

WIDTH = 8


def contents(first: int, last: int) -> tuple[list[bytes], np.ndarray]:
    """Digests and vectors of some contents, the same ones each time."""
    digests = [content_digest(str(number).encode()) for number in range(first, last)]
    vectors = [np.random.default_rng(number).standard_normal(WIDTH) for number in range(first, last)]
    return digests, np.array(vectors, dtype=np.float32)


def check(matrix: FeatureMatrix, first: int, last: int) -> None:
    """The matrix has these contents, each with its own vector."""
    digests, vectors = contents(first, last)
    rows = matrix.find(digests)
    assert (rows >= 0).all()
    assert np.array_equal(matrix.vectors[rows], vectors)
    assert matrix.digests(rows) == digests
    assert not any(map(matrix.is_damaged, rows))


def files(cache: FeatureCache) -> list[Path]:
    return sorted(path for path in (cache.path.parent / FOLDER).iterdir() if path.name != "lock")


def test_it_is_brought_up_to_date_by_appending(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    assert len(cache.matrix("a").keys) == 0
    cache.add("a", *contents(0, 30))
    cache.add("b", *contents(20, 40))
    first = cache.matrix("a")
    check(first, 0, 30)
    before = np.array(first.vectors)
    cache.add("a", *contents(30, 50))
    second = cache.matrix("a")
    check(second, 0, 50)
    assert len(second.keys) == 50
    assert np.array_equal(second.vectors[:30], before), "rows stay where they are"
    check(first, 0, 30)  # what is mapped already
    check(cache.matrix("b"), 20, 40)
    assert len(cache.matrix("b").keys) == 20


def test_it_is_mapped_not_copied(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 3))
    base = cache.matrix("a").vectors.base
    assert isinstance(base, np.memmap)
    assert base.mode == "r"


def test_what_is_not_there_has_no_row(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 3))
    digests, _ = contents(0, 1)
    near = digests[0][:19] + bytes([digests[0][19] ^ 1])  # the same beginning
    matrix = cache.matrix("a")
    assert matrix.find([near, b"", b"short", *digests, b"\xff" * 20]).tolist()[:3] == [-1, -1, -1]
    assert matrix.find([*digests])[0] >= 0
    assert matrix.find([]).tolist() == []


def test_of_a_content_that_was_encoded_again_the_latest_vector_counts(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    digests, vectors = contents(0, 3)
    cache.add("a", digests, vectors)
    cache.matrix("a")
    cache.add("a", digests[1:2], -vectors[1:2])
    matrix = cache.matrix("a")
    assert np.array_equal(matrix.vectors[matrix.find(digests)], vectors * [[1], [-1], [1]])


@pytest.mark.parametrize("kind", ["json", "f32", "keys"])
@pytest.mark.parametrize("harm", ["removed", "emptied", "garbage", "longer"])
def test_files_that_are_harmed_are_made_again(own_cache: Path, kind: str, harm: str) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 30))
    cache.matrix("a")
    (path,) = (path for path in files(cache) if path.suffix == f".{kind}")
    content = path.read_bytes()
    if harm == "removed":
        path.unlink()
    elif harm == "garbage" and kind == "json":
        path.write_bytes(b"{")
    elif harm == "longer":  # left by a process that was killed before it replaced the JSON
        path.write_bytes(content + (b"" if kind == "json" else b"x" * 13))
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "garbage" else b"")
    cache.add("a", *contents(30, 40))
    check(cache.matrix("a"), 0, 40)


def test_a_flipped_bit_is_noticed(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 5))
    cache.matrix("a")
    (path,) = (path for path in files(cache) if path.suffix == ".f32")
    content = bytearray(path.read_bytes())
    content[4 * WIDTH * 2 + 5] ^= 4
    path.write_bytes(content)
    assert [cache.matrix("a").is_damaged(row) for row in range(5)] == [False, False, True, False, False]


def test_vectors_that_are_removed_from_the_cache_are_removed_from_it(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    for remove in (cache.clear, lambda: cache.prune(-1)):
        cache.add("a", *contents(0, 30))
        check(cache.matrix("a"), 0, 30)
        remove()
        assert not (own_cache / FOLDER).exists()
        assert len(cache.matrix("a").keys) == 0
    cache.add("a", *contents(10, 20))
    assert len(cache.matrix("a").keys) == 10
    check(cache.matrix("a"), 10, 20)


def test_files_that_could_not_be_removed_are_not_used_again(own_cache: Path, tmp_path: Path) -> None:
    """On Windows another process that has them mapped keeps them."""
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 30))
    cache.matrix("a")
    shutil.copytree(own_cache / FOLDER, tmp_path / "kept")
    cache.clear()
    shutil.copytree(tmp_path / "kept", own_cache / FOLDER)
    assert len(cache.matrix("a").keys) == 0
    cache.add("a", *contents(30, 40))
    assert len(cache.matrix("a").keys) == 10
    check(cache.matrix("a"), 30, 40)


def test_a_matrix_of_another_cache_at_the_same_place_is_not_used(own_cache: Path) -> None:
    """The file was removed, or put aside because it was damaged; its numbers begin anew."""
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 30))
    cache.matrix("a")
    cache.close()
    cache.path.unlink()
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(40, 50))
    check(cache.matrix("a"), 40, 50)
    assert len(cache.matrix("a").keys) == 10
    assert len(files(cache)) == 3, "files of the former one are removed"


def test_a_cache_of_a_former_version_has_all_rows(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 30))
    with cache._connection:  # type: ignore[union-attr]
        for statement in (
            "DROP TRIGGER number_additions",
            "DROP TABLE additions",
            "DROP TABLE generation",
            "PRAGMA user_version = 3",
        ):
            cache._connection.execute(statement)  # type: ignore[union-attr]
    cache.close()
    cache = FeatureCache(own_cache)
    check(cache.matrix("a"), 0, 30)
    cache.add("a", *contents(30, 31))
    check(cache.matrix("a"), 0, 31)


def test_a_cache_that_cannot_be_written_has_the_rows_of_before(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 30))
    cache.matrix("a")
    cache.add("a", *contents(30, 40))
    cache.close()
    monkeypatch.setattr("clipcli.cache.file.cannot_be_written", lambda path: True)
    with pytest.warns(ClipcliWarning, match="read-only"):
        cache = FeatureCache(own_cache)
    check(cache.matrix("a"), 0, 30)


def test_where_no_matrix_can_be_written_there_is_a_warning_and_no_row(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    cache.add("a", *contents(0, 3))
    (own_cache / FOLDER).write_text("a file")
    with pytest.warns(ClipcliWarning, match="going on without it"):
        assert len(cache.matrix("a").keys) == 0


def test_nothing_is_taken_on_trust_where_content_alone_counts(own_cache: Path) -> None:
    cache = FeatureCache(own_cache)
    version = Version(b"/a.png", "1")
    digests, vectors = contents(0, 1)
    cache.add("a", digests, vectors, [(version, digests[0])])
    assert cache.digests_of_versions([version, version._replace(token="2")]) == [digests[0], b""]
    verifying = FeatureCache(own_cache, verify=True)
    assert len(verifying.matrix("a").keys) == 0
    assert verifying.digests_of_versions([version]) == [b""]


def _add_and_map(folder: Path, first: int) -> None:
    cache = FeatureCache(folder)
    for start in range(first, first + 40, 10):
        cache.add("a", *contents(start, start + 10))
        check(cache.matrix("a"), first, start + 10)
    os._exit(0)


def test_processes_that_add_and_map_at_once_lose_nothing(own_cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    FeatureCache(own_cache).close()
    children = [context.Process(target=_add_and_map, args=(own_cache, 100 * one)) for one in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    matrix = FeatureCache(own_cache).matrix("a")
    for one in range(4):
        check(matrix, 100 * one, 100 * one + 40)
    assert len(matrix.keys) == 160, "none twice"
