"""Tokenizers of any kind before text towers of any kind: the features are those of open_clip."""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from clipcli.models.text_tower import (
    causal_tower,
    encode_causal_texts,
    needed_lengths,
    token_counts,
    tokenize,
)

WORDS = ["cat", "dog", "a", "of", "!"]
EXAMPLES = settings().max_examples // 4  # each makes a tokenizer and a tower


@st.composite
def tokenizers(draw: st.DrawFn) -> tuple[HFTokenizer, dict[str, int]]:
    """A tokenizer with its special tokens anywhere in the vocabulary, some of them in several roles."""
    begin, end, unknown = "<begin>", draw(st.sampled_from(["<end>", "<begin>"])), "<unknown>"
    padding = draw(st.sampled_from(["<pad>", end, unknown]))
    vocabulary = draw(st.permutations([*WORDS, *sorted({begin, end, unknown, padding})]))
    ids = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = draw(st.sampled_from([f"{begin} $A {end}", f"$A {end}", f"{begin} $A", "$A"]))
    specials = [(word, ids[word]) for word in {*around.split()} - {"$A"}]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=specials)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        pad_token=padding,
        bos_token=begin,
        cls_token=begin,
        eos_token=end,
        sep_token=end,
        padding_side=draw(st.sampled_from(["right", "left"])),
        truncation_side=draw(st.sampled_from(["right", "left"])),
    )
    with tempfile.TemporaryDirectory() as folder:
        fast.save_pretrained(folder)
        made = HFTokenizer(
            folder,
            context_length=draw(st.integers(4, 12)),
            clean=draw(st.sampled_from(["whitespace", "lower", "canonicalize"])),
            strip_sep_token=draw(st.booleans()),
            tokenizer_mode=draw(st.sampled_from([None, None, "clips"])),
        )
    return made, ids


@st.composite
def towers(draw: st.DrawFn, context_length: int, ids: dict[str, int]) -> Any:
    """A text tower with random weights that reads its result anywhere."""
    torch.manual_seed(0)
    return TextTransformer(
        context_length=context_length,
        vocab_size=len(ids),
        width=16,
        heads=2,
        layers=2,
        output_dim=8,
        no_causal_mask=draw(st.booleans()),
        pool_type=draw(st.sampled_from(["argmax", "eos", "first", "last"])),
        eos_id=draw(st.sampled_from(sorted(ids.values()))),
        pad_id=draw(st.sampled_from(sorted(ids.values()))),
    ).eval()


TEXTS = st.lists(
    st.lists(st.sampled_from([*WORDS, "Dog", "bird"]), max_size=14).map(" ".join), min_size=1, max_size=6
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_tokenizer_before_any_tower(data: st.DataObject) -> None:
    tokenizer, ids = data.draw(tokenizers())
    tower = data.draw(towers(tokenizer.context_length, ids))
    texts = data.draw(TEXTS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tokens = tokenize(tokenizer, texts)
    expected = tokenizer(texts)
    np.testing.assert_array_equal(tokens, expected.numpy())
    counts = token_counts(tokenizer, texts)
    assert len(told) == sum(count > tokenizer.context_length for count in counts)
    if causal_tower(tower) is None:
        return
    with torch.inference_mode():
        whole = tower(expected)
        for row, length in enumerate(needed_lengths(tower, tokens).tolist()):
            cut = encode_causal_texts(tower, expected[row : row + 1, :length])
            torch.testing.assert_close(cut, whole[row : row + 1], atol=1e-5, rtol=0)
