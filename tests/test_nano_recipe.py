"""The recipe of the bundled model on a sliver: drawn shapes, no network; what it may never be trained on."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import EXAMPLES, ROOT
from PIL import Image

from clipcli.models.registry import ASSETS
from training.ablate import evenly_drawn, first_names_only, forgotten, sized
from training.ablate import table as ablation_table
from training.budget import Budget, lr_at
from training.calibration import calibration
from training.captions import captions, dominant_colour, photo_classes, phrases, plural, things
from training.card import FORMER_NAMES, measured, measures_table
from training.catalogue import SourceImage
from training.discriminant import Concepts, Meaning, kind_vectors
from training.evaluate import (
    BY_PICTURES,
    EXAMPLE_FOLDERS,
    Task,
    folder_measures,
    folder_task,
    measures,
    right_among,
)
from training.examples import Examples
from training.export import rounded
from training.gallery import LABEL_SETS, PHOTOGRAPHS, RIGHT, answer, table
from training.image_start import (
    class_directions,
    first_projection,
    reference_features,
    start_from_photographs,
)
from training.image_tower import ImageTraining, Settings, resemblance
from training.smoke import smoke, tiny_wordnet
from training.sources import SOURCES, TRAINING_LICENCES, Source, archive_name, check_licences, unpack
from training.splits import HELD_OUT, NEVER_TRAINED, may_train, mentions
from training.test_folders import write
from training.text_steps import discriminant_shares, new_model
from training.text_tower import Lesson, carried_over, distil, explained, hashed, text_features
from training.views import MEAN, STD, Chances, views
from training.words import WordNet


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other in such small steps take longer than one alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:.* knows no part of 'woman', 'city'")  # the tower has read of shapes only
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


@pytest.mark.parametrize("stated", ["MIT", "GPL-3.0"])
def test_a_package_is_unpacked_if_it_states_its_licence(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sources.LOCK", tmp_path / "lock.json")
    source = Source("set", "npm", "@icons/set", "1.0.0", "train", "icon", "MIT", "somebody")
    info = json.dumps({"license": {"spdx": stated}}).encode()
    with tarfile.open(tmp_path / archive_name(source), "w:gz") as archive:
        member = tarfile.TarInfo("package/info.json")
        member.size = len(info)
        archive.addfile(member, io.BytesIO(info))
    if stated == "MIT":
        assert (unpack(source, tmp_path, tmp_path / "out") / "package" / "info.json").read_bytes() == info
    else:
        with pytest.raises(ValueError, match="the package GPL"):
            unpack(source, tmp_path, tmp_path / "out")


def test_an_archive_that_is_not_the_recorded_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sources.LOCK", tmp_path / "lock.json")
    source = Source("set", "npm", "set", "1.0.0", "train", "icon", "MIT", "somebody")
    (tmp_path / "lock.json").write_text(json.dumps({"set 1.0.0": "0" * 64}))
    (tmp_path / archive_name(source)).write_bytes(b"another")
    with pytest.raises(ValueError, match="SHA-256"):
        unpack(source, tmp_path, tmp_path / "out")


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
    assert may_train(SourceImage("noto", "x", names, tags), mentions(HELD_OUT)) is allowed


def test_a_held_out_style_is_never_trained_on() -> None:
    assert not may_train(SourceImage("emojione", "x", ("cat",)), mentions(HELD_OUT))


def test_captions_are_shares_of_one_and_name_the_colour(tmp_path: Path) -> None:
    master = np.zeros((96, 96, 4), np.uint8)
    master[20:70, 20:70] = (215, 40, 45, 255)
    assert dominant_colour(master) == "red"
    shares = captions(SourceImage("x", "x", ("square",), ("shape",)), tiny_wordnet(tmp_path / "words"), "red")
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"square", "shape", "box", "figure", "red square"}
    assert max(shares, key=shares.__getitem__) == "square"


@pytest.fixture
def two_senses(tmp_path: Path) -> WordNet:
    """A WordNet in which a hot dog is a person first and food second, and love cannot be drawn."""
    senses = (
        "00000001 18 n 01 hot_dog 0 000 | one who performs stunts",
        '00000002 13 n 01 hot_dog 0 000 | a frankfurter on a bun; "he ate a hot dog"',
        "00000003 12 n 01 love 0 000 | a strong positive emotion",
        "00000004 18 n 01 doctor 0 000 | a medical practitioner",
    )
    (tmp_path / "data.noun").write_text("\n".join(senses) + "\n")
    (tmp_path / "index.noun").write_text(
        "hot_dog n 2 1 @ 2 0 00000001 00000002\nlove n 1 1 @ 1 0 00000003\ndoctor n 1 0 1 0 00000004\n"
    )
    return WordNet(tmp_path)


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("hot dog", "a frankfurter on a bun"),  # a thing, though not its first sense; without the example
        ("hot dogs", "a frankfurter on a bun"),
        ("love", "a strong positive emotion"),
        ("old doctor", "a medical practitioner"),
        ("xyzzy", ""),
        ("", ""),
    ],
)
def test_a_name_is_defined_by_its_first_sense_that_is_a_thing(
    name: str, definition: str, two_senses: WordNet
) -> None:
    assert two_senses.definition(name) == definition


def test_scores_at_the_scale_by_which_the_labels_were_drawn_are_calibrated() -> None:
    generator = np.random.default_rng(0)
    cosines = generator.uniform(-0.2, 0.6, (4000, 8))
    shares = np.exp(15 * cosines) / np.exp(15 * cosines).sum(1, keepdims=True)
    labels = [generator.choice(8, p=share) for share in shares]
    fitted, too_sure = (calibration(cosines, labels, scale) for scale in (15, 45))
    assert fitted.error < 0.03
    assert fitted.score == pytest.approx(fitted.right, abs=0.03)
    assert too_sure.right == fitted.right
    assert too_sure.error > 0.2


def test_the_calibration_error_is_the_mean_gap_of_its_bins() -> None:
    cosines = np.log([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6]])
    found = calibration(cosines, [0, 1, 0, 1], 1.0)
    assert found == pytest.approx((3.1 / 4, 3 / 4, (0.9 + 0.8) / 4))


def test_names_drawn_often_move_less_towards_their_discriminants() -> None:
    shares = discriminant_shares(torch.tensor([0.0, 1.0, 10.0, 120.0]))
    assert shares.tolist() == pytest.approx([2, 20 / 11, 1, 2 / 13])


def test_the_text_tower_is_finished_on_things_in_any_sense_of_few_tokens(two_senses: WordNet) -> None:
    assert things(two_senses, lambda _: 3) == ["hot dog"]
    assert things(two_senses, lambda _: 4) == []


def test_the_teacher_is_told_what_a_name_means(two_senses: WordNet) -> None:
    teacher = hashed()
    taught = explained(teacher, two_senses.definition)(["love", "xyzzy"])
    told = teacher(["love: a strong positive emotion", "xyzzy"])
    assert torch.allclose(taught, torch.nn.functional.normalize(teacher(["love", "xyzzy"]) + told, dim=-1))
    assert torch.allclose(taught[1], teacher(["xyzzy"])[0])


def test_kinds_are_those_of_the_sense_that_is_defined(tmp_path: Path) -> None:
    wordnet = tiny_wordnet(tmp_path)
    assert {sense.words for sense in wordnet.kinds("square")} == {("square", "box"), ("figure", "pattern")}
    assert wordnet.kinds("red square") == wordnet.kinds("squares")
    assert wordnet.kinds("xyzzy") == frozenset()


def test_texts_of_like_length_are_encoded_together_as_open_clip_encodes_each() -> None:
    model, tokenizer = new_model()
    tokens = tokenizer(["a cat", "a very long name of a small cat on a mat", "cat!!!", "", "a dog", "dogs"])
    with torch.no_grad():
        torch.testing.assert_close(text_features(model, tokens, groups=3), model.encode_text(tokens))


def test_the_learning_rate_rises_over_steps_and_falls_with_the_budget() -> None:
    budget = Budget(seconds=100)
    assert budget.progress(25, step=7) == 0.25
    assert Budget(steps=10).progress(25, step=7) == 0.7
    assert lr_at(0, step=0, highest=8, warmup=4, least=0.1) == 2
    assert lr_at(0.5, step=1000, highest=8, warmup=4, least=0.1) == pytest.approx(4)
    assert lr_at(1, step=1000, highest=8, warmup=4, least=0.1) == pytest.approx(0.8)


@pytest.mark.usefixtures("one_thread")
def test_an_image_tower_that_was_stopped_continues_exactly(tmp_path: Path) -> None:
    def begun(steps: int) -> ImageTraining:
        torch.manual_seed(1)
        found = blank_pictures(6, {"cat": 0.7, "pet": 0.3})
        found = replace(found, masters=torch.randint(0, 256, found.masters.shape, dtype=torch.uint8))
        return ImageTraining(*new_model(), found, Settings(Budget(steps=steps), batch_size=4, ema=0.9))

    whole, part, rest = begun(4), begun(4), begun(4)
    whole.run(lambda _: None, tmp_path / "whole.pt")
    part.losses = [part.make_step() for _ in range(2)]
    part.settings = replace(part.settings, budget=Budget(steps=2))
    part.run(lambda _: None, tmp_path / "part.pt")
    rest.resume(tmp_path / "part.pt")
    assert rest.step == 2
    rest.run(lambda _: None)
    assert rest.losses == whole.losses
    expected, averaged = whole.averaged(), rest.averaged()
    differing = [name for name in expected if not torch.equal(averaged[name], expected[name])]
    assert all("num_batches" in name for name in differing), "which count and do nothing"
    live = rest.model.state_dict()["visual.head.proj.weight"]
    assert not torch.equal(averaged["visual.head.proj.weight"], live)


@pytest.mark.usefixtures("one_thread")
def test_captions_are_drawn_as_often_as_they_are_to_be() -> None:
    model, tokenizer = new_model()
    texts = ["zebra", "yacht", "ostrich", *(f"thing {number}" for number in range(400))]
    seen: list[str] = []

    def recorded(prompts: list[str]) -> torch.Tensor:
        seen.extend(prompts)
        return tokenizer(prompts)  # type: ignore[no-any-return]

    targets = torch.nn.functional.normalize(torch.randn(len(texts), 192), dim=1)
    lesson = Lesson(texts, targets, draws=np.array([1.0, 0.0, 3.0]), bank=64)
    distil(model, recorded, lesson, Budget(steps=2), lambda _: None)
    drawn = [sum(name in prompt for prompt in seen) for name in texts[:3]]
    assert drawn[1] < 8  # as one of all texts only, of which the rest of a step are
    assert 2 * 64 <= sum(drawn) < 2 * 64 + 3 * 8
    assert 2 < drawn[2] / drawn[0] < 4.5


def test_texts_are_placed_beside_those_that_the_tower_has_learned() -> None:
    generator = torch.Generator().manual_seed(0)
    known, other = torch.randn(200, 8, generator=generator), torch.randn(5, 8, generator=generator)
    map_to = torch.randn(8, 4, generator=generator)
    unit = torch.nn.functional.normalize
    placed = carried_over(known, known @ map_to, other)
    assert torch.nn.functional.cosine_similarity(placed, other @ map_to).min() > 0.99
    assert torch.allclose(placed, unit(placed, dim=-1), atol=1e-6)


def test_two_colours_are_no_dominant_one() -> None:
    master = np.full((96, 96, 4), 255, np.uint8)
    master[:48, :, :3] = (215, 40, 45)
    assert dominant_colour(master) is None


def test_common_nouns_without_a_picture_are_learned_and_rare_ones_are_not(tmp_path: Path) -> None:
    wordnet = tiny_wordnet(tmp_path / "words")
    tokens = {"square": 1, "circle": 1, "triangle": 2, "figure": 3, "star": 1, "heart": 3}
    found = phrases(["square"], wordnet, tokens.__getitem__, 6, np.random.default_rng(0))
    assert found[0] == "square"
    assert {"square", "circle", "triangle"} <= set(found), "one token, or two and a thing"
    assert not {"figure", "heart"} & set(found)
    described = [text for text in found if " " in text]
    assert described
    assert all(text.endswith(" square") for text in described)


@pytest.mark.parametrize(
    ("one", "many"), [("cat", "cats"), ("fox", "foxes"), ("berry", "berries"), ("key", "keys")]
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_right_among_fewer_classes_is_the_share_of_draws() -> None:
    # Two of the 4 others are drawn: 3 of the 6 pairs leave out the one that scores higher.
    assert right_among(np.array([0, 1, 4]), 5, 3).tolist() == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize(("labels", "share"), [([0, 1], 1.0), ([1, 0], 0.0)])
def test_pictures_of_other_styles_take_the_place_of_names(nano: Any, labels: list[int], share: float) -> None:
    square, stripes = np.full((2, 80, 80, 3), 255, np.uint8)
    square[20:60, 20:60] = 0
    stripes[::8] = (200, 0, 0)
    task = Task("x", [square, stripes], ["a", "b"], [0, 1], others=([square, stripes], labels))
    row = measures(nano, task)[-1]
    assert (row.measure, row.single, row.ensemble, row.chance) == (BY_PICTURES, share, share, 0.5)


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


@pytest.fixture(scope="module")
def photo_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the unpacked package of the image tower's start, with random weights."""
    import timm

    torch.manual_seed(0)
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    folder = tmp_path_factory.mktemp("lite0")
    torch.save({f"its.own.{i}": value for i, value in enumerate(weights.values())}, folder / "lite0.pth")
    return folder


