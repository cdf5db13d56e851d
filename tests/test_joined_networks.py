"""How the two networks of the bundled model are put together, and by which photographs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from clipcli.models.two_trunks import CLASSES, SIZE
from training.captions import photo_classes
from training.class_words import ClassWords, sense_of, words_of
from training.evaluate import folder_task, imagenet_task
from training.joined import (
    CONFIG,
    FURTHER_CLASSES,
    PREPROCESS,
    Seen,
    Shown,
    choice_row,
    class_row,
    class_vectors,
    fitted_together,
    logistic,
    look,
    networks,
    part_for_drawings,
)
from training.photographs import LIST, PHOTO_SOURCES, SEEN_LIST, photographs, write_folder
from training.sources import TRAINING_LICENCES
from training.text_steps import new_model
from training.words import WordNet


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_photograph_is_both_seen_and_measured() -> None:
    measured, seen = ({(row["source"], row["file"]) for row in rows_of(table)} for table in (LIST, SEEN_LIST))
    assert not measured & seen
    assert len(measured) == len(rows_of(LIST)) >= 150
    assert {row["label"] for row in rows_of(SEEN_LIST)} == {"person", "person?", "city", ""}


def test_photographs_that_are_fitted_to_have_a_licence_to_train_on() -> None:
    by_name = {source.name: source for source in PHOTO_SOURCES}
    seen, measured = ({row["source"] for row in rows_of(table)} for table in (SEEN_LIST, LIST))
    assert {by_name[name].licence for name in seen} <= TRAINING_LICENCES
    assert not {name for name in measured if by_name[name].role == "train"}
    assert set(by_name) == seen | measured


def test_a_folder_of_photographs_tells_nothing_by_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "a cat.JPG").write_bytes(b"cat")
    table = tmp_path / "table.csv"
    table.write_text("source,file,label\nmate,a cat.JPG,cat\n")
    monkeypatch.setattr("training.photographs.unpack", lambda *_: package)
    monkeypatch.setattr("training.photographs.photographs", lambda work: photographs(work, table))
    write_folder(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "labels.csv").read_text() == "image,label\nmate-000.jpg,cat\n"
    assert (tmp_path / "out" / "mate-000.jpg").read_bytes() == b"cat"
    table.write_text("source,file,label\nmate,a dog.JPG,dog\n")
    with pytest.raises(ValueError, match=r"mate: a dog\.JPG is not in the package"):
        list(photographs(tmp_path, table))


def test_a_regression_tells_kinds_apart_whatever_there_are_more_of() -> None:
    torch.manual_seed(0)
    positive = torch.arange(220) < 20
    features = torch.randn(220, 6)
    features[positive, 0] += 4
    weight, bias = logistic(features, positive, torch.zeros(220))
    right = (features @ weight + bias > 0) == positive
    assert right.float().mean() > 0.95
    assert weight.abs().argmax() == 0


def seen_by_chance(count: int, shift: float) -> Seen:
    """Features that tell kinds apart, and logits of which one class leads."""
    torch.manual_seed(int(shift * 10))
    logits = torch.randn(count, len(photo_classes()))
    return Seen(torch.randn(count, 1280) + shift, torch.randn(count, 1280), logits)


def test_a_further_class_leads_where_it_is_right() -> None:
    seen = seen_by_chance(60, 0.0)
    positive = torch.arange(60) < 25
    seen.photographs[positive, :50] += 2
    weight, bias = class_row(seen, positive)
    share = (seen.photographs @ weight + bias - seen.logits.logsumexp(1)).sigmoid()
    assert share[positive].mean() > 0.8
    assert share[~positive].mean() < 0.2


def test_photographs_are_told_from_drawings() -> None:
    photos, drawings = seen_by_chance(30, 0.3), seen_by_chance(80, 0.0)
    weight, bias = choice_row(photos, drawings)
    assert ((photos.features @ weight + bias) > 0).all()
    assert ((drawings.features @ weight + bias) < 0).all()


@torch.inference_mode()
def test_a_class_lies_where_its_words_lie_and_none_where_no_word_does(nano: Any) -> None:
    words = [ClassWords(name, (), ()) for name in photo_classes()]
    pekingese = photo_classes().index("Pekingese")
    words[pekingese] = ClassWords("Pekingese", ("peke",), (("toy dog",), ("dog", "domestic dog")))
    vectors = class_vectors(nano, words)
    names = [*photo_classes(), *(each.name for each in FURTHER_CLASSES)]
    assert vectors.shape == (len(names) + 1, 192) == (CLASSES, 192)
    torch.testing.assert_close(vectors[:-1].mean(0), torch.zeros(192), atol=1e-6, rtol=0)
    for name in ("banana", "person", "receipt"):
        near = vectors @ torch.from_numpy(nano.encode_texts([name])[0])
        assert names[int(near[:-1].argmax())] == name
        assert abs(float(near[-1])) < 0.01
    alone = class_vectors(nano, [ClassWords(name, (), ()) for name in photo_classes()])
    dog = torch.from_numpy(nano.encode_texts(["dog"])[0])
    assert vectors[pekingese] @ dog > alone[pekingese] @ dog + 0.05


def test_the_words_of_a_class_come_from_its_sense(tmp_path: Path) -> None:
    """The sense is found by its definition, though the word has another first; vague kinds are left out."""
    (tmp_path / "index.noun").write_text(
        "jay n 2 1 @ 2 0 00000001 00000002\njaybird n 1 1 @ 1 0 00000002\nbird n 1 1 @ 1 0 00000003\n"
        "organism n 1 1 @ 1 0 00000004\nmind n 1 1 @ 1 0 00000005\n"
    )
    (tmp_path / "data.noun").write_text(
        "00000001 18 n 01 jay 0 000 | a statesman\n"
        "00000002 05 n 02 jay 0 Jaybird 0 001 @ 00000003 n 0000 | crested largely blue bird\n"
        "00000003 05 n 02 bird 0 Aves_1 0 001 @ 00000004 n 0000 | warm-blooded\n"
        "00000004 05 n 01 organism 0 001 @ 00000005 n 0000 | a living thing\n"
        "00000005 09 n 01 mind 0 000 | what thinks\n"
    )
    wordnet = WordNet(tmp_path)
    sense = sense_of("jay, jaybird: crested, largely blue bird", wordnet)
    assert sense is not None
    assert words_of("blue jay", sense, wordnet) == ("blue jay", ("jay", "jaybird"), (("bird",),))
    assert sense_of("wren: a small bird", wordnet) is None
    assert words_of("wren", None, wordnet) == ("wren", (), ())


def test_both_networks_answer_as_they_did_alone(nano: Any) -> None:
    """Of a photograph the classes' vectors, of a drawing what the model of drawings makes of it."""
    torch.manual_seed(0)
    start = timm.create_model("tf_efficientnet_lite0").state_dict()
    start["classifier.weight"] *= 40  # clear about its classes
    drawings = {name: value.clone() for name, value in new_model()[0].state_dict().items()}
    trunk = networks(start, drawings)
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(6)]
    flat = [np.full((SIZE, SIZE, 3), 40 * number, np.uint8) for number in range(6)]
    shown, drawn = Shown(look(trunk, pixels), ["person", "", "person?", "city", "", ""]), look(trunk, flat)
    words = [ClassWords(name, (), ()) for name in photo_classes()]
    whole = fitted_together(trunk, drawings, nano, words, [shown], drawn)
    again = part_for_drawings(whole)
    visual = {name: value for name, value in drawings.items() if name.startswith("visual.")}
    assert set(again) == set(drawings)
    assert all(torch.equal(again[name], visual[name]) for name in visual)
    assert part_for_drawings(drawings) is drawings
    batch = torch.from_numpy(np.stack(flat)).permute(0, 3, 1, 2) / 127.5 - 1
    smaller = torch.nn.functional.interpolate(batch, (80, 80), mode="bicubic", antialias=True)
    alone, both = new_model()[0], new_model(config=CONFIG)[0]
    alone.load_state_dict(drawings)
    weight, bias = trunk.choice.weight[0].clone(), trunk.choice.bias.clone()
    assert (drawn.features @ weight + bias < 0).all()
    assert (shown.seen.features @ weight + bias > 0).all()
    with torch.inference_mode():
        certain = whole | {"visual.trunk.choice.bias": bias - 1000}
        both.load_state_dict(certain)
        as_drawings = both.eval().encode_image(batch)
        torch.testing.assert_close(as_drawings, alone.eval().encode_image(smaller), atol=2e-3, rtol=1e-3)
        both.load_state_dict(certain | {"visual.trunk.choice.bias": bias + 1000})
        classes = trunk.photographs.classifier(drawn.photographs).softmax(dim=1)
        expected = classes @ whole["visual.head.proj.weight"][:, :CLASSES].T
        torch.testing.assert_close(both.encode_image(batch), expected, atol=2e-3, rtol=1e-3)


