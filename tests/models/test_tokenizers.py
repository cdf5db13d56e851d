"""Texts through every kind of tokenizer that open_clip can build: the features are open_clip's own."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

from clipcli.cache import FeatureCache
from clipcli.errors import ClipcliWarning
from clipcli.models.encoder import OpenClipEncoder
from clipcli.models.lazy import load_encoder, open_encoder
from clipcli.models.request import ModelRequest
from clipcli.models.text_tower import token_counts
from clipcli.prompts.class_lists import ClassSpec
from clipcli.prompts.templates import build_prompts
from clipcli.records import Float32Array
from clipcli.scoring.class_embeddings import build_classifier
from clipcli.train.trainable import Trainable

CONTEXT = 16
LABELS = ["", "cat", "a dog", "cat.", *(" ".join(["dog"] * count) for count in range(3, 2 * CONTEXT))]
VISION = {"width": 64, "layers": 1, "head_width": 32, "patch_size": 32, "image_size": 64}


@dataclass(frozen=True)
class Kind:
    """A tokenizer: its special tokens, in the order of their ids, and what stands around a text."""

    specials: tuple[str, ...]
    around: str
    roles: dict[str, str]
    text_cfg: dict[str, Any]
    specials_last: bool = False
    side: str = "right"


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "[CLS] $A [SEP]"
BERT_ROLES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
END = ("<start>", "<end>")
CLIP_ROLES = {"bos_token": "<start>", "eos_token": "<end>", "unk_token": "<end>"}
KINDS = {
    "siglip, the end token pads": Kind(
        ("<unk0>", "</s>", "<unk>"),
        "$A </s>",
        {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"},
        {"no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"clean": "canonicalize"}},
    ),
    "siglip 2, a padding of its own": Kind(
        ("<pad>", "<eos>", "<bos>", "<unk>"),
        "$A <eos>",
        {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"},
        {"no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"clean": "canonicalize"}},
    ),
    "clipa, the separator is stripped": Kind(
        *BERT,
        BERT_ROLES,
        {
            "no_causal_mask": True,
            "pool_type": "last",
            "tokenizer_kwargs": {"strip_sep_token": True},
        },
    ),
    "clips, open_clip adds the special tokens": Kind(
        *BERT,
        BERT_ROLES | {"bos_token": "[CLS]", "eos_token": "[SEP]"},
        {"no_causal_mask": True, "pool_type": "last", "tokenizer_mode": "clips"},
    ),
    "bert, read at its first token": Kind(*BERT, BERT_ROLES, {"no_causal_mask": True, "pool_type": "first"}),
    "clip, the end token pads": Kind(
        END, "<start> $A <end>", CLIP_ROLES | {"pad_token": "<end>"}, {}, specials_last=True
    ),
    "clip, the highest token pads": Kind(
        (*END, "<pad>"), "<start> $A <end>", CLIP_ROLES | {"pad_token": "<pad>"}, {}, specials_last=True
    ),
    "clip, padded on the left": Kind(
        END,
        "<start> $A <end>",
        CLIP_ROLES | {"pad_token": "<end>"},
        {"no_causal_mask": True, "pool_type": "last"},
        side="left",
    ),
    "xlm-roberta, the end by its id": Kind(
        ("<s>", "<pad>", "</s>", "<unk>"),
        "<s> $A </s>",
        {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        {"pool_type": "eos", "eos_id": 2},
    ),
    "coca, a class token": Kind(
        ("<pad>", "<start>", "<end>"),
        "<start> $A <end>",
        CLIP_ROLES | {"pad_token": "<pad>"},
        {"embed_cls": True},
    ),
}


def save_tokenizer(kind: Kind, folder: Path, words: Sequence[str] = ("cat", "dog", "a", ".")) -> int:
    """Save the tokenizer; returns the size of its vocabulary."""
    order = (*words, *kind.specials) if kind.specials_last else (*kind.specials, *words)
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(order)}, kind.roles["unk_token"])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(word, order.index(word)) for word in kind.around.split() if word != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(single=kind.around, special_tokens=around)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side=kind.side, truncation_side="right", **kind.roles
    ).save_pretrained(folder)
    return len(order)


def save_model(name: str, folder: Path) -> Path:
    """Save a small random model with one kind of tokenizer, as open_clip does."""
    kind = KINDS[name]
    size = save_tokenizer(kind, folder)
    text_cfg = {"context_length": CONTEXT, "vocab_size": max(size, 64), "width": 32, "heads": 2, "layers": 2}
    text_cfg |= {"hf_tokenizer_name": "organisation/tokenizer", **kind.text_cfg}
    model_cfg = {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": text_cfg}
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in model_cfg.items() if k != "custom_text"})
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_model(request.param, tmp_path)


class Reference:
    """What open_clip itself makes of the texts."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        model = open_clip.create_model(f"local-dir:{folder}").eval()
        with torch.inference_mode():
            self.features = normalize(model.encode_text(self.tokenizer(LABELS)), dim=-1).numpy()

    def is_cut(self, text: str) -> bool:
        """Whether a longer context would show the model more words."""
        wide = self.tokenizer([text], context_length=4 * CONTEXT)
        words = {self.tokenizer.tokenizer.convert_tokens_to_ids(word) for word in ("cat", "dog", "a", ".")}

        def known(tokens: torch.Tensor) -> int:
            return sum(token in words for token in tokens[0].tolist())

        return known(self.tokenizer([text])) < known(wide)


