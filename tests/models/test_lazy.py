"""When everything is cached, torch is never imported; what is known is never stale, and fits any process."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from fakes import FakeEncoder

from clipcli import load_model
from clipcli.cache import FeatureCache
from clipcli.errors import ModelError
from clipcli.inputs import item
from clipcli.models import lazy, locate
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.lazy import LazyEncoder, ModelFacts, open_encoder
from clipcli.models.registry import ASSETS
from clipcli.models.request import ModelRequest
from clipcli.records import Encoder, Float32Array

Cli = Callable[..., Result]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return shutil.copytree(ASSETS / "nano", tmp_path / "model")


def modules_of(*arguments: object) -> tuple[str, set[str]]:
    """Run the command line in a fresh process; its stdout, and what it imported."""
    code = f"""
import sys
from clipcli.cli.app import main
sys.argv = ["clipcli", *{[str(argument) for argument in arguments]!r}]
try:
    main()
except SystemExit as exit_:
    sys.stdout.flush()
    print(*sys.modules, file=sys.stderr)
    raise
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


# What takes time to import, and only other commands, inputs and outputs need
_FOR_OTHER_RUNS = {
    *("ssl", "tarfile", "yaml", "pathspec", "pyarrow", "xlsxwriter", "PIL.ImageCms", "PIL.TiffImagePlugin"),
    *("clipcli.cli.search", "clipcli.cli.train", "clipcli.learning", "clipcli.scoring.probe"),
    *("clipcli.inputs.archives", "clipcli.inputs.remote", "clipcli.inputs.hub_datasets"),
    *("clipcli.inputs.tables.table", "clipcli.inputs.frames.video", "clipcli.inputs.frames.document"),
    *("clipcli.output.report.writer", "clipcli.output.xlsx.workbook", "clipcli.output.feature_files"),
}


def test_a_cached_run_needs_no_torch_and_writes_the_same(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun,fish", "-m", model, "--format", "csv")
    fresh = run_cli(*arguments)
    assert fresh.code == 0, fresh.err
    again, modules = modules_of(*arguments, "--quiet")
    assert again == fresh.out
    assert not modules & {"torch", "open_clip", "transformers", "huggingface_hub", "pandas"}
    assert not modules & _FOR_OTHER_RUNS


def test_a_new_picture_or_class_loads_the_model(run_cli: Cli, pictures: Path, model: Path) -> None:
    common = ("-m", model, "--format", "csv", "--quiet")
    run_cli("classify", pictures, "-l", "cat,sun", *common)
    fresh = run_cli("classify", pictures, "-l", "cat,dog", *common, "--no-cache")
    again, modules = modules_of("classify", pictures, "-l", "cat,dog", *common)
    assert "torch" in modules
    assert again == fresh.out


def test_changed_weights_are_noticed(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model, "--format", "csv", "--quiet")
    before = run_cli(*arguments)
    weights = model / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4000:] = bytes(4000)
    weights.write_bytes(data)
    after = run_cli(*arguments)
    assert after.out != before.out
    assert after.out == run_cli(*arguments, "--no-cache").out


def test_a_changed_configuration_is_noticed(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model, "--format", "csv", "--quiet")
    before = run_cli(*arguments)
    config = model / "open_clip_config.json"
    config.write_text(config.read_text().replace('"squash"', '"longest"'))
    after = run_cli(*arguments)
    assert after.out != before.out
    assert after.out == run_cli(*arguments, "--no-cache").out


def same_times(path: Path, content: bytes) -> None:
    """Other content under the same name, of the same size and modification time."""
    status = path.stat()
    assert len(content) == status.st_size
    time.sleep(0.02)  # times are as coarse as the clock of the file system
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("verify", [False, True])
def test_weights_of_the_same_size_and_time_are_noticed(
    run_cli: Cli, pictures: Path, model: Path, verify: bool
) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model, "--format", "csv", "--quiet")
    before = run_cli(*arguments)
    weights = model / "open_clip_model.safetensors"
    same_times(weights, weights.read_bytes()[:-4000] + bytes(4000))
    after = run_cli(*arguments, *(["--verify"] if verify else []))
    assert after.out != before.out
    assert after.out == run_cli(*arguments, "--no-cache").out


