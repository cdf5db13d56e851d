"""The recipe of the bundled model on a sliver: drawn shapes, no network; what it may never be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from training.captions import captions, dominant_colour, plural
from training.catalogue import Picture
from training.evaluate import right_among, wilson
from training.export import rounded
from training.smoke import smoke, tiny_wordnet
from training.sources import SOURCES, TRAINING_LICENCES, check_licences
from training.splits import HELD_OUT, NEVER_TRAINED, may_train, mentions
from training.views import Chances, views


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other in such small steps take longer than one alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_every_step_runs_and_something_is_learned(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    result = smoke(tmp_path / "work", text_steps=6, image_steps=40)
    assert result.last_loss < 0.9 * result.first_loss
    assert result.top1.single > 1.5 * result.top1.chance
    output = tmp_path / "out.csv"
    shapes = tmp_path / "work" / "shapes"
    done = run_cli("classify", shapes, "-l", "red circle,blue square", "--model", result.folder, "-o", output)
    assert done.code == 0, done.err
    assert len(pd.read_csv(output).query("rank == 1")) == len(list(shapes.iterdir()))


def test_no_licence_is_one_that_may_not_be_trained_on() -> None:
    check_licences()
    assert not any("GPL" in licence or "SA" in licence or "NC" in licence for licence in TRAINING_LICENCES)
    assert {source.name for source in SOURCES if source.role in {"test", "develop"}} == NEVER_TRAINED


def test_no_set_of_the_examples_is_trained_on() -> None:
    readme = (Path(__file__).parents[1] / "examples" / "README.md").read_text()
    assert not [source.package for source in SOURCES if f"`{source.package}`" in readme]


@pytest.mark.parametrize(
    ("names", "tags", "allowed"),
    [(("donkey",), (), False), (("cat",), ("two donkeys",), False), (("cat",), ("donkeyish",), True)],
)
def test_held_out_concepts_are_found_in_names_and_keywords(
    names: tuple[str, ...], tags: tuple[str, ...], allowed: bool
) -> None:
    assert may_train(Picture("noto", "x", names, tags), mentions(HELD_OUT)) is allowed


def test_a_held_out_style_is_never_trained_on() -> None:
    assert not may_train(Picture("emojione", "x", ("cat",)), mentions(HELD_OUT))


def test_captions_are_shares_of_one_and_name_the_colour(tmp_path: Path) -> None:
    master = np.zeros((96, 96, 4), np.uint8)
    master[20:70, 20:70] = (215, 40, 45, 255)
    assert dominant_colour(master) == "red"
    shares = captions(Picture("x", "x", ("square",), ("shape",)), tiny_wordnet(tmp_path / "words"), "red")
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"square", "shape", "box", "figure", "red square"}
    assert max(shares, key=shares.__getitem__) == "square"


def test_two_colours_are_no_dominant_one() -> None:
    master = np.full((96, 96, 4), 255, np.uint8)
    master[:48, :, :3] = (215, 40, 45)
    assert dominant_colour(master) is None


@pytest.mark.parametrize(
    ("one", "many"), [("cat", "cats"), ("fox", "foxes"), ("berry", "berries"), ("key", "keys")]
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_right_among_fewer_classes_is_the_share_of_draws() -> None:
    # Two of the 4 others are drawn: 3 of the 6 pairs leave out the one that scores higher.
    assert right_among(np.array([0, 1, 4]), 5, 3).tolist() == pytest.approx([1, 0.5, 0])


def test_wilsons_interval() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0, 10)[0] == 0


def test_rounding_keeps_the_nearest_value_of_fewer_bits() -> None:
    values = torch.randn(1000).half().float()
    assert ((rounded(values, 7).float() - values).abs() <= values.abs() * 2**-8 + 1e-6).all()
    assert (rounded(values, 7).view(torch.int16) & 0b111 == 0).all()


def test_views_differ_and_stay_on_a_white_ground_in_range() -> None:
    masters = torch.zeros(16, 4, 72, 72, dtype=torch.uint8)
    masters[:, :, 20:50, 20:50] = 255
    yes, no = torch.ones(16, dtype=torch.bool), torch.zeros(16, dtype=torch.bool)
    torch.manual_seed(0)
    seen = views(masters, 64, no, yes, no, Chances(outline=1))
    assert seen.shape == (16, 3, 64, 64)
    assert -2 < seen.min() < seen.max() < 2.8
    torch.manual_seed(0)
    assert torch.equal(seen, views(masters, 64, no, yes, no, Chances(outline=1)))
