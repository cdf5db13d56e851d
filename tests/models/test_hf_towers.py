"""Text towers of transformers, as the library and as the command build them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from roberta_model import save_roberta

TEXTS = ["a photo of a goldfish.", "a sculpture of a tench"]


@pytest.mark.parametrize("prepared", [False, True], ids=["library", "command"])
def test_text_towers_of_transformers_give_what_open_clip_gives(prepared: bool, tmp_path: Path) -> None:
    folder = save_roberta(tmp_path)
    run_python(f"""
import numpy as np, open_clip, torch
model = open_clip.create_model("local-dir:{folder}").eval()
tokens = open_clip.get_tokenizer("local-dir:{folder}")({TEXTS!r})
with torch.inference_mode():
    features = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
np.save("{tmp_path}/expected.npy", features.numpy())
""")
    run_python(f"""
import sys
import numpy as np
from clipcli.cli import startup
if {prepared}:
    startup.prepare()
import clipcli
encoder = clipcli.load_model({str(folder)!r}, device="cpu", precision="fp32")
np.save("{tmp_path}/ours.npy", encoder.encode_texts({TEXTS!r}))
""")
    expected = np.load(tmp_path / "expected.npy")
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), expected, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3, "different texts must have different features"


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
