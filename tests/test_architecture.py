"""The structure of the package: who imports whom, and how long modules and functions are.

Read with `ast` from the sources, so that imports inside functions and under `TYPE_CHECKING` count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "clipcli"

# From the bottom. A component (a module or package directly below clipcli) imports from lower layers only.
LAYERS = [
    {"errors", "choices", "version"},
    {"remote"},
    {"records", "prefetch", "read_ahead", "files", "libraries", "hub_client"},
    {"cache"},
    {"images", "prompts"},
    {"inputs"},
    {"models", "scoring"},
    {"output", "train"},
    {"stages"},
    {"per_video"},
    {"pipeline"},
    {"ray_stages"},
    {"ray_engine"},
    {"gallery"},
    {"known_images"},
    {"api"},
    {"searching", "learning"},
    {"cli"},
    {"__init__", "__main__"},
]

# Imports within a layer that are allowed all the same: (who imports, what).
SIDEWAYS: set[tuple[str, str]] = set()

# Libraries that only some packages may import.
LIBRARIES = {
    "torch": {"models", "train"},
    "torchvision": {"models", "train"},
    "open_clip": {"models", "train"},
    "timm": {"models", "train"},
    "transformers": {"models", "train"},
    "scipy": {"scoring"},
    "sklearn": {"scoring"},
    "typer": {"cli"},
    "rich": {"cli"},
}

MODULE_LINES, FUNCTION_LINES, MEDIAN_LINES = 350, 45, 8

# Folders of tests that go through several packages.
ACROSS_PACKAGES = {"fuzz"}


class Import(NamedTuple):
    """An import of a module, by its full name, at a line."""

    name: str
    line: int


class Function(NamedTuple):
    """A function or method, its decorators left out."""

    name: str
    line: int
    length: int
    is_command: bool


@dataclass(frozen=True)
class Module:
    """What the rules ask of a module.

    Args:
        name: `clipcli.models.hub`; a package's is that of its `__init__`.
        path: for messages.
        length: lines.
        imports: of modules, never of what lies in them; a relative one begins with a dot.
        functions: all of them, nested ones too.
    """

    name: str
    path: str
    length: int
    imports: list[Import]
    functions: list[Function]

    @property
    def component(self) -> str:
        """The module or package directly below clipcli that this is, or lies in."""
        return _component(self.name)


# --- Reading -------------------------------------------------------------------------------------


def read(sources: dict[str, str]) -> list[Module]:
    """Parse sources, given by their paths from the folder above the package."""
    known = {_module_name(path) for path in sources}
    return [_module(path, source, known) for path, source in sources.items()]


def _module(path: str, source: str, known: set[str]) -> Module:
    nodes = list(ast.walk(ast.parse(source)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Module(
        name=_module_name(path),
        path=path,
        length=len(source.splitlines()),
        imports=[found for node in nodes for found in _imports(node, known)],
        functions=[_function(node, path) for node in functions],
    )


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(node: ast.AST, known: set[str]) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = "." * node.level + (node.module or "")
        for alias in node.names:
            module = f"{source}.{alias.name}"
            yield Import(module if module in known else source, node.lineno)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, path: str) -> Function:
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    is_command = path.startswith("clipcli/cli/") and _declares_options(node.args)
    return Function(node.name, node.lineno, length, is_command)


def _declares_options(arguments: ast.arguments) -> bool:
    """Whether a parameter is one of Typer's, written here or taken from `cli/options.py`."""
    annotations = [
        ast.unparse(argument.annotation)
        for argument in (*arguments.args, *arguments.kwonlyargs)
        if argument.annotation
    ]
    return any("typer." in annotation or "options." in annotation for annotation in annotations)


def _component(module: str) -> str:
    """The name directly below clipcli; `clipcli` itself is `__init__`."""
    _, *parts = module.split(".")
    return parts[0] if parts else "__init__"


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "clipcli"


# --- Rules: each yields one line for each violation ----------------------------------------------


