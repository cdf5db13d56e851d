"""Template sets, and the `PromptSet` that templates and a class list make together.

A template is a sentence with a placeholder for the class name: `{}`, `{c}`, `{label}` or `<>`.
Any other brace is an ordinary character.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipcli.errors import PromptError
from clipcli.prompts.class_lists import ClassSpec, check_classes
from clipcli.prompts.groups import Parents, parents_of
from clipcli.prompts.label_checks import warn_of_shared_prompts
from clipcli.prompts.text_files import (
    LIBRARY,
    SHORT,
    check_text,
    content_lines,
    description,
    is_file,
    open_clip_metadata,
    read_text,
    refuse_pipe,
)

PLACEHOLDER = re.compile(r"\{\}|\{c\}|\{label\}|<>")
DEFAULT_TEMPLATES = "imagenet7"

_FROM_OPEN_CLIP = {
    "imagenet7": ("SIMPLE_IMAGENET_TEMPLATES", "the seven templates that work best together on ImageNet"),
    "imagenet80": ("OPENAI_IMAGENET_TEMPLATES", "the 80 templates of the CLIP paper for ImageNet"),
}


@dataclass(frozen=True)
class PromptSet:
    """The prompts of each class, in class order: `prompts[c]` are the texts for `classnames[c]`.

    `names[c]`, where they are known, are what the prompts call the class. `parents[c]` are the groups that it
    lies in, the outermost first, if there are groups; `min_scores[c]` the probability below which its images
    are `unknown`, if any class has one.
    """

    classnames: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, ...], ...] = field(default=(), compare=False)
    parents: Parents | None = None
    min_scores: tuple[float | None, ...] | None = None


def fill(template: str, name: str) -> str:
    """Replace every placeholder of a template by a class name."""
    return PLACEHOLDER.sub(lambda _: name, template)


def add_concept(template: str, concept: str) -> str:
    """Add a hint such as "a type of pet" at the end of a template.

    Source: Radford et al. 2021, section 3.1.4: "A photo of a {label}, a type of pet."
    """
    body, stop = (template[:-1], template[-1]) if template.endswith((".", "。", "।")) else (template, "")
    return f"{body}, {concept.strip().rstrip('.')}{stop}"


def list_template_sets() -> dict[str, str]:
    """The template sets that come with the package: name -> one-line description."""
    shipped = {path.stem: description(path) for path in sorted((LIBRARY / "templates").glob("*.txt"))}
    return shipped | {name: text for name, (_, text) in _FROM_OPEN_CLIP.items()}


def load_templates(references: Sequence[str] = ()) -> tuple[str, ...]:
    """The templates that these references stand for: each is the name of a set, a file, or a template.

    Raises:
        PromptError: there is no such set or file, or a template is too long or has no placeholder.
    """
    found = [template for reference in references or (DEFAULT_TEMPLATES,) for template in _resolve(reference)]
    return tuple(dict.fromkeys(found))


def _resolve(reference: str) -> tuple[str, ...]:
    if reference in _FROM_OPEN_CLIP:
        return _open_clip_templates(_FROM_OPEN_CLIP[reference][0])
    shipped = LIBRARY / "templates" / f"{reference}.txt"
    if re.fullmatch(r"[\w-]+", reference) and is_file(shipped):
        return _read_templates(shipped)
    if PLACEHOLDER.search(reference):
        check_text(reference, "templates")
        return (reference,)
    if is_file(Path(reference)):
        return _read_templates(Path(reference))
    refuse_pipe(Path(reference))
    raise PromptError(*_unknown_templates(reference))


def _unknown_templates(reference: str) -> tuple[str, str]:
    if " " in reference:
        return f"template without a placeholder: {reference!r}", "Write {} where the class name belongs."
    near = difflib.get_close_matches(reference, list_template_sets(), 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"no template set or file named {reference!r}", f"{hint}`clipcli templates list` shows the sets."


def _read_templates(path: Path) -> tuple[str, ...]:
    templates = []
    for number, line in content_lines(read_text(path), str(path)):
        check_text(line, f"{path}:{number}")
        if not PLACEHOLDER.search(line):
            raise PromptError(
                f"{path}:{number}: template without a placeholder: {SHORT.repr(line)}",
                "Write {} where the class name belongs.",
            )
        templates.append(line)
    if not templates:
        raise PromptError(f"{path}: no templates in this file")
    return tuple(templates)


def _open_clip_templates(attribute: str) -> tuple[str, ...]:
    functions: Iterable[Callable[[str], str]] = getattr(open_clip_metadata(), attribute)
    return tuple(function("{}") for function in functions)


def build_prompts(specs: Sequence[ClassSpec], templates: Sequence[str], concept: str = "") -> PromptSet:
    """Fill every template with every name of every class.

    Args:
        specs: the classes, in order.
        templates: sentences with a placeholder.
        concept: a hint added to every template, such as "a type of pet".

    Raises:
        PromptError: there is no class, a label is given twice, or a group lies in two others or in itself.
    """
    check_classes(specs)
    hinted = [add_concept(template, concept) for template in templates] if concept.strip() else templates
    prompts = [
        tuple(dict.fromkeys(fill(text, name) for name in spec.names for text in spec.prompts or hinted))
        for spec in specs
    ]
    labels = tuple(spec.label for spec in specs)
    warn_of_shared_prompts(
        [spec.label for spec in specs if spec.where],
        [made for spec, made in zip(specs, prompts, strict=True) if spec.where],
    )
    names = tuple(_names_in_prompts(spec) for spec in specs)
    least = tuple(spec.min_score for spec in specs)
    has_least = any(one is not None for one in least)
    return PromptSet(labels, tuple(prompts), names, parents_of(specs), least if has_least else None)


def _names_in_prompts(spec: ClassSpec) -> tuple[str, ...]:
    """What the prompts of a class call it; nothing, if they are sentences of its own."""
    filled = not spec.prompts or any(PLACEHOLDER.search(prompt) for prompt in spec.prompts)
    return spec.names if filled else ()
