"""The last block computes one token, and that token is what open_clip computes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import nn

from clipcli.models.optimize.cls_token import has_plain_attention, one_token, read_class_token_only

VISION: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 48, "layers": 3, "heads": 4, "mlp_ratio": 2, "output_dim": 16,
}  # fmt: skip
TEXT: dict[str, Any] = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 4, "layers": 2}


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