def test_the_image_tower_starts_as_the_network_of_photographs(photo_weights: Path) -> None:
    visual = new_model()[0].visual
    start_from_photographs(visual, photo_weights, fixed_blocks=3, fixed_filters=True)
    masters = np.full((2, 96, 96, 4), 255, np.uint8)
    masters[1, 20:70, 30:60, :3] = (215, 40, 45)
    reference = reference_features(masters, [0, 1], photo_weights)
    seen = torch.nn.functional.interpolate(
        torch.from_numpy(masters).permute(0, 3, 1, 2)[:, :3] / 255, (112, 112), mode="bicubic"
    ).clamp(0, 1)
    with torch.inference_mode():
        features = visual.trunk.eval()((seen - MEAN) / STD)
    # The same weights; the two pad their edges differently, so that they are near, not equal.
    assert torch.nn.functional.cosine_similarity(features, reference).min() > 0.95


def test_what_is_fixed_does_not_learn_and_all_else_does(photo_weights: Path) -> None:
    visual = new_model()[0].visual
    start_from_photographs(visual, photo_weights, fixed_blocks=3, fixed_filters=True)
    first = ("trunk.conv_stem.", "trunk.bn1.", "trunk.blocks.0.", "trunk.blocks.1.", "trunk.blocks.2.")
    for name, value in visual.named_parameters():
        assert value.requires_grad is not (name.startswith(first) or ".conv_dw." in name), name
    visual = new_model()[0].visual
    start_from_photographs(visual, photo_weights, fixed_blocks=0, fixed_filters=False)
    assert all(value.requires_grad for value in visual.parameters())


