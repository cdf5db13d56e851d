"""A transformer's last block, computed for the one token that is read from it, and not for the others.

CLIP takes the features of an image from its class token and those of a text from its end-of-text token
(Radford et al. 2021, section 2.4). In the last block the other tokens are attended to and no more: what would
come of them is thrown away. Of the 12 blocks of ViT-B-32 that saves five sixths of one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn


def read_class_token_only(tower: Any) -> None:
    """Let the last block of an image tower compute its class token alone, if that is all that is read.

    That is so for open_clip's own vision transformers that pool by the class token. Features change by
    rounding alone. Other towers are left as they are.
    """
    if type(tower) is not VisionTransformer or tower.output_tokens:
        return
    blocks = tower.transformer.resblocks
    if tower.attn_pool is None and tower.pool_type == "tok" and has_plain_attention(blocks[-1]):
        blocks[-1] = _ClassTokenOnly(blocks[-1])


class _ClassTokenOnly(nn.Module):
    """A block of which only the first token comes out: (N, T, W) -> (N, 1, W)."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        return one_token(self.block, hidden, hidden[:, :1])

    def get_weight_dtype(self) -> torch.dtype:
        """What open_clip asks a tower's first block, which the last one may be."""
        return cast(torch.dtype, self.block.get_weight_dtype())


def has_plain_attention(block: Any) -> bool:
    """Whether a block is open_clip's usual one: torch's attention of each token to all others."""
    plain = type(block) is ResidualAttentionBlock and not hasattr(block, "ln_1_kv")
    return plain and bool(block.attn.batch_first)


def one_token(
    block: Any, hidden: torch.Tensor, token: torch.Tensor, unseen: torch.Tensor | None = None
) -> torch.Tensor:
    """What a block makes of one token of each row -> (N, 1, W).

    Args:
        block: for which `has_plain_attention`.
        hidden: (N, T, W) all tokens, as the block takes them.
        token: (N, 1, W) the one of each row that is wanted.
        unseen: (N, T) True where a token is not attended to.
    """
    keys = block.ln_1(hidden)
    attended, _ = block.attn(block.ln_1(token), keys, keys, key_padding_mask=unseen, need_weights=False)
    token = token + block.ls_1(attended)
    return cast(torch.Tensor, token + block.ls_2(block.mlp(block.ln_2(token))))
