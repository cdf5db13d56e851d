"""Plurals and synonyms, as the text tower is taught them at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.captions import PLURAL_TEMPLATES, TEMPLATES
from training.rewording import often_plural, rewording, with_synonyms
from training.words import WordNet

TEXTS = ["car", "machine", "bus", "pet"]


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    """A car is called auto and machine too, a bus coach."""
    (tmp_path / "data.noun").write_text(
        "00000001 06 n 03 car 0 auto 0 machine 0 000 | a motor vehicle\n"
        "00000002 06 n 02 bus 0 car 1 000 | a vehicle for many\n"
    )
    (tmp_path / "index.noun").write_text("car n 1 1 @ 1 0 00000001\nbus n 1 1 @ 1 0 00000002\n")
    return WordNet(tmp_path)


def test_synonyms_move_halfway_to_the_name_of_an_image(wordnet: WordNet) -> None:
    places = torch.eye(4)
    moved = with_synonyms(TEXTS, places, {"car", "bus", "boat"}, wordnet)
    assert torch.equal(moved[[0, 2, 3]], places[[0, 2, 3]])  # "car" names images itself, so it stays
    torch.testing.assert_close(moved[1], F.normalize(torch.tensor([1.0, 1.0, 0, 0]), dim=0))


def test_first_names_are_drawn_more_often_and_every_text_has_a_place(wordnet: WordNet) -> None:
    lesson = rewording(TEXTS, torch.eye(4), 3, {"car", "bus"}, wordnet)
    assert lesson.draws.tolist() == [4, 1, 4]
    assert lesson.targets.shape == (4, 4)
    assert lesson.spoken is often_plural


def test_names_are_read_alone_in_templates_and_in_the_plural() -> None:
    generator = np.random.default_rng(0)
    said = [often_plural("box", generator) for _ in range(2000)]
    alone, plural = said.count("box") / 2000, sum("boxes" in text for text in said) / 2000
    assert alone == pytest.approx(0.2, abs=0.05)
    assert plural == pytest.approx(0.3, abs=0.05)
    own = {template.format("boxes") for template in PLURAL_TEMPLATES} - {t.format("boxes") for t in TEMPLATES}
    assert 0.05 < sum(text in own for text in said) / 2000 < 0.2