@pytest.fixture
def reference(folder: Path) -> Reference:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Reference(folder)


def encoder_of(folder: Path) -> OpenClipEncoder:
    return load_encoder(ModelRequest(str(folder), device="cpu", precision="fp32"))


def test_features_are_those_of_open_clip_and_each_text_that_is_cut_is_named(
    folder: Path, reference: Reference
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = encoder_of(folder).encode_texts(LABELS)
    np.testing.assert_allclose(features, reference.features, atol=1e-6)
    assert len(np.unique(reference.features.round(5), axis=0)) > CONTEXT / 2  # so it could be noticed
    told = [str(one.message) for one in caught if one.category is ClipcliWarning]
    expected = [label for label in LABELS if reference.is_cut(label)]
    assert told == [
        f"prompt longer than {CONTEXT} tokens, the rest is not seen: {label!r}" for label in expected
    ]
    assert 10 < len(expected) < len(LABELS)


@pytest.mark.filterwarnings("ignore:captions longer than 16 tokens are cut")
def test_training_sees_the_same_texts(folder: Path, reference: Reference) -> None:
    files = encoder_of(folder).files
    trained = Trainable(files, "auto", 0, torch.device("cpu"), torch.float32)
    trained.model.eval()
    for labels in (LABELS, LABELS[:3]):
        with torch.inference_mode():
            features = trained.text_features(labels).numpy()
        np.testing.assert_allclose(features, reference.features[: len(labels)], atol=1e-6)


def test_training_names_the_first_caption_that_is_cut(folder: Path, reference: Reference) -> None:
    trained = Trainable(encoder_of(folder).files, "auto", 0, torch.device("cpu"), torch.float32)
    first = next(label for label in LABELS if reference.is_cut(label))
    with pytest.warns(ClipcliWarning, match="captions longer than 16 tokens") as caught:
        trained.text_features(LABELS)
    assert [str(one.message).endswith(repr(first)) for one in caught] == [True]


def test_clip_tokenizers_count_without_padding() -> None:
    tokenizer = open_clip.SimpleTokenizer(context_length=6)
    texts = ["", "cat", "one two three four", "one two three four five"]
    assert token_counts(tokenizer, texts) == [2, 3, 6, 7]


@pytest.mark.parametrize("kind", ["siglip, the end token pads"])
def test_a_tokenizer_that_is_replaced_makes_other_class_embeddings(kind: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    save_model(kind, folder)
    prompts = build_prompts([ClassSpec("cat"), ClassSpec("dog")], ["a {}"])
    request = ModelRequest(str(folder), device="cpu", precision="fp32")

    def class_embeddings(cache: FeatureCache | None) -> Float32Array:
        return build_classifier(open_encoder(request, cache), prompts, cache).class_embeddings

    with contextlib.closing(FeatureCache(tmp_path / "cache")) as cache:
        before = class_embeddings(cache)
        pixels = np.zeros((1, 64, 64, 3), dtype=np.uint8)
        images = open_encoder(request, cache).cache_key
        save_tokenizer(KINDS[kind], other, ("dog", "cat", "a", "."))
        for file in other.iterdir():
            shutil.copyfile(file, folder / file.name)
        after = class_embeddings(cache)
        assert open_encoder(request, cache).cache_key == images, "features of images stay"
        assert open_encoder(request, cache).encode_images(pixels).shape == (1, 32)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(after, class_embeddings(None))
    np.testing.assert_array_equal(before[::-1], after)
