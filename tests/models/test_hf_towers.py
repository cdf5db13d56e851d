"""Text towers of transformers, as the library and as the command build them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from roberta_model import save_roberta

import clipcli

TEXTS = ["a photo of a goldfish.", "a sculpture of a tench"]


@pytest.mark.filterwarnings("ignore")  # of transformers
def test_text_towers_of_transformers_give_what_open_clip_gives(tmp_path: Path) -> None:
    folder = save_roberta(tmp_path)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 1e-3, "different texts must have different features"
    library = clipcli.load_model(str(folder), device="cpu", precision="fp32")
    np.testing.assert_allclose(library.encode_texts(TEXTS), expected, atol=1e-6)
    run_python(f"""
import numpy as np
from clipcli.cli import startup
startup.prepare()
import clipcli
encoder = clipcli.load_model({str(folder)!r}, device="cpu", precision="fp32")
np.save("{tmp_path}/command.npy", encoder.encode_texts({TEXTS!r}))
""")
    np.testing.assert_allclose(np.load(tmp_path / "command.npy"), expected, atol=1e-6)


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
