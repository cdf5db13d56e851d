"""Users' type checkers see our types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = """
import clipcli
encoder = clipcli.load_model("nano", device="cpu")
classifier = clipcli.build_classifier(encoder, ["cat", "dog"])
outcomes = clipcli.classify("images/", encoder, classifier, top_k=1)
for outcome in outcomes: print(outcome.image)
"""


def check(script: str, folder: Path) -> str:
    """What `mypy --strict` says of a script that is no part of this project."""
    (folder / "script.py").write_text(script)
    (folder / "mypy.ini").write_text("[mypy]\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "script.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # as if it were installed
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.long
def test_a_script_that_uses_the_api_passes(tmp_path: Path) -> None:
    assert "Success" in check(SCRIPT, tmp_path)
    for mistake, told in (
        ("clipcli.load_model(3)", '"load_model" has incompatible type "int"'),
        ("print(classifier.no_such_field)", 'has no attribute "no_such_field"'),
    ):
        assert told in check(SCRIPT + mistake + "\n", tmp_path)