def upward_imports(modules: Iterable[Module]) -> Iterator[str]:
    """Imports that do not lead to a lower layer, and components that are in none."""
    layer = {component: number for number, components in enumerate(LAYERS) for component in components}
    for module in modules:
        here = module.component
        if here not in layer:
            yield f"{module.path}:1 {here} is in no layer: add it to LAYERS in {Path(__file__).name}"
            continue
        for name, line in module.imports:
            there = _component(name)
            where = f"{module.path}:{line} imports {name}"
            if name.startswith("."):
                yield f"{where}: write the import with its full name"
            elif not _is_ours(name) or here == there or (here, there) in SIDEWAYS or there not in layer:
                continue
            elif layer[there] == layer[here]:
                yield f"{where}: {here} and {there} are in the same layer; import from lower ones only"
            elif layer[there] > layer[here]:
                yield f"{where}: {here} is in a lower layer than {there}; import from lower ones only"


def circles(modules: Iterable[Module]) -> Iterator[str]:
    """The first circle of modules that import each other."""
    places: dict[tuple[str, str], str] = {}
    graph: dict[str, set[str]] = {}
    for module in modules:
        for name, line in module.imports:
            if _is_ours(name) and name != module.name:
                graph.setdefault(module.name, set()).add(name)
                places.setdefault((module.name, name), f"{module.path}:{line} imports {name}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # graphlib lists what is imported before what imports it
        yield f"a circle of imports: {', '.join(places[step] for step in pairwise(circle))}"


def misplaced_libraries(modules: Iterable[Module]) -> Iterator[str]:
    """Imports of libraries that are kept to some packages."""
    for module in modules:
        for name, line in module.imports:
            allowed = LIBRARIES.get(name.partition(".")[0])
            if allowed and module.component not in allowed:
                yield f"{module.path}:{line} imports {name}: only {' and '.join(sorted(allowed))} may"


def long_parts(modules: Iterable[Module]) -> Iterator[str]:
    """Modules and functions above the limits; a Typer command may be as long as its options are many."""
    for module in modules:
        if module.length > MODULE_LINES:
            yield f"{module.path}:1 has {module.length} lines: no module has more than {MODULE_LINES}"
        for function in module.functions:
            if function.length > FUNCTION_LINES and not function.is_command:
                yield (
                    f"{module.path}:{function.line} {function.name} has {function.length} lines:"
                    f" no function but a Typer command has more than {FUNCTION_LINES}"
                )


def generic_tuples(sources: Mapping[str, str]) -> Iterator[str]:
    """Named tuples with a further base, which Python 3.10 refuses when it imports them."""
    for path, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.ClassDef)
                and len(node.bases) > 1
                and "NamedTuple" in map(ast.unparse, node.bases)
            ):
                yield f"{path}:{node.lineno} {node.name} is a named tuple and more: not in Python 3.10"


# --- The package ---------------------------------------------------------------------------------


def _sources() -> dict[str, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE.parent).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _package() -> list[Module]:
    return read(_sources())


def _refuse(violations: Iterable[str]) -> None:
    lines = list(violations)
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_imports_lead_downward() -> None:
    _refuse(upward_imports(_package()))


def test_no_modules_import_each_other() -> None:
    _refuse(circles(_package()))


def test_libraries_are_imported_where_they_belong() -> None:
    _refuse(misplaced_libraries(_package()))


def test_modules_and_functions_are_short() -> None:
    _refuse(long_parts(_package()))


def test_named_tuples_are_nothing_else() -> None:
    _refuse(generic_tuples(_sources()))


def test_the_typical_function_is_short() -> None:
    lengths = [function.length for module in _package() for function in module.functions]
    assert median(lengths) <= MEDIAN_LINES


def test_tests_mirror_the_package() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/test_*.py")}
    assert folders - ACROSS_PACKAGES == packages


# --- The rules themselves ------------------------------------------------------------------------


def test_a_generic_named_tuple_is_refused() -> None:
    source = "class A(NamedTuple):\n    x: int\n\nclass B(NamedTuple, Generic[T]):\n    x: T\n"
    (violation,) = generic_tuples({"clipcli/a.py": source})
    assert violation.startswith("clipcli/a.py:4 B is a named tuple")


def test_inputs_must_not_import_cli() -> None:
    modules = read({"clipcli/inputs/walk.py": "import os\n\nfrom clipcli.cli import console\n"})
    assert list(upward_imports(modules)) == [
        "clipcli/inputs/walk.py:3 imports clipcli.cli: inputs is in a lower layer than cli; "
        "import from lower ones only"
    ]


