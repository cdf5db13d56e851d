"""Architectures that train in a moment, and pictures to train them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipcli.models.locate import ModelFiles, locate_config
from clipcli.train.pairs import Caption, Pair, Pairs

VISION = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
CONVOLUTIONS = {
    "timm_model_name": "test_resnet",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}


def config(folder: Path, vision: dict[str, Any] | None = None, **fields: Any) -> ModelFiles:
    """A small architecture, to be trained from random weights."""
    path = folder / "config.json"
    vision_cfg = VISION if vision is None else vision
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": TEXT, **fields}))
    return locate_config(path)


def small_pairs(folder: Path) -> Pairs:
    """Thirty small pictures of their own, with a caption or two."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    made = []
    for number in range(30):
        path = folder / f"{number:02}.png"
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        texts = [f"picture {number}", "a picture"] if number % 3 == 0 else [f"number {number}"]
        made.append(Pair(str(path), tuple(map(Caption, texts))))
    return Pairs(tuple(made))
