"""The causal text tower: cut to the length that texts need, and as exact as open_clip's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer
from test_cls_token import TEXT, lived

from clipcli.models.text_tower import causal_tower, encode_causal_texts, needed_lengths

END = 99  # the highest token, as the end of a text is in CLIP's vocabulary


def texts() -> torch.Tensor:
    """Texts of every length, the last as long as the context."""
    rows = torch.randint(1, END, (11, 12), generator=torch.Generator().manual_seed(0))
    for row, tokens in enumerate(rows):
        tokens[row + 1] = END
        tokens[row + 2 :] = 0
    return rows


def test_texts_of_the_first_clip_models() -> None:
    model = lived(CLIP(16, {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1}, TEXT))
    assert causal_tower(model) is model
    with torch.inference_mode():
        expected = model.encode_text(texts())
        torch.testing.assert_close(encode_causal_texts(model, texts()), expected, atol=1e-5, rtol=0)
        short = texts()[:4, :5]
        torch.testing.assert_close(encode_causal_texts(model, short), expected[:4], atol=1e-5, rtol=0)
    assert expected.std(0).min() > 0.01


@pytest.mark.parametrize("pool", ["argmax", "eos", "first"])
def test_texts_of_towers_of_their_own(pool: str) -> None:
    tower = lived(TextTransformer(**TEXT, output_dim=16, pool_type=pool, eos_id=END))
    assert causal_tower(tower) is tower
    with torch.inference_mode():
        torch.testing.assert_close(encode_causal_texts(tower, texts()), tower(texts()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{"no_causal_mask": True}, {"embed_cls": True}, {"pool_type": "last"}])
def test_towers_whose_padding_is_seen_are_not_cut(options: dict[str, Any]) -> None:
    assert causal_tower(lived(TextTransformer(**TEXT, output_dim=16, **options))) is None


@pytest.mark.parametrize("padding", [0, END, END + 1])
def test_lengths_end_at_the_token_that_is_read_in_steps_of_four(padding: int) -> None:
    tower = lived(TextTransformer(**TEXT, output_dim=16, pool_type="eos", eos_id=END))
    tokens = np.full((4, 10), padding, dtype=np.int64)
    for row, length in enumerate([1, 4, 5, 9]):
        tokens[row, : length - 1] = 1
        tokens[row, length - 1] = END
    assert needed_lengths(tower, tokens).tolist() == [4, 4, 8, 10]