def test_photo_classes_that_are_held_out_have_no_direction(photo_weights: Path) -> None:
    directions, names = class_directions(photo_weights)
    assert len(directions) == len(names) < len(photo_classes())
    assert not [name for name in names if mentions(HELD_OUT).search(name.lower())]


def test_the_first_projection_finds_a_linear_map() -> None:
    torch.manual_seed(0)
    features, matrix = torch.randn(400, 12), torch.randn(5, 12)
    assert torch.allclose(first_projection(features, features @ matrix.T, ridge=1e-6), matrix, atol=1e-3)


def test_resemblance_is_of_directions_from_the_mean_and_of_known_pictures_only() -> None:
    usual = torch.tensor([1.0, 1.0])
    before = torch.tensor([[2.0, 1.0], [0.0, 0.0], [1.0, 3.0]])
    assert resemblance(torch.tensor([[5.0, 1.0], [9.0, 9.0], [1.0, 1.5]]), before, usual) == pytest.approx(0)
    assert resemblance(torch.tensor([[1.0, 2.0], [9.0, 9.0], [1.0, 2.0]]), before, usual) == pytest.approx(
        0.5
    )
    assert resemblance(torch.ones(1, 2), torch.zeros(1, 2), usual) == 0


def blank_pictures(count: int, captions_of_each: dict[str, float], **more: Any) -> Examples:
    """Empty pictures that all have the same captions."""
    return Examples(
        masters=torch.zeros(count, 4, 72, 72, dtype=torch.uint8),
        targets=[captions_of_each] * count,
        weights=np.full(count, 1 / count),
        mono=torch.zeros(count, dtype=torch.bool),
        flip=torch.zeros(count, dtype=torch.bool),
        photos=torch.zeros(0, 4, 72, 72, dtype=torch.uint8),
        photo_targets=[],
        **more,
    )


