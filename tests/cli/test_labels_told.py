"""Labels and thresholds that are hardly meant as they stand, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

Cli = Callable[..., Result]
NANO = ("-m", "nano", "--device", "cpu", "--precision", "fp32", "-q", "--format", "csv", "-k", 1)


@pytest.fixture
def image(pictures: Path) -> Path:
    return pictures / "01.png"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("60", "60 percent is 0.6."),
        ("60%", "60% is 0.6."),
        ("-1", ""),
        ("nan", ""),
        ("much", ""),
        ("0,5", ""),
        ("1e9", ""),
    ],
)
@pytest.mark.parametrize("option", ["--min-score", "--min-margin"])
def test_a_threshold_out_of_range_is_refused_with_the_range(
    option: str, value: str, hint: str, run_cli: Cli, image: Path
) -> None:
    result = run_cli("classify", image, "-l", "cat,dog", *NANO, option, value)
    assert result.code == 2
    first, *rest = result.err.splitlines()
    assert first.startswith(f"error: {option} must be a number from 0 to 1, not ")
    assert rest == [hint] * bool(hint)


def test_a_cosine_may_be_negative(run_cli: Cli, image: Path) -> None:
    cosine = ("-l", "cat,dog", *NANO, "--score", "cosine")
    assert run_cli("classify", image, *cosine, "--min-score", "-0.5").code == 0
    assert "from -1 to 1, not 60" in run_cli("classify", image, *cosine, "--min-score", "60").err


def test_one_label_is_told_once_unless_its_score_says_something(run_cli: Cli, pictures: Path) -> None:
    result = run_cli("classify", pictures, "-l", "cat", *NANO)
    assert result.code == 0
    assert result.err.count("warning: with one label, 'cat', every image gets the score 1") == 1
    assert "use --score cosine" in result.err
    assert not run_cli("classify", pictures, "-l", "cat", *NANO, "--score", "cosine").err


def test_lists_that_are_taken_for_a_label(run_cli: Cli, image: Path, tmp_path: Path) -> None:
    refused = run_cli("classify", image, "-l", "cat;dog", *NANO)
    assert refused.code == 2
    assert "error: --labels 'cat;dog' has semicolons" in refused.err
    assert "Use --labels 'cat,dog', or --label 'cat;dog' if it is one label." in refused.err
    classes = tmp_path / "classes.txt"
    classes.write_text("cat,dog")
    as_file = run_cli("classify", image, "-l", classes, *NANO)
    assert as_file.code == 2
    assert f"Use --classes {classes}." in as_file.err
    kept = run_cli("classify", image, "--label", "dog, brown", "--label", "cat", *NANO)
    assert kept.code == 0
    assert kept.err.count("'dog, brown' is taken as one label; for several, use --labels 'dog,brown'") == 1
    in_a_line = run_cli("classify", image, "-c", classes, *NANO)
    assert in_a_line.code == 0
    assert "classes.txt:1: 'cat,dog', the only line, has commas and is taken as one label" in in_a_line.err


def test_words_that_the_model_does_not_know_are_told_in_every_run(run_cli: Cli, image: Path) -> None:
    for _ in range(2):  # from the cache, too
        result = run_cli("classify", image, "-l", "cat,Cat,carr", *NANO)
        assert result.code == 0
        assert result.err.count("warning: ") == 2
        assert "differ only in case" in result.err
        assert "nano knows no part of 'carr'" in result.err