class _Eye:
    """As much of an encoder as images are loaded by."""

    preprocess = PREPROCESS


def saved(folder: Path, *names: str) -> None:
    for name in names:
        Image.new("RGB", (8, 6), "red").save(folder / name)


def test_imagenets_photographs_are_named_by_the_number_in_their_file_name(tmp_path: Path) -> None:
    saved(tmp_path, "n01440764_x.png", "n02123045_x.png", "n04008634_x.png", "labels.png")
    task = imagenet_task(_Eye(), tmp_path, "ImageNet")
    assert [task.classnames[label] for label in task.labels] == ["tench", "tabby cat", "missile"]
    assert len(task.images) == 3
    assert len(set(task.classnames)) == len(task.classnames) == len(set(photo_classes()))


def test_a_folder_of_photographs_may_have_other_labels_than_its_own(tmp_path: Path) -> None:
    saved(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,tench\nb.png,tabby\n")
    (tmp_path / "coarse.csv").write_text("image,label\nb.png,cat\n")
    own, other = (
        folder_task(_Eye(), tmp_path, "photos", *table) for table in ([], [tmp_path / "coarse.csv"])
    )
    assert (own.classnames, own.labels) == (["tabby", "tench"], [1, 0])
    assert (other.classnames, other.labels, len(other.images)) == (["cat"], [0], 1)
