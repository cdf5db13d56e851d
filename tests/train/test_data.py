"""Pictures to train on: the split, what is decoded, and how they are cut into steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from small_models import small_pairs

from clipcli.records import ImageFailure, Preprocess
from clipcli.train.data import Data, ReadReport, prepare, shuffled, sizes, split
from clipcli.train.pairs import Caption, Pair, Pairs

SMALL = Preprocess((16, 16))


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return small_pairs(tmp_path / "pictures")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all files that are decoded."""
    from clipcli.train import data as dataset

    made: list[int] = []
    decode_whole = dataset.decode_whole

    def counting(data: bytes, *arguments: Any) -> Any:
        made.append(len(data))
        return decode_whole(data, *arguments)

    monkeypatch.setattr(dataset, "decode_whole", counting)
    return made


def prepared(pairs: Pairs, *arguments: Any) -> Data:
    data = prepare(pairs, SMALL, 0.3, 2, *arguments)
    assert data is not None
    return data


def test_the_split_does_not_depend_on_the_order() -> None:
    digests = [f"{number:064x}" for number in range(100)]
    kept = split(digests, 0.2)
    assert len(kept) == 20
    assert kept == split(digests[::-1] + digests[:7], 0.2)
    assert kept != set(digests[:20])
    assert split(digests, 0) == set()


def test_the_validation_set_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.train.data.MAX_VALIDATION", 3)
    assert len(split([str(number) for number in range(100)], 0.2)) == 3


def test_no_picture_is_on_both_sides_and_its_captions_go_with_it(pairs: Pairs) -> None:
    copies = []
    for pair in pairs.pairs[:20]:
        shutil.copy(pair.image, pair.image.replace(".png", "-copy.png"))
        copies.append(Pair(pair.image.replace(".png", "-copy.png"), (Caption("a copy"),)))
    both = Pairs(pairs.pairs + tuple(copies))
    data = prepared(both)
    told = {pair.image: pair.captions for pair in [*data.train, *data.validation]}
    assert sorted(told) == sorted(pair.image for pair in both.pairs)
    for pair in pairs.pairs[20:]:
        assert told[pair.image] == pair.captions
    for pair, copied in zip(pairs.pairs[:20], copies, strict=True):
        assert told[pair.image] == told[copied.image] == (*pair.captions, Caption("a copy"))
    contents = [{Path(pair.image).read_bytes() for pair in side} for side in (data.train, data.validation)]
    assert not contents[0] & contents[1]
    assert [len(side) for side in contents] == [21, 9]


def test_each_content_is_decoded_once_and_never_again(pairs: Pairs, decoded: list[int]) -> None:
    copy = pairs.pairs[0].image.replace(".png", "-copy.png")
    shutil.copy(pairs.pairs[0].image, copy)
    both = Pairs((*pairs.pairs, Pair(copy, (Caption("a copy"),))))
    data = prepare(both, SMALL, 0.3, 1)
    assert data is not None
    assert len(decoded) == 30
    assert prepared(both, data.digests) == data
    assert len(decoded) == 30


def test_every_picture_that_is_read_is_told(pairs: Pairs) -> None:
    Path(pairs.pairs[3].image).write_bytes(b"no picture")
    told: list[Any] = []
    prepared(pairs, (), told.append)
    read = [report for report in told if isinstance(report, ReadReport)]
    assert read == [ReadReport(done, 30) for done in range(1, 31)]
    (failure,) = (report for report in told if isinstance(report, ImageFailure))
    assert told.index(failure) == 3


def test_reading_can_be_stopped(pairs: Pairs) -> None:
    told: list[Any] = []
    assert prepare(pairs, SMALL, 0.3, 2, (), told.append, lambda: len(told) == 4) is None
    assert len(told) == 4


@pytest.mark.parametrize(
    ("count", "largest", "expected"),
    [
        (30, 8, [8, 8, 7, 7]),
        (30, 15, [15, 15]),
        (17, 16, [9, 8]),
        (5, 64, [5]),
        (2, 2, [2]),
        (3, 2, [3]),
        (7, 2, [3, 2, 2]),
        (7, 3, [3, 2, 2]),
    ],
)
def test_parts_are_equal_and_leave_none_alone(count: int, largest: int, expected: list[int]) -> None:
    assert sizes(count, largest) == expected


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [shuffled(20, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert shuffled(20, 0, 1) == orders[1]
