"""A small model whose text tower comes from transformers, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import save_tokenizer


def save_roberta(folder: Path) -> Path:
    """Save it in open_clip's local format; returns the folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import RobertaConfig

    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    RobertaConfig(vocab_size=save_tokenizer(folder), pad_token_id=0, **tower).save_pretrained(folder)
    model_cfg: dict[str, Any] = {
        "embed_dim": 64,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler",
            "context_length": 32,
        },
    }
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    text_cfg = {**model_cfg["text_cfg"], "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(model_cfg["embed_dim"], model_cfg["vision_cfg"], text_cfg)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder
