"""Texts on their way through a model: tokens, the length that each text needs, and the causal text tower."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transformer import TextTransformer, text_global_pool

from clipcli.errors import ClipcliWarning
from clipcli.models.optimize.cls_token import has_plain_attention, one_token

TokenArray: TypeAlias = npt.NDArray[np.int64]

_LENGTH_STEP = 4  # lengths are rounded up to it, so that few different ones are left


# --- Tokens --------------------------------------------------------------------------------------


def tokenize(tokenizer: Any, texts: Sequence[str]) -> TokenArray:
    """M texts -> (M, context_length) token ids, open_clip's own; warns of each text that is cut."""
    limit = int(tokenizer.context_length)
    for text, count in zip(texts, token_counts(tokenizer, texts), strict=True):
        if count > limit:
            message = f"prompt longer than {limit} tokens, the rest is not seen: {text!r}"
            warnings.warn(message, ClipcliWarning, stacklevel=3)
    return np.asarray(tokenizer(list(texts)).numpy())


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """How many tokens each text has with its special tokens, before it is cut or padded."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    added = 3 if tokenizer.tokenizer_mode == "clips" else 0  # special tokens of open_clip's own
    cleaned = [tokenizer.clean_fn(text) for text in texts]
    encoded = inner(cleaned, add_special_tokens=not added, padding=False, truncation=False, verbose=False)
    return [len(ids) + added for ids in encoded["input_ids"]]


def unknown_texts(tokenizer: Any, texts: Sequence[str], vectors: torch.Tensor | None = None) -> list[str]:
    """Those texts of which a model knows no token, so that they say nothing to it.

    Args:
        tokenizer: the model's.
        texts: words or names, at least one.
        vectors: the token embeddings (V, W), where a token that training never met has zeros, as in nano.
    """
    silent = set() if vectors is None else set((~vectors.any(dim=1)).nonzero().flatten().tolist())
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        tokens_of = [tokenizer.encode(text) for text in texts]
    else:
        silent |= {inner.unk_token_id, inner.convert_tokens_to_ids("\u2581")}  # SentencePiece's space
        clean = getattr(tokenizer, "clean_fn", str)
        tokens_of = inner([clean(text) for text in texts], add_special_tokens=False)["input_ids"]
    return [text for text, tokens in zip(texts, tokens_of, strict=True) if silent.issuperset(tokens)]


# --- The tower -----------------------------------------------------------------------------------


def causal_tower(model: Any) -> Any:
    """The text tower if padding cannot reach the result: causal, and pooled at the end-of-text token."""
    tower = getattr(model, "text", model)
    is_clip = isinstance(model, open_clip.CLIP) or type(tower) is TextTransformer
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    if not (is_clip and causal and pool in ("argmax", "eos", "first")):
        return None
    return tower if has_plain_attention(tower.transformer.resblocks[-1]) else None


def needed_lengths(tower: Any, tokens: TokenArray) -> TokenArray:
    """(M, L) token ids -> (M,) columns that `encode_causal_texts` needs of each text, in steps of 4.

    They end at the token that is read. Padding tells nothing: in some vocabularies it is the end token.
    """
    needed = _read_positions(tower, torch.from_numpy(tokens)).numpy() + 1
    return np.asarray(np.minimum(-(-needed // _LENGTH_STEP) * _LENGTH_STEP, tokens.shape[1]))


def longest(tower: Any, tokens: torch.Tensor) -> int:
    """Columns of (M, L) token ids that `encode_causal_texts` needs for all of them."""
    return int(_read_positions(tower, tokens).max()) + 1


def encode_causal_texts(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L) token ids -> (M, D), for L up to the context length.

    The steps are those of open_clip's `encode_text`, with positions and causal mask cut to L, and the last
    block for the token alone that is read. A token never looks at what follows it, so the result is the same.
    """
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)  # (M, L, W)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        x = block(x, attn_mask=tower.attn_mask[:length, :length])
    positions = torch.arange(length, device=tokens.device).expand_as(tokens)  # (M, L)
    unseen = positions > _read_positions(tower, tokens)[:, None]
    x = tower.ln_final(one_token(last, x, _read_token(tower, x, tokens)[:, None], unseen)[:, 0])  # (M, W)
    projection = tower.text_projection
    if projection is not None:
        x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
    return cast(torch.Tensor, x)


def _read_positions(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L) token ids -> (M,) where each text's features are read."""
    return _read_token(tower, torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens), tokens)


def _read_token(tower: Any, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(M, L, ...) -> (M, ...), each row's value at the token that becomes its text's features."""
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    end = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
    return cast(torch.Tensor, text_global_pool(rows, tokens, pool, eos_token_id=end))
