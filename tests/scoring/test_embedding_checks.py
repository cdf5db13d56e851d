"""Labels that a model cannot use are told: words that it does not know, and class embeddings nearly equal."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder

import clipcli
from clipcli.cache import FeatureCache
from clipcli.models.encoder import OpenClipEncoder
from clipcli.prompts.class_lists import ClassSpec, load_classes
from clipcli.prompts.templates import PromptSet, build_prompts
from clipcli.scoring import embedding_checks
from clipcli.scoring.class_embeddings import build_classifier


@contextmanager
def told() -> Iterator[list[str]]:
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield messages
    messages.extend(str(one.message) for one in warned)


def prompts(*labels: str) -> PromptSet:
    return build_prompts([ClassSpec(label) for label in labels], ["a photo of a {}."])


# --- Words that a model does not know ------------------------------------------------------------


def test_a_word_that_nano_does_not_know_is_told_once(nano: OpenClipEncoder) -> None:
    with told() as messages:
        build_classifier(nano, prompts("cat", "carr", "big dog"))
    assert messages == [
        "nano knows no part of 'carr': their scores mean nothing; check the spelling, or use another model"
    ]


def test_unknown_labels_are_not_told_again_as_nearly_equal(nano: OpenClipEncoder) -> None:
    with told() as messages:
        build_classifier(nano, prompts("braided", "knitted", "stained", "studded", "woven", "carr", "cat"))
    assert len(messages) == 1
    assert "'braided', 'knitted', 'stained', 'studded', 'woven' and 1 more: " in messages[0]


def test_a_class_with_one_known_name_is_known(nano: OpenClipEncoder) -> None:
    specs = [ClassSpec("carr", aliases=("car",)), ClassSpec("x", name="cat"), ClassSpec("carr dog")]
    with told() as messages:
        build_classifier(nano, build_prompts(specs, ["{}"]))
        build_classifier(nano, build_prompts([ClassSpec("carr", prompts=("a car.",)), specs[1]], ["{}"]))
    assert not messages


def test_what_is_unknown_stays_told_when_the_features_are_cached(
    nano: OpenClipEncoder, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    for labels in (("cat", "carr"), ("carr", "cat"), ("cat", "sun", "carr")):
        with told() as messages:
            build_classifier(nano, prompts(*labels), cache)
        assert len(messages) == 1 and "'carr'" in messages[0]
    with told() as messages:
        build_classifier(nano, prompts("cat", "sun"), cache)
    assert not messages
    cache.close()
    verifying = FeatureCache(tmp_path, verify=True)
    with told() as messages:
        build_classifier(nano, prompts("cat", "carr"), verifying)
    assert len(messages) == 1 and "'carr'" in messages[0]
    verifying.close()


def test_a_lazy_model_tells_it_too(own_cache: Path) -> None:
    for _ in range(2):
        cache = FeatureCache(own_cache)
        encoder = clipcli.load_model("nano", device="cpu", precision="fp32", cache=cache)
        with told() as messages:
            clipcli.build_classifier(encoder, ["cat", "carr"], "photo", cache=cache)
        assert len(messages) == 1
        cache.close()


def test_tokens_that_a_tokenizer_calls_unknown(random_model: Callable[[str], Path]) -> None:
    encoder = clipcli.load_model(str(random_model("siglip")), device="cpu")
    assert encoder.unknown_texts(["photo", "xyzzy", "photo xyzzy", "xyzzy qwrt", "猫", " "]) == [
        "xyzzy",
        "xyzzy qwrt",
        "猫",
        " ",
    ]


def test_a_piece_that_is_a_space_alone_is_no_word() -> None:
    from clipcli.models.text_tower import unknown_texts

    class SentencePiece:
        unk_token_id = 2
        pieces = ("<pad>", "</s>", "<unk>", "\u2581", "\u2581cat")

        def convert_tokens_to_ids(self, piece: str) -> int:
            return self.pieces.index(piece)

        def __call__(self, texts: Sequence[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
            assert not add_special_tokens
            return {"input_ids": [[4] if text == "cat" else [3, 2] for text in texts]}

    @dataclass
    class Tokenizer:
        tokenizer: Any

    assert unknown_texts(Tokenizer(SentencePiece()), ["cat", "猫"]) == ["猫"]


def test_a_model_without_such_tokens_knows_every_byte(random_model: Callable[[str], Path]) -> None:
    encoder = clipcli.load_model(str(random_model("clip")), device="cpu")
    assert encoder.unknown_texts(["xyzzy", "猫", "carr"]) == []


# --- Class embeddings that are nearly equal ------------------------------------------------------

NEAR = {"a photo of a one.": [1.0, 0.0], "a photo of a two.": [1.0, 0.02], "a photo of a three.": [1.0, 0.1]}


def test_labels_that_are_nearly_the_same_to_a_model_are_told_once() -> None:
    with told() as messages:
        build_classifier(FakeEncoder(NEAR), prompts("one", "two", "three"))
    assert messages == ["to fake these labels are nearly the same: 'one' and 'two'; say what sets them apart"]


def test_twins_and_shared_prompts_are_told_in_words_only(nano: OpenClipEncoder) -> None:
    with told() as messages:
        build_classifier(nano, prompts("cat", "Cat"))
    assert len(messages) == 1 and "differ only in case" in messages[0]
    specs = [ClassSpec("a", name="cat", where="x:1"), ClassSpec("b", name="cat", where="x:2")]
    with told() as messages:
        build_classifier(nano, build_prompts(specs, ["{}"]))
    assert messages == ["labels with the same prompts, and so the same scores: 'a' and 'b'"]


def test_synonyms_in_one_class_and_the_lists_that_come_with_the_package(nano: OpenClipEncoder) -> None:
    with told() as messages:
        specs = [ClassSpec("couch", aliases=("sofa", "Couch", "couch ")), ClassSpec("cat")]
        build_classifier(nano, build_prompts(specs, ["{}"]))
        for name in ("imagenet", "cifar100", "gtsrb"):
            build_classifier(nano, build_prompts(load_classes(name), ["a photo of a {}."]))
    assert not [message for message in messages if "nearly" in message or "same prompts" in message]


def test_numbers_that_a_model_does_not_tell_apart_are_told(nano: OpenClipEncoder) -> None:
    with told() as messages:
        build_classifier(nano, build_prompts(load_classes("fgvc-aircraft"), ["a photo of a {}."]))
    (message,) = (message for message in messages if "nearly" in message)
    pairs = re.findall(r"'([^']+)' and '([^']+)'", message)
    assert pairs
    assert all(re.fullmatch(r"7\d7-\d00", label) for pair in pairs for label in pair)


def test_pairs_are_found_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_checks, "_ROWS", 3)
    vectors = np.eye(12, dtype=np.float32)
    vectors[7] = vectors[1]
    vectors[11] = vectors[1]
    vectors[4] = vectors[5]
    pairs = list(embedding_checks._nearly_equal(vectors))
    assert sorted(pairs) == [(1, 7), (1, 11), (4, 5), (7, 11)]
    monkeypatch.setattr(embedding_checks, "_MOST_CLASSES", 11)
    assert not list(embedding_checks._nearly_equal(vectors))
