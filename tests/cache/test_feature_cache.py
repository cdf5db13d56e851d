"""The feature cache: right or silent, never wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command
from conftest import EXAMPLES, ROOT, Result
from fakes import items
from PIL import Image

from clipcli import load_model
from clipcli.cache import NAME, FeatureCache, content_digest, prompts_digest, schema
from clipcli.errors import ClipcliWarning
from clipcli.inputs import item
from clipcli.inputs.item import FileItem
from clipcli.libraries import pixel_libraries, tower_libraries
from clipcli.pipeline import EngineOptions, encode
from clipcli.prompts.templates import PromptSet
from clipcli.records import Version
from clipcli.scoring.class_embeddings import build_classifier

VECTORS = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
DIGESTS = [content_digest(bytes([number])) for number in range(3)]
FILES = ROOT / "tests" / "files"
LONG_AGO = 1_500_000_000


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    opened = FeatureCache(tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now count as if they had lain there for long."""
    monkeypatch.setattr(item, "RACY_SECONDS", 0)


@pytest.fixture
def paths(pictures: Path) -> list[str]:
    """Pictures that were last changed long ago."""
    for path in pictures.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    return [str(path) for path in sorted(pictures.iterdir())]


@pytest.fixture(scope="module")
def tiny(tiny_model: str) -> Any:
    """An encoder: any will do."""
    return load_model(tiny_model, device="cpu", precision="fp32")


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.images = 0
        self.calls: list[int] = []
        self.texts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_images(self, pixels: Any) -> Any:
        self.images += len(pixels)
        self.calls.append(len(pixels))
        return self.encoder.encode_images(pixels)

    def encode_texts(self, texts: Any) -> Any:
        self.texts += len(texts)
        return self.encoder.encode_texts(texts)


def features_of(paths: list[str], encoder: Any, cache: FeatureCache | None) -> np.ndarray:
    batches = list(encode(items(paths), encoder, EngineOptions(batch_size=5), cache))
    return np.concatenate([batch.features for batch in batches])


# --- The store -----------------------------------------------------------------------------------


def test_vectors_come_back_as_they_went_in(cache: FeatureCache) -> None:
    cache.add("encoder", DIGESTS, VECTORS)
    for digest, vector in zip(DIGESTS, VECTORS, strict=True):
        np.testing.assert_array_equal(cache.features("encoder", digest), vector)


def test_another_encoder_never_meets_them(cache: FeatureCache) -> None:
    cache.add("encoder", DIGESTS, VECTORS)
    assert cache.features("another", DIGESTS[0]) is None


def test_a_changed_file_is_another_file(cache: FeatureCache, tmp_path: Path, settled: None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (LONG_AGO, LONG_AGO))
    key = FileItem(str(path)).version()
    assert key is not None
    cache.add("encoder", DIGESTS[:1], VECTORS[:1], [(key, DIGESTS[0])])
    another = key._replace(name=key.name + b"2")
    cache.add("encoder", DIGESTS[1:2], VECTORS[1:2], [(another, DIGESTS[1])])
    unknown = [
        key._replace(name=b"/none"),
        key._replace(token=f"1{key.token}"),
        key._replace(token=f"{key.token}1"),
    ]
    found = cache.features_of_versions("encoder", [another, *unknown, key])
    assert found[1:4] == [None, None, None]
    np.testing.assert_array_equal(np.stack([found[0], found[4]]), VECTORS[[1, 0]])  # type: ignore[arg-type]
    assert cache.features_of_versions("encoder", []) == []
    assert cache.features_of_versions("another", [key]) == [None]


def test_a_file_changed_just_now_is_not_trusted_by_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert FileItem(str(path)).version() is None
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert FileItem(str(path)).version() is None  # it was changed now, whatever is told
    monkeypatch.setattr(item, "RACY_SECONDS", 0)
    assert FileItem(str(path)).version() is not None


def overwritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replaced(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


@pytest.mark.parametrize("change", [overwritten, replaced])
def test_other_content_of_the_same_size_and_time_is_another_version(
    change: Callable[[Path, bytes], None], tmp_path: Path, settled: None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (LONG_AGO, LONG_AGO))
    before = FileItem(str(path)).version()
    time.sleep(0.02)  # times are as coarse as the clock of the file system
    change(path, b"two")
    os.utime(path, (LONG_AGO, LONG_AGO))
    after = FileItem(str(path)).version()
    assert before is not None and after is not None
    assert path.stat().st_mtime == LONG_AGO and path.stat().st_size == 3
    assert before != after


def test_texts_and_images_have_different_digests() -> None:
    assert prompts_digest(["a"]) != content_digest(b'["a"]')
    assert prompts_digest(["a", "b"]) != prompts_digest(["ab"])


def test_info_prune_and_clear(cache: FeatureCache, tmp_path: Path, settled: None) -> None:
    gone = tmp_path / "gone"
    gone.write_bytes(b"x")
    os.utime(gone, (LONG_AGO, LONG_AGO))
    key = FileItem(str(gone)).version()
    assert key is not None
    cache.add("a", DIGESTS, VECTORS, [(key, DIGESTS[0])])
    cache.add("b", DIGESTS[:1], VECTORS[:1])
    assert cache.info().features == {"a": 3, "b": 1}
    assert cache.info().files == 1
    gone.unlink()
    assert cache.prune(days=1) == 0
    assert cache.info().files == 0
    assert cache.prune(days=-1) == 4
    cache.add("a", DIGESTS, VECTORS)
    assert cache.clear() == 3
    assert cache.info().features == {}


# --- In the pipeline -----------------------------------------------------------------------------


def test_nothing_is_encoded_twice(tiny: Any, paths: list[str], cache: FeatureCache) -> None:
    counting = Counting(tiny)
    first = features_of(paths, counting, cache)
    assert counting.images == 12
    np.testing.assert_array_equal(features_of(paths, counting, cache), first)
    assert counting.images == 12
    np.testing.assert_array_equal(features_of(paths, tiny, None), first)


def test_a_moved_or_touched_picture_is_found_by_its_content(
    tiny: Any, paths: list[str], cache: FeatureCache
) -> None:
    counting = Counting(tiny)
    features_of(paths, counting, cache)
    os.utime(paths[0])
    Path(paths[1]).rename(Path(paths[1]).with_name("moved.jpg"))
    features_of([paths[0], str(Path(paths[1]).with_name("moved.jpg"))], counting, cache)
    assert counting.images == 12


def test_a_picture_replaced_under_its_name_is_encoded_again(
    tiny: Any, paths: list[str], cache: FeatureCache
) -> None:
    before = features_of(paths[:2], tiny, cache)
    Path(paths[0]).write_bytes(Path(paths[1]).read_bytes())
    after = features_of(paths[:2], tiny, cache)
    np.testing.assert_array_equal(after, before[[1, 1]])


def test_a_broken_picture_is_no_feature(tiny: Any, paths: list[str], cache: FeatureCache) -> None:
    Path(paths[3]).write_bytes(b"")
    for _ in range(2):
        (batch,) = encode(items(paths), tiny, EngineOptions(batch_size=100), cache)
        assert len(batch.items) == len(batch.features) == 11
    assert sum(cache.info().features.values()) == 11


def test_classes_are_built_once(tiny: Any, cache: FeatureCache) -> None:
    counting = Counting(tiny)
    cat, dog = ("a cat", "the cat"), ("a dog", "the dog")
    first = build_classifier(counting, PromptSet(("cat", "dog"), (cat, dog)), cache)
    assert counting.texts == 4
    again = build_classifier(counting, PromptSet(("dog", "cat"), (dog, cat)), cache)
    assert counting.texts == 4
    np.testing.assert_array_equal(again.class_embeddings, first.class_embeddings[::-1])
    build_classifier(counting, PromptSet(("dog", "sun"), (dog, ("a sun",))), cache)
    assert counting.texts == 5


# --- Faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "truncated", "header"])
def test_a_damaged_cache_is_put_aside_and_begun_anew(
    tiny: Any, paths: list[str], tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "cache"
    cache = FeatureCache(folder)
    expected = features_of(paths, tiny, cache)
    cache.close()
    file = folder / NAME
    if damage == "text":
        file.write_bytes(b"not a database at all " * 100)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        file.write_bytes(b"\0" * 100 + file.read_bytes()[100:])
    with pytest.warns(ClipcliWarning, match="was damaged .* a new one was begun"):
        cache = FeatureCache(folder)
        np.testing.assert_array_equal(features_of(paths, tiny, cache), expected)
    assert list(folder.glob(f"{NAME}.damaged-*"))
    counting = Counting(tiny)
    features_of(paths, counting, cache)
    features_of(paths, counting, cache)
    assert counting.images <= 12
    cache.close()


def test_a_newer_cache_is_refused_and_left_as_it_is(tiny: Any, paths: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    FeatureCache(folder).close()
    connection = sqlite3.connect(folder / NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE invented_later (fact TEXT)")
    connection.close()
    before = (folder / NAME).read_bytes()
    with pytest.warns(ClipcliWarning, match="newer clipcli: schema 99"):
        cache = FeatureCache(folder)
    features_of(paths, tiny, cache)
    assert cache.info().features == {}
    cache.close()
    assert (folder / NAME).read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [NAME]


# --- Caches of earlier versions ------------------------------------------------------------------


@pytest.fixture
def old_cache(tmp_path: Path) -> Path:
    """The folder of a cache that clipcli 0.1.0 wrote, of four examples that lay in /photos."""
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(FILES / "features-0.1.0.sqlite", folder / NAME)
    return folder


OLD_TOWER = f"8aa8b37b205d220f-fp32-cpu-{tower_libraries('fp32')}"
OLD_ENCODER = f"{OLD_TOWER}-pixels3-{pixel_libraries()}"
OLD_VERSION = Version(b"/photos/cat-1.jpg", "7855-1767323045678901234-1767323045678901234-17")


def test_a_cache_of_0_1_0_keeps_its_vectors(old_cache: Path) -> None:
    digest = content_digest((EXAMPLES / "cat-1.jpg").read_bytes())
    for _ in range(2):  # migrated once, found again as it is now
        with contextlib.closing(FeatureCache(old_cache)) as cache:
            (vector,) = cache.features_of_versions(OLD_ENCODER, [OLD_VERSION])
            assert vector is not None
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
            np.testing.assert_array_equal(vector, cache.features(OLD_ENCODER, digest))
            assert cache.features_of_versions(OLD_ENCODER, [OLD_VERSION._replace(token="7855-1-1-17")]) == [
                None
            ]
            info = cache.info()
            assert info.files == 4
            assert set(info.features.values()) == {4}
            assert set(info.models.values()) == {"nano"}
            assert len(info.models) == len(info.features) == 1, "classes are made again"
    assert [path.name for path in old_cache.iterdir()] == [NAME]


def test_a_run_on_a_cache_of_0_1_0_encodes_nothing(tiny: Any, old_cache: Path) -> None:
    """By the model that 0.1.0 had, which is another one than that of today."""
    paths = [EXAMPLES / name for name in ("book-1.png", "cat-1.jpg", "sun-1.png")]
    old_nano = Counting(tiny)
    old_nano.cache_key = OLD_TOWER
    with contextlib.closing(sqlite3.connect(FILES / "features-0.1.0.sqlite")) as connection:
        stored = dict(connection.execute("SELECT digest, vector FROM features"))
    vectors = [stored[content_digest(path.read_bytes())] for path in paths]
    expected = [np.frombuffer(vector, "<f4", count=192) for vector in vectors]  # and a checksum
    with contextlib.closing(FeatureCache(old_cache)) as cache:
        (batch,) = encode(items(map(str, paths)), old_nano, EngineOptions(), cache)
    assert old_nano.images == 0
    np.testing.assert_array_equal(batch.features, expected)
    assert len(set(vectors)) == 3


def test_a_file_changed_after_its_vector_was_made_is_not_the_one_of_0_1_0(old_cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(old_cache / NAME)) as connection:
        (made,) = connection.execute("SELECT max(made) FROM features").fetchone()
    token = f"7855-1767323045678901234-{(made + 1) * 10**9}-17"
    with contextlib.closing(FeatureCache(old_cache)) as cache:
        assert cache.features_of_versions(OLD_ENCODER, [OLD_VERSION._replace(token=token)]) == [None]


def test_int8_of_0_1_0_is_encoded_again(old_cache: Path) -> None:
    """Its towers were made in another way."""
    with contextlib.closing(sqlite3.connect(old_cache / NAME)) as connection, connection:
        connection.execute("UPDATE features SET encoder = replace(encoder, '-fp32-', '-int8-')")
        assert connection.execute("SELECT count(*) FROM features WHERE encoder LIKE '%-int8-%'").fetchone()[0]
    with contextlib.closing(FeatureCache(old_cache)) as cache:
        assert not any(tower_libraries("int8") in encoder for encoder in cache.info().features)


def test_images_that_0_1_0_decoded_wrongly_are_encoded_again(old_cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(old_cache / NAME)) as connection, connection:
        names = [b"/photos/cat-1.TIFF", b"/photos/cat-1.jpg"]
        connection.execute("UPDATE files SET path = ? WHERE path = ?", names)
    with contextlib.closing(FeatureCache(old_cache)) as cache:
        token = OLD_VERSION.token
        assert cache.features_of_versions(OLD_ENCODER, [Version(b"/photos/cat-1.TIFF", token)]) == [None]
        assert sorted(cache.info().features.values()) == [1, 3]


def test_a_migration_that_fails_changes_nothing(old_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE files")
        raise sqlite3.OperationalError("the disk is full")

    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, broken))
    with pytest.warns(ClipcliWarning, match="the disk is full"):
        FeatureCache(old_cache)
    monkeypatch.undo()
    with contextlib.closing(FeatureCache(old_cache)) as cache:
        assert cache.info().files == 4


def test_several_processes_migrate_a_cache_once(old_cache: Path) -> None:
    script = "import sys; from pathlib import Path; from clipcli.cache import FeatureCache\n"
    script += "print(FeatureCache(Path(sys.argv[1])).info().files)"
    command = [sys.executable, "-W", "error", "-c", script, str(old_cache)]
    opened = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in opened] == ["4\n"] * 4


def test_prune_forgets_files_that_are_gone_and_leaves_what_is_no_file(
    cache: FeatureCache, tmp_path: Path
) -> None:
    archive = tmp_path / "scans.zip"
    archive.touch()
    names = ["/gone.png", "/gone.zip!/a.png", f"{archive}!/a.png", "s3://bucket/a.png", f"{archive}"]
    cache.add("a", DIGESTS, VECTORS, [(Version(name.encode(), "1"), DIGESTS[0]) for name in names])
    cache.prune(days=1)
    versions = [Version(name.encode(), "1") for name in names]
    kept = [vector is not None for vector in cache.features_of_versions("a", versions)]
    assert kept == [False, False, True, True, True]


def test_a_flipped_bit_in_a_vector_is_noticed(tiny: Any, paths: list[str], tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    expected = features_of(paths, tiny, cache)
    connection = sqlite3.connect(cache.path)
    blobs = connection.execute("SELECT digest, vector FROM features").fetchall()
    for digest, blob in blobs:
        flipped = bytes([blob[0] ^ 0x40]) + blob[1:]
        connection.execute("UPDATE features SET vector = ? WHERE digest = ?", (flipped, digest))
    connection.commit()
    connection.close()
    counting = Counting(tiny)
    np.testing.assert_array_equal(features_of(paths, counting, cache), expected)
    assert counting.images == 12
    cache.close()


def test_a_cache_that_cannot_be_made_is_a_warning(tiny: Any, paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(ClipcliWarning, match="cannot be used .* going on without it"):
        cache = FeatureCache(tmp_path / "file" / "cache")
    assert len(features_of(paths, tiny, cache)) == 12


def test_a_locked_cache_is_a_warning(
    tiny: Any, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.cache.file._BUSY_SECONDS", 0.1)
    cache = FeatureCache(tmp_path / "cache")
    blocker = sqlite3.connect(cache.path)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.warns(ClipcliWarning, match="locked"):
        assert len(features_of(paths, tiny, cache)) == 12
    blocker.close()


def test_a_lock_that_never_comes_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.cache.file._BUSY_SECONDS", 1)
    folder = tmp_path / "cache"
    FeatureCache(folder).close()
    seconds = []
    with contextlib.closing(sqlite3.connect(folder / NAME)) as blocker:
        blocker.execute("PRAGMA locking_mode = EXCLUSIVE")
        blocker.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            start = time.monotonic()
            with pytest.warns(ClipcliWarning, match="locked"):
                FeatureCache(folder).close()
            seconds.append(time.monotonic() - start)
    assert seconds[0] >= 1 > 2 * seconds[1]
    with contextlib.closing(FeatureCache(folder)) as cache:  # the lock is free again, and that is remembered
        assert not cache.problem
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.fixture
def read_only(tiny: Any, paths: list[str], tmp_path: Path, settled: None) -> Iterator[Path]:
    """A cache with all images, on a read-only disk."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with contextlib.closing(FeatureCache(folder)) as cache:
        features_of(paths, tiny, cache)
    mount = ["mount", "--bind", "-o", "ro", str(folder), str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted read-only here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_cache_is_used(
    tiny: Any, paths: list[str], read_only: Path, run_cli: Callable[..., Result]
) -> None:
    counting = Counting(tiny)
    with pytest.warns(ClipcliWarning, match="is read-only: its features are used, and no new ones"):
        cache = FeatureCache(read_only)
    features_of(paths, counting, cache)
    assert counting.images == 0
    cache.add("new", DIGESTS, VECTORS)
    cache.close()
    assert run_cli("cache", "info", "--cache", read_only).code == 0
    for command in ("clear", "prune"):
        result = run_cli("cache", command, "--cache", read_only)
        assert result.code == 1
        assert result.err.startswith(f"error: the cache {read_only / NAME} cannot be used: attempt to write")
        assert "removed" not in result.err
    assert [path.name for path in read_only.iterdir()] == [NAME]


@pytest.mark.parametrize("command", ["info", "prune", "clear"])
def test_commands_on_a_cache_that_cannot_be_opened_fail(
    command: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "cache"
    result = run_cli("cache", command, "--cache", folder)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"error: the cache {folder / NAME} cannot be used: ")
    assert result.err.count("\n") == 1


def test_few_new_images_among_many_known_ones_fill_whole_batches(
    pictures: Path, tiny: Any, cache: FeatureCache
) -> None:
    known = [str(path) for path in sorted(pictures.iterdir())][:4]
    features_of(known, tiny, cache)
    new = []
    for shade in range(8):
        path = pictures / f"shade-{shade}.png"
        Image.new("L", (8, 8), shade).save(path)
        new.append(str(path))
    counting = Counting(tiny)
    mixed = [path for one in new for path in (*known, one, *known)]
    kept = features_of(mixed, counting, cache)
    assert counting.calls == [5, 3], "at a batch size of 5"
    np.testing.assert_array_equal(kept, features_of(mixed, tiny, None))


def test_two_writers_at_once(tmp_path: Path) -> None:
    def write(encoder: str) -> None:
        cache = FeatureCache(tmp_path / "cache")
        for number in range(100):
            cache.add(encoder, [content_digest(f"{number}".encode())], VECTORS[:1])
        cache.close()

    threads = [threading.Thread(target=write, args=(f"encoder {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = FeatureCache(tmp_path / "cache")
    assert cache.info().features == {f"encoder {number}": 100 for number in range(3)}
    cache.close()


def test_a_cache_begun_by_several_at_the_same_moment(tmp_path: Path) -> None:
    """SQLite refuses the switch to WAL, without waiting, while another makes it."""
    start = threading.Barrier(4)

    def begin(folder: Path, name: str) -> None:
        start.wait()
        cache = FeatureCache(folder)
        cache.remember(name, {})
        cache.close()

    for attempt in range(100):
        folder = tmp_path / str(attempt)
        threads = [threading.Thread(target=begin, args=(folder, f"{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cache = FeatureCache(folder)
        assert [cache.recall(f"{number}") for number in range(4)] == [{}] * 4
        cache.close()


WRITER = """
import sys
import numpy as np
from pathlib import Path
from clipcli.cache import FeatureCache, content_digest
cache = FeatureCache(Path(sys.argv[1]))
for number in range(150):
    digests = [content_digest(b"shared %d" % number), content_digest(f"{sys.argv[2]} {number}".encode())]
    cache.add("encoder", digests, np.full((2, 8), number, np.float32))
    assert cache.features("encoder", digests[0])[0] == number
cache.close()
"""


def test_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path / "cache")]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    cache = FeatureCache(tmp_path / "cache")
    assert cache.info().features == {"encoder": 150 + 3 * 150}
    vector = cache.features("encoder", content_digest(b"2 149"))
    assert vector is not None
    assert (vector == 149).all()
    cache.close()


def test_a_clock_that_goes_backwards_is_no_fault(
    tiny: Any, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = features_of(paths, tiny, None)
    counting = Counting(tiny)
    now = time.time()
    for moment in (now, now - 10**6, 1e9, now + 10**9):  # before the pictures were made, too
        monkeypatch.setattr("clipcli.cache.feature_cache.time.time", lambda moment=moment: moment)
        with contextlib.closing(FeatureCache(tmp_path / "cache")) as cache:
            np.testing.assert_array_equal(features_of(paths, counting, cache), expected)
    assert counting.images == 12
    Path(paths[0]).write_bytes(Path(paths[1]).read_bytes())  # newer than the clock says it is
    os.utime(paths[0], (now + 10**8, now + 10**8))
    monkeypatch.setattr("clipcli.cache.feature_cache.time.time", lambda: now)
    with contextlib.closing(FeatureCache(tmp_path / "cache")) as cache:
        np.testing.assert_array_equal(features_of(paths[:1], counting, cache)[0], expected[1])


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_stopped(
    pictures: Path, paths: list[str], tmp_path: Path, own_cache: Path, run_cli: Callable[..., Result]
) -> None:
    """kill -9 at about 60 %; the second run encodes only the rest and writes the same bytes."""
    listed = tmp_path / "list.txt"
    many = []
    for number in range(400):
        copy = tmp_path / f"{number}.jpg"
        copy.write_bytes(Path(paths[0]).read_bytes() + bytes([number % 256, number // 256]))
        many.append(str(copy))
    listed.write_text("\n".join(many))
    arguments = [
        "classify",
        "-f",
        str(listed),
        "-l",
        "cat,sun",
        "-m",
        "nano",
        "--precision",
        "fp32",
        "-b",
        "8",
    ]
    whole = tmp_path / "whole.csv"
    assert run_cli(*arguments, "--no-cache", "-o", whole).code == 0

    output = tmp_path / "out.csv"
    process = Command(*arguments, "-o", output)
    while process.poll() is None and stored(own_cache) < 0.6 * 400:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert not output.exists()
    before = stored(own_cache)
    assert 0.6 * 400 <= before < 400
    assert run_cli(*arguments, "-o", output).code == 0
    assert output.read_bytes() == whole.read_bytes()


def stored(folder: Path) -> int:
    """Vectors of images in a cache that another process writes."""
    if not (folder / NAME).exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{folder / NAME}?mode=ro", uri=True)
        (count,) = connection.execute("SELECT COUNT(*) FROM features").fetchone()
        connection.close()
    except sqlite3.OperationalError:  # not yet made
        return 0
    return int(count) - 2  # two classes


def test_the_commands(run_cli: Callable[..., Result], pictures: Path, own_cache: Path) -> None:
    run_cli("classify", pictures, "-l", "cat,sun", "-m", "nano", "--precision", "fp32", "--device", "cpu")
    shown = run_cli("cache", "info").out
    assert str(own_cache) in shown
    assert "nano (fp32, cpu): 2 classes" in shown
    assert "nano (fp32, cpu): 12 images" in shown
    assert "0 features removed" in run_cli("cache", "prune").err
    assert "14 features removed" in run_cli("cache", "clear").err
    run_cli("classify", pictures, "-l", "cat,sun", "-m", "nano", "--no-cache")
    assert "features" not in run_cli("cache", "info").out.splitlines()[1:]
