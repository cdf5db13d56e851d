"""open_clip imported without what it does not need, and complete all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save_tokenizer

import clipcli


def run_python(code: str) -> str:
    """What code prints in a process of its own, where nothing was imported before."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_compiler_nor_transformers_is_imported() -> None:
    run_python("""
import sys
import numpy as np
import clipcli
encoder = clipcli.load_model("nano", device="cpu")
encoder.encode_images(np.zeros((1, *encoder.preprocess.size, 3), np.uint8))
encoder.encode_texts(["a cat"])
loaded = {"torch._dynamo", "transformers"} & set(sys.modules)
assert not loaded, loaded
""")


def test_what_was_put_off_is_there_when_it_is_needed() -> None:
    run_python("""
import gc, sys
from clipcli.models.quick_import import open_clip
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


def test_anything_else_that_is_asked_of_the_compiler_is_imported() -> None:
    run_python("""
import sys
from clipcli.models.quick_import import _COMPILER, _CompilerLater
sys.modules[_COMPILER] = _CompilerLater(_COMPILER)
from torch._dynamo.utils import istype
assert istype(1, int)
""")


def test_what_is_imported_already_stays() -> None:
    run_python("""
import transformers, torch._dynamo.utils
before = torch._dynamo.utils
from clipcli.models.quick_import import open_clip
import sys
assert sys.modules["torch._dynamo.utils"] is before and sys.modules["transformers"] is transformers
assert open_clip.hf_model.transformers is transformers
""")


@pytest.fixture
def roberta_model(tmp_path: Path) -> Path:
    """A small model whose text tower comes from transformers, with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import RobertaConfig

    from clipcli.models.quick_import import load_hf_towers

    load_hf_towers()
    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    RobertaConfig(vocab_size=save_tokenizer(tmp_path), pad_token_id=0, **tower).save_pretrained(tmp_path)
    model_cfg: dict[str, Any] = {
        "embed_dim": 64,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": str(tmp_path),
            "hf_tokenizer_name": str(tmp_path),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler",
            "context_length": 32,
        },
    }
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    text_cfg = {**model_cfg["text_cfg"], "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(model_cfg["embed_dim"], model_cfg["vision_cfg"], text_cfg)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    return tmp_path


def test_text_towers_of_transformers_give_what_open_clip_gives(roberta_model: Path, tmp_path: Path) -> None:
    texts = ["a photo of a goldfish.", "a sculpture of a tench"]
    run_python(f"""
import numpy as np, open_clip, torch
model = open_clip.create_model("local-dir:{roberta_model}").eval()
tokens = open_clip.get_tokenizer("local-dir:{roberta_model}")({texts!r})
with torch.inference_mode():
    features = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
np.save("{tmp_path}/expected.npy", features.numpy())
""")
    encoder = clipcli.load_model(str(roberta_model), device="cpu", precision="fp32")
    np.testing.assert_allclose(encoder.encode_texts(texts), np.load(tmp_path / "expected.npy"), atol=1e-6)
