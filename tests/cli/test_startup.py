"""The command imports open_clip without what it does not need; open_clip is complete all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PREPARED = """
from clipcli.cli import startup
startup.prepare()
"""


def run_python(code: str) -> str:
    """What code prints in a process of its own, where nothing was imported before."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_compiler_nor_transformers_is_imported() -> None:
    run_python(f"""{PREPARED}
import importlib.util, sys
import numpy as np
assert importlib.util.find_spec("open_clip").origin, "asking where it is does not use the shortcut up"
import clipcli
encoder = clipcli.load_model("nano", device="cpu")
encoder.encode_images(np.zeros((1, *encoder.preprocess.size, 3), np.uint8))
encoder.encode_texts(["a cat"])
loaded = {{"torch._dynamo", "transformers"}} & set(sys.modules)
assert not loaded, loaded
""")


def test_the_command_takes_the_shortcut() -> None:
    """`python -m clipcli` and the console script both come through `__main__.main`."""
    run_python("""
import sys
from clipcli.__main__ import main
sys.argv = ["clipcli", "models", "info", "nano"]
try:
    main()
except SystemExit as exit_:
    assert not exit_.code, exit_.code
assert "open_clip" in sys.modules
loaded = {"torch._dynamo", "transformers"} & set(sys.modules)
assert not loaded, loaded
""")


@pytest.mark.long
def test_what_was_put_off_is_there_when_it_is_needed() -> None:
    run_python(f"""{PREPARED}
import gc, sys
import open_clip
assert gc.isenabled()
import torch, torchvision, transformers
assert transformers.AutoModel
assert torch.compiler.disable.__module__ == "torch.compiler"
boxes = torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 0, 0, 4, 4]]), 2)
assert boxes.shape == (1, 1, 2, 2)
assert "torch._dynamo" not in sys.modules
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
assert "torch._dynamo" in sys.modules
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert compiled(torch.zeros(1)).item() == 1
""")


def test_nothing_is_left_of_the_shortcut() -> None:
    run_python(f"""{PREPARED}
import logging, sys
import open_clip
assert not any(type(one).__module__.startswith("clipcli") for one in (*sys.modules.values(), *sys.meta_path))
for loader in (open_clip.__loader__, open_clip.__spec__.loader):
    assert not type(loader).__module__.startswith("clipcli"), loader
import transformers, open_clip.hf_model
assert open_clip.hf_model.transformers is transformers
""")


def test_text_towers_of_transformers_can_be_built() -> None:
    run_python(f"""{PREPARED}
import open_clip, sys
from open_clip.model import CLIPTextCfg, _build_text_tower
try:
    _build_text_tower(8, CLIPTextCfg(hf_model_name="/no/such/folder"))
except Exception as error:
    assert "/no/such/folder" in str(error), error
assert "transformers" in sys.modules
from open_clip.hf_model import HFTextEncoder
import torch
assert issubclass(HFTextEncoder, torch.nn.Module)
""")


def test_anything_else_that_is_asked_of_the_compiler_is_imported() -> None:
    run_python("""
import sys
from clipcli.cli.startup import _COMPILER, _in_place_of, _StandIn
with _in_place_of(_COMPILER, _StandIn(_COMPILER)):
    from torch._dynamo.utils import istype
assert _COMPILER not in sys.modules
assert istype(1, int)
assert _COMPILER in sys.modules
""")


@pytest.mark.long
def test_what_is_imported_already_stays() -> None:
    run_python(f"""{PREPARED}
import transformers, torch._dynamo.utils
before = torch._dynamo.utils
import open_clip
import sys
assert sys.modules["torch._dynamo.utils"] is before and sys.modules["transformers"] is transformers
assert open_clip.hf_model.transformers is transformers
assert open_clip.model.HFTextEncoder is open_clip.hf_model.HFTextEncoder
""")


def test_log_lines_of_libraries_are_for_debugging() -> None:
    code = f"{PREPARED}\nimport logging\nlogging.getLogger('timm').error('a line')"
    for debug, shown in ("", False), ("1", True):
        environment = os.environ | {"CLIPCLI_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert ("a line" in done.stderr) == shown
