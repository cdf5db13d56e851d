"""Class lists in YAML: every scalar is text, and a file that would unfold to billions is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from clipcli.errors import PromptError
from clipcli.prompts.label_checks import refuse_repeated
from clipcli.prompts.text_files import MAX_TEXT

_MAX_DEPTH = 64
_MAX_ALIASED = 1_000_000  # nodes that the aliases of a YAML file expand to

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if PyYAML has it


class _TextLoader(_Loader):  # type: ignore[misc]
    """Reads every scalar but null as text: `no`, `1.10` and `010` are labels, not a boolean and numbers."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_TextLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.endswith((":null", ":str", ":seq", ":map"))
}


def load_yaml(text: str, where: str) -> Any:
    """What a YAML text holds: lists, mappings, texts and nulls.

    Raises:
        PromptError: it is not valid, nested too deeply, unfolds to too much, or names a label twice.
    """
    try:
        _check_yaml(text, where)
        loader = _TextLoader(text)
        node = loader.get_single_node()
        for labels in _label_nodes(node):
            refuse_repeated((label.value, f"{where}:{label.start_mark.line + 1}") for label in labels)
        return None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        raise PromptError(f"{where}:{line}: not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if "nesting depth" in str(error.problem):  # libyaml's own limit
            raise PromptError(f"{where}:{line}: nested too deeply") from None
        raise PromptError(f"{where}:{line}: not valid YAML: {str(error.problem)[:MAX_TEXT]}") from None


def _check_yaml(text: str, where: str) -> None:
    """Refuse what PyYAML cannot bear: deep nesting, which crashes it, and aliases that expand to billions."""
    open_: list[tuple[str | None, int]] = []  # enclosing collections: anchor, nodes before
    sizes: dict[str | None, int] = {}
    nodes = aliased = 0
    event: Any
    for event in yaml.parse(text, Loader=_TextLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            aliased += sizes.get(event.anchor, 1)
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.pop(event.anchor, None)
                open_.append((event.anchor, nodes))
        if len(open_) > _MAX_DEPTH or aliased > _MAX_ALIASED:
            reason = "nested too deeply" if len(open_) > _MAX_DEPTH else "aliases expand to too many entries"
            raise PromptError(f"{where}:{event.start_mark.line + 1}: {reason}")


def _label_nodes(node: yaml.Node | None) -> Iterator[list[yaml.ScalarNode]]:
    """The labels of a list or mapping, and those of each mapping in it."""
    found, seen = [node], set[int]()
    while found:
        node = found.pop()
        if id(node) in seen:  # named again by an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            found += [value for _, value in node.value if isinstance(value, yaml.MappingNode)]
        elif isinstance(node, yaml.SequenceNode):  # the whole file: others are no mappings
            yield [label for label in node.value if isinstance(label, yaml.ScalarNode)]