def test_output_must_not_import_torch() -> None:
    modules = read({"clipcli/output/sinks.py": "def write() -> None:\n    import torch.nn as nn\n"})
    assert list(misplaced_libraries(modules)) == [
        "clipcli/output/sinks.py:2 imports torch.nn: only models and train may"
    ]


def test_commands_may_import_typer_and_others_not() -> None:
    modules = read({f"clipcli/{package}/a.py": "from typer import Option" for package in ("cli", "scoring")})
    assert list(misplaced_libraries(modules)) == ["clipcli/scoring/a.py:1 imports typer: only cli may"]


def test_imports_for_types_count() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from clipcli.api import classify\n"
    (violation,) = upward_imports(read({"clipcli/scoring/groups.py": source}))
    assert violation.startswith("clipcli/scoring/groups.py:3 imports clipcli.api: scoring is in a lower")


def test_packages_of_a_layer_do_not_import_each_other() -> None:
    (violation,) = upward_imports(read({"clipcli/images/decode.py": "import clipcli.prompts.templates\n"}))
    assert "images and prompts are in the same layer" in violation


def test_imports_that_lead_down_or_stay_inside_are_fine() -> None:
    sources = {
        "clipcli/cli/app.py": "from clipcli.cli import console\nfrom clipcli import api, errors\n",
        "clipcli/cli/console.py": "import json\n",
        "clipcli/api.py": "from clipcli.records import Item\n",
        "clipcli/errors.py": "",
        "clipcli/__init__.py": "from clipcli.api import classify\n",
        "clipcli/__main__.py": "from clipcli.cli.app import main\n",
    }
    modules = read(sources)
    assert [*upward_imports(modules), *circles(modules), *misplaced_libraries(modules)] == []


def test_the_package_itself_is_the_top_layer() -> None:
    (violation,) = upward_imports(read({"clipcli/cli/app.py": "from clipcli import classify\n"}))
    assert "imports clipcli: cli is in a lower layer than __init__" in violation


def test_relative_imports_are_refused() -> None:
    sources = {"clipcli/cli/app.py": "from . import console\n", "clipcli/cli/console.py": ""}
    (violation,) = upward_imports(read(sources))
    assert violation.startswith("clipcli/cli/app.py:1 imports .:")


def test_a_new_module_needs_a_layer() -> None:
    (violation,) = upward_imports(read({"clipcli/attic.py": ""}))
    assert violation.startswith("clipcli/attic.py:1 attic is in no layer")


def test_a_circle_is_told_with_its_steps() -> None:
    sources = {
        "clipcli/models/a.py": "from clipcli.models import b\n",
        "clipcli/models/b.py": "def load() -> None:\n    from clipcli.models.c import name\n",
        "clipcli/models/c.py": "import clipcli.models.a\n",
        "clipcli/models/d.py": "import clipcli.models.a\n",
    }
    (violation,) = circles(read(sources))
    for step in (
        "clipcli/models/a.py:1 imports clipcli.models.b",
        "clipcli/models/b.py:2 imports clipcli.models.c",
        "clipcli/models/c.py:1 imports clipcli.models.a",
    ):
        assert step in violation
    assert "models/d.py" not in violation


def test_long_modules_and_functions_are_told_and_commands_may_be_long() -> None:
    body = "".join(f"    x{number} = {number}\n" for number in range(50))
    options = "from clipcli.cli import options\n"
    sources = {
        "clipcli/cli/train.py": f"{options}def train(folder: options.Folder) -> None:\n{body}",
        "clipcli/cli/tables.py": f"def show(folder: str) -> None:\n{body}",
        "clipcli/train/loop.py": f"{options}def train(folder: options.Folder) -> None:\n{body}",
        "clipcli/cache.py": "\n" * 351,
    }
    assert list(long_parts(read(sources))) == [
        "clipcli/cli/tables.py:1 show has 51 lines: no function but a Typer command has more than 45",
        "clipcli/train/loop.py:2 train has 51 lines: no function but a Typer command has more than 45",
        "clipcli/cache.py:1 has 351 lines: no module has more than 350",
    ]
