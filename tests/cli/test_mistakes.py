"""Command lines that cannot be understood: what is wrong, with the value, and what may be meant."""

from __future__ import annotations

import shlex
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from clipcli import choices
from clipcli.output.sinks import FORMATS

Cli = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images and lists, which is the present one."""
    monkeypatch.chdir(tmp_path)
    pictures.rename(tmp_path / "photos")
    (tmp_path / "names.txt").write_text("photos/00.jpg\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    return tmp_path


CASES = """
$ clipcli photos/
error: no such command: photos/
Did you mean `clipcli classify photos/ --labels A,B,C`?

$ clipcli photos
error: no such command: photos
Did you mean `clipcli classify photos --labels A,B,C`?

$ clipcli potos/ -l cat
error: no such command: potos/
Did you mean `clipcli classify potos/ -l cat`?

$ clipcli a.jpg b.jpg
error: no such command: a.jpg
Did you mean `clipcli classify a.jpg b.jpg --labels A,B,C`?

$ clipcli *.jpg
error: no such command: *.jpg
Did you mean `clipcli classify '*.jpg' --labels A,B,C`?

$ clipcli names.txt
error: no such command: names.txt
`clipcli classify --from-file names.txt --labels A,B,C`?

$ clipcli clasify photos
error: no such command: clasify
Did you mean `clipcli classify photos`?

$ clipcli modles list
error: no such command: modles
Did you mean `clipcli models list`?

$ clipcli pull fast
error: no such command: pull
Did you mean `clipcli models pull fast`?

$ clipcli models lst
error: no such command: lst
Did you mean `clipcli models list`?

$ clipcli models nano
error: no such command: nano
Did you mean `clipcli models info nano`?

$ clipcli templates pets
error: no such command: pets
Did you mean `clipcli templates show pets`?

$ clipcli cache what
error: no such command: what
There are: info, prune, clear.

$ clipcli xyzzy
error: no such command: xyzzy
There are: classify, eval, report, search, embed, probe, review-next, prompts, sort, tag, inputs,

$ clipcli classify photos --lables cat
error: no such option: --lables
Did you mean --labels?

$ clipcli classify photos --lables=cat
error: no such option: --lables
Did you mean --labels?

$ clipcli classify photos -labels cat
error: no such option: -labels
Did you mean --labels?

$ clipcli classify photos -model=nano
error: no such option: -model=nano
Did you mean --model=nano?

$ clipcli --labels cat photos
error: no such option: --labels
It is an option of `clipcli classify` and `clipcli eval` and `clipcli probe` and `clipcli prompts`.

$ clipcli models list --days 3
error: no such option: --days
It is an option of `clipcli cache prune`.

$ clipcli classify --xyzzy
error: no such option: --xyzzy
`clipcli classify --help` shows all.

$ clipcli classify photos -l
error: -l needs a value: A,B,C

$ clipcli classify photos -l --model nano
error: -l needs a value: A,B,C
After it comes --model, which is another option.

$ clipcli classify photos -o -q
error: -o needs a value: FILE
After it comes -q, which is another option.

$ clipcli train
error: PAIRS is missing
PAIRS: A .csv,

$ clipcli train photos
error: --output is missing
DIR: The folder for the trained model

$ clipcli models info
error: MODEL is missing
MODEL: A model, as --model takes it

$ clipcli cache info now
error: unexpected: now
Usage: clipcli cache info [OPTIONS]

$ clipcli prompts cat dog
error: unexpected: cat dog
Labels go together, separated by commas: --labels cat,dog

$ clipcli prompts -l cat dog
error: unexpected: dog
Labels go together, separated by commas:

$ clipcli classify photos -l cat -k many
error: -k many: not a number

$ clipcli classify photos -l cat -kmany
error: -k many: not a number

$ clipcli classify photos -l cat --top-k=many
error: --top-k many: not a number

$ clipcli classify photos -l cat --top-k 2.5
error: --top-k 2.5: not a whole number

