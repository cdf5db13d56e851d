"""The last block computes one token, and that token is what open_clip computes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn

from clipcli.models.encoder import causal_tower, encode_causal_texts, image_group_size
from clipcli.models.optimize.cls_token import has_plain_attention, one_token, read_class_token_only

VISION: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 48, "layers": 3, "heads": 4, "mlp_ratio": 2, "output_dim": 16,
}  # fmt: skip
TEXT: dict[str, Any] = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 4, "layers": 2}
END = 99  # the highest token, as the end of a text is in CLIP's vocabulary


def lived(module: Any) -> Any:
    """With weights that are nowhere at their simple initial values, in evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 1
            parameter.copy_(torch.randn_like(parameter) * spread)
    return module.eval()


def changed(tower: nn.Module) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A copy that reads the class token only, and the features of the tower and of its copy."""
    images = torch.randn(5, 3, 32, 32)
    other = copy.deepcopy(tower)
    read_class_token_only(other)
    with torch.inference_mode():
        return other, tower(images), other(images)


@pytest.mark.parametrize(
    "options",
    [{}, {"ls_init_value": 0.5}, {"final_ln_after_pool": True}, {"no_ln_pre": True}, {"layers": 1}],
    ids=str,
)
def test_features_stay_and_the_other_tokens_are_not_computed(options: dict[str, Any]) -> None:
    tower = lived(VisionTransformer(**VISION | options))
    other, expected, found = changed(tower)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.std(0).min() > 0.01, "different images must have different features"
    tokens = torch.randn(2, 17, 48)
    assert tower.transformer(tokens).shape == (2, 17, 48)
    assert other.transformer(tokens).shape == (2, 1, 48)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_type": "avg"},
        {"pool_type": "none"},
        {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 4},
        {"output_tokens": True},
        {"qk_norm": True},
    ],
    ids=str,
)
def test_a_tower_that_reads_more_than_the_class_token_is_left_alone(options: dict[str, Any]) -> None:
    tower = lived(VisionTransformer(**VISION | options))
    other, expected, found = changed(tower)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert type(other.transformer.resblocks[-1]) is type(tower.transformer.resblocks[-1])


def test_other_towers_are_left_alone() -> None:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    _, expected, found = changed(tower)
    assert torch.equal(expected, found)


def test_any_token_of_a_block_with_what_it_may_see() -> None:
    block = lived(TextTransformer(**TEXT)).transformer.resblocks[-1]
    assert has_plain_attention(block)
    hidden, length = torch.randn(3, 6, 32), 6
    mask = torch.full((length, length), float("-inf")).triu(1)
    with torch.inference_mode():
        whole = block(hidden, attn_mask=mask)
        for place in range(length):
            unseen = (torch.arange(length) > place).expand(3, length)
            one = one_token(block, hidden, hidden[:, place : place + 1], unseen)
            torch.testing.assert_close(one[:, 0], whole[:, place], atol=1e-5, rtol=0)


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


@pytest.mark.parametrize(
    ("side", "patch", "images"), [(224, 32, 4), (256, 32, 4), (224, 16, 1), (336, 14, 1)]
)
def test_fewer_images_at_once_the_more_tokens_each_has(side: int, patch: int, images: int) -> None:
    with torch.device("meta"):
        tower = VisionTransformer(side, patch, width=768, layers=2, heads=12, mlp_ratio=4)
    assert image_group_size(tower) == images


def test_images_at_once_of_other_towers() -> None:
    assert image_group_size(nn.Linear(4, 4)) == 16
    assert image_group_size(nn.Conv2d(512, 2048, 3)) == 4
    large = nn.Conv2d(512, 2048, 3)
    large.trunk = nn.Module()
    large.trunk.pos_embed = nn.Parameter(torch.zeros(1, 256, 8))
    assert image_group_size(large) == 1