def test_verify_goes_by_content_where_the_file_system_hides_a_change(
    run_cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item, "identity", lambda _: "as always")
    monkeypatch.setattr(item, "RACY_SECONDS", 0)
    monkeypatch.setattr(locate, "identity", lambda _: "as always")
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", "nano", "--format", "csv", "--quiet")
    before = run_cli(*arguments).out
    first, second = sorted(pictures.iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert run_cli(*arguments).out == before
    verified = run_cli(*arguments, "--verify").out
    assert verified != before
    assert verified == run_cli(*arguments, "--no-cache").out


def test_better_weights_that_are_added_are_taken(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model, "--format", "csv", "--quiet")
    weights = model / "open_clip_model.safetensors"
    other = weights.rename(model / "another.safetensors")
    before = run_cli(*arguments)
    assert before.code == 0, before.err
    weights.write_bytes(other.read_bytes()[:-4000] + bytes(4000))
    after = run_cli(*arguments)
    assert after.out != before.out
    assert after.out == run_cli(*arguments, "--no-cache").out


def test_a_model_that_changed_during_a_run_is_told_once(
    model: Path, cache: FeatureCache, nano: OpenClipEncoder
) -> None:
    open_encoder(request_for(model), cache)
    change_facts(cache, lambda facts: facts.update(cache_key="of another machine"))
    with pytest.raises(ModelError, match="is not what it was"):
        open_encoder(request_for(model), cache).encode_images(PIXELS)
    again = open_encoder(request_for(model), cache)
    np.testing.assert_array_equal(again.encode_images(PIXELS), nano.encode_images(PIXELS))


def test_missing_weights_are_noticed(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model)
    run_cli(*arguments)
    (model / "open_clip_model.safetensors").unlink()
    result = run_cli(*arguments)
    assert result.code == 1
    assert "no weights in" in result.err


def test_another_precision_is_another_memory(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun", "-m", model, "--format", "csv", "--quiet")
    single = run_cli(*arguments, "--precision", "fp32").out
    half = run_cli(*arguments, "--precision", "bf16").out
    assert single != half
    assert run_cli(*arguments, "--precision", "fp32").out == single


def test_batches_in_flight_load_the_model_once() -> None:
    fake = FakeEncoder(in_flight=4)
    known = {field.name: getattr(fake, field.name, None) for field in fields(ModelFacts)}
    loads: list[FakeEncoder] = []

    def load() -> FakeEncoder:
        time.sleep(0.05)
        loads.append(fake)
        return fake

    encoder = LazyEncoder(ModelFacts(**known), load)
    assert encoder.in_flight == 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(encoder.encode_images, [np.zeros((1, 8, 8, 3), dtype=np.uint8)] * 4))
    assert len(loads) == 1


# --- From a request ------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with contextlib.closing(FeatureCache(tmp_path / "cache")) as opened:
        yield opened


def request_for(model: Path | str) -> ModelRequest:
    return ModelRequest(str(model), device="cpu", precision="fp32", offline=True)


def refuse(*_: object) -> OpenClipEncoder:
    pytest.fail("the model was built")


def test_a_known_model_is_built_when_something_is_encoded(
    model: Path, cache: FeatureCache, nano: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_encoder(request_for(model), cache)
    with monkeypatch.context() as patch:
        patch.setattr(lazy, "_load", refuse)
        encoder = open_encoder(request_for(model), cache)
        told = {field.name for field in fields(ModelFacts)} - {
            "name",
            "provenance",
            "weights",
            "sources",
        }
        assert {name: getattr(encoder, name) for name in told} == {name: getattr(nano, name) for name in told}
        assert encoder.provenance()["weights_sha256"] == nano.files.sha256
    encoder = open_encoder(request_for(model), cache)
    np.testing.assert_array_equal(encoder.encode_images(PIXELS), nano.encode_images(PIXELS))
    np.testing.assert_array_equal(encoder.encode_texts(["a cat"]), nano.encode_texts(["a cat"]))


def test_the_python_api_opens_it_too(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_model("nano", device="cpu", precision="fp32", cache=cache)
    monkeypatch.setattr(lazy, "_load", refuse)
    again = load_model("nano", device="cpu", precision="fp32", cache=cache)
    assert isinstance(first, LazyEncoder) and isinstance(again, LazyEncoder)
    assert (again.cache_key, again.logit_scale) == (first.cache_key, first.logit_scale)


def test_without_a_cache_it_is_loaded_now() -> None:
    assert isinstance(open_encoder(request_for("nano")), OpenClipEncoder)
    assert isinstance(load_model("nano", device="cpu", precision="fp32"), OpenClipEncoder)


def change_facts(cache: FeatureCache, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite what the cache knows of its one model."""
    with contextlib.closing(sqlite3.connect(cache.path)) as connection, connection:
        ((key, stored),) = connection.execute("SELECT request, facts FROM models").fetchall()
        facts = json.loads(stored)
        change(facts)
        connection.execute("UPDATE models SET facts = ? WHERE request = ?", (json.dumps(facts), key))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("devices"),
        lambda facts: facts.pop("preprocess"),
        lambda facts: facts.update(channels=3),
        lambda facts: facts.update(preprocess=None),
        lambda facts: facts["preprocess"].pop("mean"),
        lambda facts: facts["preprocess"].update(antialias=True),
    ],
    ids=["no devices", "no preprocess", "more", "empty preprocess", "no mean", "more preprocess"],
)
def test_facts_of_another_version_are_not_known(
    model: Path, cache: FeatureCache, change: Callable[[dict[str, Any]], object]
) -> None:
    open_encoder(request_for(model), cache)
    change_facts(cache, lambda facts: facts.update(batch_size=7))
    assert open_encoder(request_for(model), cache).batch_size == 7, "the facts are read"
    change_facts(cache, change)
    assert open_encoder(request_for(model), cache).batch_size == 32, "the model is loaded"
    change_facts(cache, lambda facts: facts.update(batch_size=7))
    assert open_encoder(request_for(model), cache).batch_size == 7, "and its facts were kept"


def encode_elsewhere(encoder: Encoder, folder: Path) -> tuple[Float32Array, Float32Array]:
    """What another process makes of it, in another working directory."""
    os.chdir(folder)
    return encoder.encode_images(PIXELS), encoder.encode_texts(["a cat"])


def test_another_process_encodes_the_same_from_a_pickle(
    model: Path, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    encoder = open_encoder(request_for(model.name), cache)
    images, texts = encoder.encode_images(PIXELS), encoder.encode_texts(["a cat"])
    assert len(pickle.dumps(encoder)) < 10_000, "the loaded model stays here"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        (tmp_path / "elsewhere").mkdir()
        there = pool.submit(encode_elsewhere, encoder, tmp_path / "elsewhere").result()
    np.testing.assert_array_equal(there[0], images)
    np.testing.assert_array_equal(there[1], texts)


def test_int8_towers_are_kept_beside_the_cache(
    cache: FeatureCache, nano: OpenClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[object] = []

    def load(*arguments: object) -> OpenClipEncoder:
        folders.append(arguments[-1])
        return nano

    monkeypatch.setattr(lazy, "_load", load)
    open_encoder(request_for("nano"), cache)
    open_encoder(request_for("nano"), None, cache.path.parent / "other")
    assert folders == [cache.path.parent, cache.path.parent / "other"]
