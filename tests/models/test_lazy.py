"""When everything is cached, torch is never imported; and what is remembered is never stale."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from fakes import FakeEncoder

from clipcli.models.lazy import LazyEncoder, ModelFacts
from clipcli.models.registry import ASSETS

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


def test_a_cached_run_needs_no_torch_and_writes_the_same(run_cli: Cli, pictures: Path, model: Path) -> None:
    arguments = ("classify", pictures, "-l", "cat,sun,fish", "-m", model, "--format", "csv")
    fresh = run_cli(*arguments)
    assert fresh.code == 0, fresh.err
    again, modules = modules_of(*arguments, "--quiet")
    assert again == fresh.out
    assert not modules & {"torch", "open_clip", "transformers", "huggingface_hub", "pandas"}


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
    config.write_text(config.read_text().replace('"longest"', '"squash"'))
    after = run_cli(*arguments)
    assert after.out != before.out
    assert after.out == run_cli(*arguments, "--no-cache").out


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
