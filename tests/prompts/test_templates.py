"""Templates, and the prompts that they make of a class list."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from open_clip.zero_shot_metadata import (
    OPENAI_IMAGENET_TEMPLATES,
    SIMPLE_IMAGENET_TEMPLATES,
)

from clipcli.errors import PromptError
from clipcli.prompts.class_lists import ClassSpec
from clipcli.prompts.templates import (
    PLACEHOLDER,
    PromptSet,
    add_concept,
    build_prompts,
    fill,
    list_template_sets,
    load_templates,
)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# --- Templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("a photo of a {}.", "a photo of a cat."),
        ("a {c}", "a cat"),
        ("a {label}", "a cat"),
        ("a <>", "a cat"),
        ("{} and {c} and <>", "cat and cat and cat"),
        ("{0} {class} {{}} { } <label> {}", "{0} {class} {cat} { } <label> cat"),
        ("100 % {}\\1", "100 % cat\\1"),
    ],
)
def test_fill(template: str, prompt: str) -> None:
    assert fill(template, "cat") == prompt


@pytest.mark.parametrize("name", ["{}", "{label} <>", r"\g<0>", "100%s", "\\"])
def test_fill_takes_a_name_literally(name: str) -> None:
    assert fill("a {} or {c}", name) == f"a {name} or {name}"


@pytest.mark.parametrize(
    ("template", "concept", "hinted"),
    [
        ("A photo of a {}.", "a type of pet", "A photo of a {}, a type of pet."),
        ("a {}", "a type of pet", "a {}, a type of pet"),
        ("a {}.", " a type of pet. ", "a {}, a type of pet."),
        ("look, a {}!", "a type of pet", "look, a {}!, a type of pet"),
    ],
)
def test_a_concept_stands_before_the_full_stop(template: str, concept: str, hinted: str) -> None:
    assert add_concept(template, concept) == hinted


@pytest.mark.parametrize(
    ("name", "functions", "count"),
    [("imagenet7", SIMPLE_IMAGENET_TEMPLATES, 7), ("imagenet80", OPENAI_IMAGENET_TEMPLATES, 80)],
)
def test_imagenet_sets_are_open_clips(name: str, functions: tuple, count: int) -> None:
    prompts = [fill(template, "tench") for template in load_templates([name])]
    assert prompts == [function("tench") for function in functions]
    assert len(prompts) == count


def test_imagenet7_is_the_default() -> None:
    assert load_templates() == load_templates(["imagenet7"])


@pytest.mark.parametrize("name", list_template_sets())
def test_shipped_template_sets_are_sound(name: str) -> None:
    templates = load_templates([name])
    assert all(len(PLACEHOLDER.findall(template)) == 1 for template in templates)
    assert all(template == " ".join(template.split()) for template in templates)
    assert len({fill(template, "x").lower() for template in templates}) == len(templates)
    assert list_template_sets()[name]


def test_the_template_library_is_complete() -> None:
    assert {"imagenet7", "imagenet80", "photo", "pets", "satellite"} <= set(list_template_sets())
    assert len(list_template_sets()) == 32


@pytest.mark.parametrize("language", ["de", "fr", "es", "pt", "it", "zh", "ja", "hi", "ar"])
def test_other_languages_have_sets_of_their_own(language: str) -> None:
    templates = load_templates([f"photo-{language}"])
    assert 5 <= len(templates) <= 7
    own = {"zh": "\u4e00", "ja": "\u3040", "hi": "\u0900", "ar": "\u0600"}.get(language)
    for template in templates:
        assert unicodedata.is_normalized("NFC", template)
        assert not re.search(r"\b(photo of|the|a photo)\b", template), "no English"
        assert own is None or any(ord(own) <= ord(one) < ord(own) + 0x5200 for one in template)
    assert load_templates(["bare"]) == ("{}",)


@pytest.mark.parametrize(
    ("template", "hinted"),
    [("{}の写真。", "{}の写真, ペット。"), ("इस तस्वीर में: {}।", "इस तस्वीर में: {}, ペット।")],
)
def test_a_concept_stands_before_the_full_stop_of_other_scripts(template: str, hinted: str) -> None:
    assert add_concept(template, "ペット") == hinted


def test_templates_come_from_sets_files_and_texts_once_each(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.txt", "# mine\na {} here\na photo of a {}.\n")
    references = ["one {}", file, "photo", "a {} here"]
    assert load_templates(references) == ("one {}", "a {} here", "a photo of a {}.")


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("pet", "no template set or file named 'pet'", "Did you mean pets?"),
        ("imagenet8", "no template set or file named 'imagenet8'", "Did you mean imagenet80?"),
        ("zzz", "no template set or file named 'zzz'", "`clipcli templates list`"),
        ("../templates/pets", "no template set or file named '../templates/pets'", ""),
        ("a photo of it", "template without a placeholder: 'a photo of it'", "Write {}"),
        ("x" * 300, f"no template set or file named '{'x' * 300}'", ""),
    ],
)
def test_unknown_templates(reference: str, message: str, hint: str) -> None:
    with pytest.raises(PromptError) as error:
        load_templates([reference])
    assert error.value.message == message
    assert error.value.hint.startswith(hint)


def test_a_template_without_a_placeholder_is_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "# first line\na {}\na photo of {0}\n")
    with pytest.raises(PromptError) as error:
        load_templates([path])
    assert error.value.message == f"{path}:3: template without a placeholder: 'a photo of {{0}}'"


def test_a_file_without_templates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no templates in this file"):
        load_templates([write(tmp_path / "t.txt", "# nothing\n")])


# --- Both together -------------------------------------------------------------------------------


def test_every_name_goes_through_every_template() -> None:
    specs = [ClassSpec("dog"), ClassSpec("n01", name="crane", aliases=("heron", "crane"), context="bird")]
    assert build_prompts(specs, ["a {}.", "the {c}"]) == PromptSet(
        classnames=("dog", "n01"),
        prompts=(
            ("a dog.", "the dog"),
            ("a crane bird.", "the crane bird", "a heron bird.", "the heron bird"),
        ),
    )


def test_the_names_of_a_class_stand_once() -> None:
    assert ClassSpec("crane", aliases=("heron", "crane", "heron")).names == ("crane", "heron")


def test_own_prompts_replace_the_templates() -> None:
    specs = [ClassSpec("cat", aliases=("kitty",), prompts=("One {}.", "It purrs."))]
    built = build_prompts(specs, ["a {}."], concept="a pet")
    assert built.prompts == (("One cat.", "It purrs.", "One kitty."),)


@pytest.mark.parametrize(
    ("concept", "prompt"),
    [("a pet", "a cat, a pet."), ("", "a cat."), ("  ", "a cat.")],
)
def test_a_concept_is_added_to_every_template(concept: str, prompt: str) -> None:
    assert build_prompts([ClassSpec("cat")], ["a {}."], concept).prompts == ((prompt,),)


def test_a_prompt_that_arises_twice_stands_once() -> None:
    assert build_prompts([ClassSpec("cat")], ["a {}", "a {c}"]).prompts == (("a cat",),)
