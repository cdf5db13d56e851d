"""Files and code that mean harm: nothing that came from a file is run."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from clipcli import load_model
from clipcli.errors import WeightsDamagedError

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load"}
FORBIDDEN_CALLS |= {"pickle.loads", "marshal.loads", "yaml.load", "yaml.unsafe_load", "torch.load", "np.load"}
FORBIDDEN_KEYWORDS = {"shell", "trust_remote_code", "allow_pickle"}


def dangerous(source: str) -> Iterator[str]:
    """Calls that could run what a file says; not those that say explicitly that they will not."""
    tree = ast.parse(source)
    safe_loaders = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and "yaml.SafeLoader" in map(ast.unparse, node.bases)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {str(word.arg): ast.unparse(word.value) for word in node.keywords}
            harmless = given.get("allow_pickle") == "False" or given.get("Loader") in safe_loaders
            harmless |= name == "torch.load" and given.get("weights_only") == "True"
            if name in FORBIDDEN_CALLS and not harmless:
                yield f"{name} in line {node.lineno}"
            for keyword in FORBIDDEN_KEYWORDS & set(given):
                if given[keyword] != "False":
                    yield f"{keyword} in line {node.lineno}"


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "pickle.load(file, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "yaml.load(text, Loader=yaml.Loader)",
        "pickle.loads(data)",
    ],
)
def test_the_check_finds_what_it_looks_for(source: str) -> None:
    assert list(dangerous(source))


def test_the_check_lets_weights_only_pass() -> None:
    assert not list(dangerous("torch.load(path, map_location='cpu', weights_only=True)"))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "clipcli").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_code_of_ours_runs_what_a_file_says(path: Path) -> None:
    assert not list(dangerous(path.read_text(encoding="utf-8")))


# --- Weights that lie ----------------------------------------------------------------------------


def with_header(data: bytes, change: Callable[[dict[str, dict[str, object]]], None]) -> bytes:
    """A safetensors file whose header was changed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]


LIES: dict[str, Callable[[bytes], bytes]] = {
    "header longer than the file": lambda data: (2**40).to_bytes(8, "little") + data[8:],
    "header of no length": lambda data: bytes(8) + data[8:],
    "header that is no JSON": lambda data: data[:8] + b"\xff" * 100 + data[108:],
    "offsets beyond the end": lambda data: with_header(
        data, lambda header: header["logit_scale"].update(data_offsets=[2**40, 2**40 + 4])
    ),
    "offsets that overlap": lambda data: with_header(
        data, lambda header: header["logit_scale"].update(data_offsets=[0, 4])
    ),
    "a shape that does not fit the bytes": lambda data: with_header(
        data, lambda header: header["logit_scale"].update(shape=[10**9, 10**9])
    ),
    "another type": lambda data: with_header(data, lambda header: header["logit_scale"].update(dtype="F64")),
}


@pytest.mark.parametrize("lie", LIES)
def test_weights_with_a_lying_header_are_called_damaged(
    lie: str, random_model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = random_model("clip")
    shutil.copy(folder / CONFIG, tmp_path)
    (tmp_path / WEIGHTS).write_bytes(LIES[lie]((folder / WEIGHTS).read_bytes()))
    with pytest.raises(WeightsDamagedError, match=f"{WEIGHTS} is damaged"):
        load_model(f"local-dir:{tmp_path}", device="cpu")
