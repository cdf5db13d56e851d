"""What a shell offers, asked for as bash, zsh and fish do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clipcli.models.registry import PRESETS
from clipcli.prompts.class_lists import list_class_lists
from clipcli.prompts.templates import list_template_sets

SCRIPT = """
import sys
from clipcli.__main__ import main
sys.argv = ["clipcli"]
try:
    main()
finally:
    heavy = {"torch", "open_clip", "transformers", "numpy", "pandas", "huggingface_hub"} & set(sys.modules)
    assert not heavy, heavy
"""


def completed(*words: str, shell: str = "bash") -> list[str]:
    """What is offered for the last word, by a process that imports nothing heavy."""
    line = ["clipcli", *words]
    asked = {"_CLIPCLI_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": " ".join(line)}
    asked |= {"COMP_WORDS": "\n".join(line), "COMP_CWORD": str(len(words))}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["classify", "-m", ""], list(PRESETS)),
        (["classify", "--model", "na"], ["nano"]),
        (["prompts", "-m", "b"], ["balanced", "best"]),
        (["train", "--init", "fa"], ["fast"]),
        (["models", "info", "ac"], ["accurate"]),
        (["models", "pull", ""], list(PRESETS)),
        (["classify", "-m", "ViT-B-32:laion2b_s"], ["ViT-B-32:laion2b_s34b_b79k"]),
        (["classify", "-m", "ViT-B-32-256", "--pretrained", ""], ["datacomp_s34b_b86k"]),
        (["classify", "-t", ""], list(list_template_sets())),
        (["templates", "show", "pe"], ["pets"]),
        (["classify", "-c", ""], list(list_class_lists())),
        (["classes", "show", "cifar"], ["cifar10", "cifar100"]),
        (["classify", "--device", "c"], ["cpu", "cuda"]),
        (["classify", "--precision", ""], ["auto", "fp32", "bf16", "fp16", "int8"]),
        (["train", "--precision", ""], ["auto", "fp32", "bf16"]),
        (["classify", "--format", ""], ["csv", "tsv", "jsonl", "parquet", "xlsx", "html"]),
        (["classify", "--score", "s"], ["softmax", "sigmoid"]),
        (["classify", "--layout", ""], ["long", "wide", "matrix", "nested"]),
        (["classify", "--trunc"], ["--truncated"]),
        (["eval", "--truth", "examples/drawings/labels.csv", "--truth-column", "l"], ["label"]),
        (["eval", "--from-file", "examples/drawings/labels.csv", "--truth-column", "l"], ["label"]),
        (["eval", "--from-file", "examples/drawings/classes.txt", "--truth-column", ""], [""]),
        (["eval", "--tru"], ["--truth", "--truth-column", "--truncated"]),
        (["cl"], ["classify", "classes"]),
    ],
)  # fmt: skip
def test_bash_is_offered_what_there_is(words: list[str], offered: list[str]) -> None:
    found = completed(*words)
    assert [one for one in found if not one.startswith("cuda:")] == offered


def test_zsh_and_fish_show_what_each_is() -> None:
    assert any(line.startswith("nano\tbundled: ") for line in completed("classify", "-m", "n", shell="fish"))
    (offer,) = completed("templates", "show", "pe", shell="zsh")
    assert '"pets":"breeds of cats, dogs and other pets"' in offer


def test_images_are_left_to_the_shell() -> None:
    """Nothing is offered, so bash falls back to the names of files."""
    assert completed("classify", "pho") in ([], [""])
