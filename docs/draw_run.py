"""Run `clipcli` on a terminal and draw what it shows: `make docs-images` writes docs/images/run.svg.

The command really runs, with the bundled model and an empty cache, and nothing that it shows is edited.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "images" / "run.svg"
COMMAND = "clipcli classify examples/drawings/*-1.* -c examples/drawings/classes.txt --model nano --top-k 3"
COLUMNS = 104


def run(command: str) -> str:
    """What a command shows in the end: its output, as on a terminal, and the summary after it."""
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile() as summary:
        settings = {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PATH": path, "CLIPCLI_CACHE": cache}
        child = subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=os.environ | settings, stdout=theirs, stderr=summary
        )
        os.close(theirs)
        shown = _read(ours)
        os.close(ours)
        if child.wait() != 0:
            raise subprocess.CalledProcessError(child.returncode, command)
        summary.seek(0)
        return (shown + summary.read()).decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    parts = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    except OSError:  # Linux reports an error, not an end, when the program closes its side
        pass
    return b"".join(parts)


def draw(command: str, shown: str) -> str:
    """A terminal window with the command and what it showed, as SVG that fetches no fonts."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "green"), (command, "bold")), soft_wrap=True)
        console.print(Text.from_ansi(shown.rstrip()), soft_wrap=True)
    svg = console.export_svg(title="clipcli", unique_id="run")
    return re.sub(r" *@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    DRAWING.parent.mkdir(exist_ok=True)
    DRAWING.write_text(draw(COMMAND, run(COMMAND)), encoding="utf-8")