def test_the_projection_starts_where_photo_classes_find_their_names(photo_weights: Path) -> None:
    torch.manual_seed(0)
    model, tokenizer = new_model()
    start_from_photographs(model.visual, photo_weights, fixed_blocks=3, fixed_filters=True)
    directions, names = class_directions(photo_weights)
    found = blank_pictures(
        8, {"cat": 1.0}, reference=torch.rand(8, directions.shape[1]), directions=directions[:50],
        direction_names=names[:50],
    )  # fmt: skip
    training = ImageTraining(model, tokenizer, found, Settings(Budget(steps=1), batch_size=8))
    with torch.no_grad():
        sent = torch.nn.functional.normalize(training.visual.head(found.directions), dim=-1)
        nearest = (sent @ training.bank.features.T).argmax(1)
    right = [
        training.bank.captions[i] == name for i, name in zip(nearest, found.direction_names, strict=True)
    ]
    assert sum(right) > 45
    assert training.make_step() > 0  # a step with both losses


def test_concepts_are_the_means_of_their_pictures() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0], [2.0, 0.0]])
    found = Concepts.of(features, ["cat", "cat", "boat", "cat"], torch.tensor([1.0, 2.0, 5.0, 1.0]))
    assert found.names == ["cat", "boat"]
    assert found.means.tolist() == [[0.75, 0.5], [4.0, 4.0]]
    assert found.draws.tolist() == [4.0, 5.0]
    beside = features[[0, 1, 3]] - torch.tensor([0.75, 0.5])  # a boat lies on its mean and does not count
    expected = beside.T @ torch.diag(torch.tensor([0.25, 0.5, 0.25])) @ beside
    torch.testing.assert_close(found.within, expected)