$ clipcli classify photos -l cat -k -1
error: --top-k must be at least 1, not -1

$ clipcli classify photos -l cat --min-margin high
error: --min-margin must be a number from 0 to 1, not 'high'

$ clipcli classify photos -l cat --format json
error: --format json: not one of csv, tsv, jsonl, parquet, xlsx, html
Did you mean jsonl?

$ clipcli classify photos -l cat --format docx
error: --format docx: not one of csv, tsv, jsonl, parquet, xlsx, html

$ clipcli classify photos -l cat --score softmx
error: --score softmx: not one of auto, softmax, sigmoid, cosine
Did you mean softmax?

$ clipcli classify photos -l cat --precision half
error: --precision half: not one of auto, fp32, bf16, fp16, int8

$ clipcli classify photos -l cat --layout rows
error: --layout rows: not one of long, wide, matrix, nested

$ clipcli classify photos -l cat --truncated no
error: --truncated no: not one of error, ok

$ clipcli classify photos -l cat -t petz -m nano
error: no template set or file named 'petz'
Did you mean pets?

$ clipcli classify photos -l cat --device gpu -m nano
error: unknown device 'gpu'
Use auto, cpu, cuda

$ clipcli cache prune --days soon
error: --days soon: not a number

$ clipcli classify --labels cat dog -m nano
error: no such file or folder: dog
dog is read as the path of an image. Labels go together, separated by commas: --labels cat,dog

$ clipcli classify photos -l cat dog bird
error: no such file or folder: dog
--labels cat,dog,bird

$ clipcli classify -l 'a cat' 'a dog'
error: no such file or folder: a dog
--labels 'a cat,a dog'

$ clipcli classify photos cat
error: no such file or folder: cat
--labels cat

$ clipcli classify potos -l cat
error: no such file or folder: potos
Did you mean photos?

$ clipcli classify -l cat
error: no images given
Name files, folders or globs
"""
"""Each case: the command, its first line on stderr and, where there is one, a part of the second."""


@pytest.mark.parametrize("case", CASES.strip().split("\n\n"), ids=lambda case: case.splitlines()[0])
def test_what_is_wrong_and_what_may_be_meant(run_cli: Cli, here: Path, case: str) -> None:
    command, error, *hint = case.splitlines()
    result = run_cli(*shlex.split(command)[2:])
    assert result.code == 2, result.err
    assert result.out == ""
    first, *rest = result.err.splitlines()
    assert first == error
    assert len(rest) == len(hint), rest
    assert not hint or hint[0] in rest[0], rest


def test_a_value_from_the_environment_is_named_so(
    run_cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "maybe")
    result = run_cli("classify", "photos", "-l", "cat")
    assert result.err.splitlines()[0] == "error: HF_HUB_OFFLINE=maybe: neither true nor false"


def test_a_list_in_a_pipe_needs_a_dash(run_cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (here / "names.txt").open() as fed:
        monkeypatch.setattr(sys, "stdin", fed)
        result = run_cli("classify", "-l", "cat")
    assert result.code == 2
    assert result.err.splitlines() == [
        "error: no images given",
        "Name a single - as the input to read a list of paths from standard input.",
    ]


def test_the_formats_are_those_that_can_be_written() -> None:
    assert set(typing.get_args(choices.FormatName)) == {*FORMATS, "html"}


def test_formats_may_be_written_in_capitals(run_cli: Cli, here: Path) -> None:
    result = run_cli("classify", "photos", "-l", "cat,dog", "-m", "nano", "--format", "JSONL", "-o", "a.csv")
    assert result.code == 0, result.err
    assert (here / "a.csv").read_text().startswith('{"image"'), "--format goes before the suffix"


def test_an_option_after_two_dashes_is_a_path(run_cli: Cli, here: Path) -> None:
    result = run_cli("classify", "-l", "cat", "--", "-labels")
    assert result.err.startswith("error: no such file or folder: -labels")
