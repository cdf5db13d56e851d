"""A request is checked once, and then travels anywhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from clipcli.errors import UnknownModelError, UsageError
from clipcli.models.registry import parse_model
from clipcli.models.request import ModelRequest

FULL = ModelRequest("ViT-B-32", "openai", "cuda:0, cuda:2", "bf16", offline=True)


def test_equal_requests_are_one_key_also_after_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    assert {FULL: 1}[pickle.loads(pickle.dumps(FULL))] == 1
    assert len({FULL, ModelRequest(), ModelRequest("balanced"), ModelRequest("nano")}) == 3


def test_it_names_a_model() -> None:
    assert FULL.spec() == parse_model("ViT-B-32", "openai")
    assert ModelRequest().spec() == parse_model("balanced")
    with pytest.raises(UnknownModelError, match="unknown model 'nanno'"):
        ModelRequest("nanno").spec()


@pytest.mark.parametrize("device", ["auto", "cpu", "cpu,cpu", "mps", "cuda", "cuda:11", "cuda:0 , cuda:2"])
def test_devices_that_may_be_there(device: str) -> None:
    assert ModelRequest(device=device).device == device


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "no model is named"),
        ({"device": "toaster"}, "unknown device 'toaster'"),
        ({"device": ""}, "unknown device ''"),
        ({"device": "cuda:"}, "unknown device 'cuda:'"),
        ({"device": "auto,cpu"}, "unknown device 'auto,cpu'"),
        ({"device": "cuda:0,"}, "unknown device 'cuda:0,'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelRequest(**fields)


def test_it_needs_neither_torch_nor_open_clip() -> None:
    code = """
import sys
from clipcli.models.request import ModelRequest
ModelRequest("ViT-B-32", "openai", "cuda", "bf16").spec()
print(*{"torch", "open_clip", "huggingface_hub"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