def test_pictures_of_a_name_without_any_are_found_by_its_discriminant() -> None:
    torch.manual_seed(0)
    words = torch.nn.functional.normalize(torch.randn(420, 4), dim=1)
    places = torch.tanh(3 * words @ torch.randn(4, 12))  # no linear map of the words
    nuisance = torch.randn(12) * 2  # along which pictures of any name differ most

    def pictures_of(rows: torch.Tensor) -> torch.Tensor:
        return places[rows] + 0.3 * torch.randn(len(rows), 12) + torch.randn(len(rows), 1) * nuisance

    seen, unseen = torch.arange(400), torch.arange(400, 420)
    shown = seen.repeat(5)
    concepts = Concepts.of(pictures_of(shown), [str(row) for row in shown.tolist()], torch.ones(len(shown)))
    meaning = Meaning(words, torch.zeros(420, 0))
    found = concepts.discriminants(meaning.of(range(400)), meaning)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(420))

    def right(classes: torch.Tensor, vectors: torch.Tensor) -> float:
        asked = classes.repeat(10)
        nearest = ((pictures_of(asked) - concepts.means.mean(0)) @ vectors.T).argmax(1)
        return (classes[nearest] == asked).float().mean().item()

    by_places = torch.nn.functional.normalize(places - places.mean(0), dim=1)
    assert right(unseen, found[unseen]) > 0.4
    assert right(unseen, found[unseen]) > 1.5 * right(unseen, by_places[unseen])  # the nuisance is left out
    assert right(unseen, found[unseen.flip(0)]) < 0.2


def test_names_of_one_kind_have_their_pictures_in_one_place() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(120, 16), dim=1)  # say nothing of the kind
    kinds = [{"entity", row % 4} for row in range(120)]
    meaning = Meaning(vectors, kind_vectors(kinds, range(100)))
    places = torch.randn(4, 8)[torch.arange(120) % 4]
    concepts = Concepts([str(row) for row in range(100)], places[:100], torch.ones(100), torch.eye(8))
    found = concepts.discriminants(meaning.of(range(100)), meaning)[100:]
    by_kind = torch.nn.functional.normalize(places[:4] - places[:100].mean(0), dim=1)
    assert (found @ by_kind.T).argmax(1).tolist() == [row % 4 for row in range(100, 120)]


def test_rare_kinds_say_more_of_a_name_than_common_ones() -> None:
    kinds = [{"animal", "dog"}, {"animal", "dog"}, {"animal", "cat"}, {"animal"}, {"boat"}, {"boat"}, set()]
    dog, other_dog, cat, animal, boat, _, nothing = kind_vectors(kinds, range(6))
    torch.testing.assert_close(dog, other_dog)
    of_dogs, of_animals = math.log(6 / 2), math.log(6 / 4)
    expected = math.sqrt(of_animals / (of_animals + of_dogs))  # no kind is left of a single cat but "animal"
    torch.testing.assert_close(torch.stack([dog @ cat, dog @ animal]), torch.tensor([expected, expected]))
    assert dog @ boat == 0
    assert nothing.tolist() == [0, 0, 0]


def test_the_image_tower_tells_what_it_makes_of_each_concept() -> None:
    model, tokenizer = new_model()
    found = blank_pictures(3, {"cat": 0.7, "pet": 0.3})
    found = replace(
        found,
        masters=torch.randint(0, 256, found.masters.shape, dtype=torch.uint8),
        photos=torch.zeros(18, 4, 72, 72, dtype=torch.uint8),
        photo_targets=[{"shirt": 0.7, "top": 0.3}] * 18,
    )
    training = ImageTraining(model, tokenizer, found, Settings(Budget(steps=1), batch_size=8, photos=0.25))
    concepts = training.concepts()
    assert concepts.names == ["cat", "shirt"]
    assert concepts.draws.tolist() == pytest.approx([0.75, 0.25])
    white = found.masters[:, :3].float() + 255 - found.masters[:, 3:]
    seen = torch.nn.functional.interpolate(white / 255, (80, 80), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.inference_mode():
        features = copy.deepcopy(training.visual).eval()((seen - MEAN) / STD)
    expected = torch.nn.functional.normalize(features, dim=1).mean(0)
    torch.testing.assert_close(concepts.means[0], expected, atol=1e-4, rtol=1e-3)
    assert training.visual.training


def test_ablations_change_what_they_say() -> None:
    rows = torch.ones(3, 4)
    more = {"reference": rows, "directions": rows, "direction_names": ["a"] * 3}
    found = blank_pictures(3, {"cat": 0.7, "pet": 0.3}, **more)
    found = replace(found, weights=np.array([0.8, 0.1, 0.1]))
    assert first_names_only(found).targets == [{"cat": 1.0}] * 3
    assert evenly_drawn(found).weights.tolist() == pytest.approx([1 / 3] * 3)
    assert (len(forgotten(found).reference), len(forgotten(found).directions)) == (0, 0)


def test_a_model_of_another_size_says_so(tmp_path: Path) -> None:
    config = json.loads(sized(64, tmp_path / "sized.json").read_text())
    sizes = config["model_cfg"]["vision_cfg"]["image_size"], config["preprocess_cfg"]["size"]
    assert sizes == (64, 64)


def test_the_model_card_tells_what_was_measured_on_this_model(nano: Any) -> None:
    results = ROOT / "training" / "results"
    rows = json.loads((results / "version-7.json").read_text())
    card = (ASSETS / "nano" / "MODEL_CARD.md").read_text()
    assert measures_table({"version 7": rows}) in card
    ablation = json.loads((results / "version-2-ablation.json").read_text())
    assert ablation_table(ablation["results"]) in (results / "README.md").read_text()
    fitted = json.loads((results / "version-7-calibration.json").read_text())
    assert nano.logit_scale == pytest.approx(fitted["scales"]["calibrated"], rel=1e-5)
    for task in fitted["tasks"]:
        score, right, error = (f"{100 * task['calibrated'][key]:.1f}" for key in ("score", "right", "error"))
        row = rf"\| {re.escape(task['task'])} \| \d+ \| {right} \| [\d., ]+ \| {score}, {error} \|"
        assert re.search(row, card), row
    for name, folder in (("examples/drawings", EXAMPLES), ("examples/photographs", PHOTOGRAPHS)):
        (found,) = (row for row in folder_measures(nano, folder, name) if row.measure == "top-1")
        (recorded,) = (row for row in rows if measured(row) == (name, "top-1"))
        assert found.single == pytest.approx(recorded["single"], abs=1.01 / found.pictures)


@pytest.mark.filterwarnings("ignore:nano knows no part of 'indoors'")  # as the card says
def test_the_gallery_of_the_model_card_shows_what_the_model_answers(nano: Any) -> None:
    card = (ASSETS / "nano" / "MODEL_CARD.md").read_text()
    told = [table(nano, sets) for sets in (LABEL_SETS[:5], LABEL_SETS[5:])]
    for text, _, _ in told:
        shown = [re.sub(r" \d+", "", line) for line in text.splitlines()]  # without scores
        said = [re.sub(r" \d+", "", line) for line in card.splitlines()]
        assert (
            sum(line in said for line in shown) >= len(shown) - 1
        )  # a close answer may differ on another CPU
    right, possible = (sum(each[part] for each in told) for part in (1, 2))
    (tells,) = re.findall(rf"so is the answer in (\d+) of {possible}\.", card)
    assert abs(int(tells) - right) <= 1


def test_an_answer_of_the_gallery_is_right_wrong_or_neither() -> None:
    probs = np.array([0.6, 0.4])
    assert answer(["cat", "dog"], probs, {"cat", "animal"}) == "**cat 60**"
    assert answer(["cat", "dog"], probs, {"dog"}) == "cat 60"
    assert answer(["cat", "dog"], probs, {"animal"}) == "(cat 60)"
    assert set(RIGHT) <= {path.name for path in PHOTOGRAPHS.iterdir()}
    assert {word for words in RIGHT.values() for word in words.split()} <= {w for s in LABEL_SETS for w in s}


@pytest.mark.parametrize("newer_first", [True, False])
def test_a_task_that_was_called_otherwise_is_compared_with_its_former_results(newer_first: bool) -> None:
    before = json.loads((ROOT / "training" / "results" / "version-6.json").read_text())
    now = [row | {"task": FORMER_NAMES.get(row["task"], row["task"]), "single": 0.5} for row in before]
    columns = {"now": now, "before": before} if newer_first else {"before": before, "now": now}
    (line,) = (line for line in measures_table(columns).splitlines() if line.startswith("| examples/"))
    (former,) = (row for row in before if row["task"] == "examples/")
    for share in (0.5, former["single"]):
        assert f"| {100 * share:.1f} (" in line


def test_the_examples_are_measured_by_kind(nano: Any) -> None:
    drawings, photographs = (folder_task(nano, ROOT / name, name) for name in EXAMPLE_FOLDERS)
    assert (drawings.name, photographs.name) == ("examples/drawings", "examples/photographs")
    for task in (drawings, photographs):
        lines = (ROOT / task.name / "labels.csv").read_text().splitlines()
        assert len(task.images) == len(task.labels) == len(lines) - 1


def test_a_test_of_the_card_is_written_as_folders_that_eval_measures_alike(
    run_cli: Callable[..., Any], tmp_path: Path, nano: Any
) -> None:
    """Names of classes hold characters that names of folders cannot."""
    with Image.open(EXAMPLES / "cat-2.png") as cat, Image.open(EXAMPLES / "sun-2.png") as sun:
        images = [np.asarray(image.convert("RGB")) for image in (cat, sun, sun)]
    task = Task("shapes", images, ["cat/kitten", "sun", "moon"], [0, 1, 2])
    write(task, tmp_path / "set")
    assert sorted(path.name for path in (tmp_path / "set").iterdir() if path.is_dir()) == [
        "cat_kitten",
        "moon",
        "sun",
    ]
    output = tmp_path / "m.json"
    for truth in (("--truth", tmp_path / "set" / "labels.csv"), (tmp_path / "set",)):
        named = ("-c", tmp_path / "set" / "classes.txt") if len(truth) > 1 else ()
        given = ("--model", "nano", "--device", "cpu", "--precision", "fp32", "-t", "a photo of a {}.")
        assert run_cli("eval", *truth, *named, *given, "-o", output).code == 0
        content = json.loads(output.read_text())
        assert (content["images"], content["classes"]) == (3, 3)
        assert content["acc1"] == next(one.single for one in measures(nano, task)) == pytest.approx(2 / 3)
