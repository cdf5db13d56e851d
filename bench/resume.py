"""A run that is killed at about 60 %, and the same command again, against a run that was left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from memory import copies

from clipcli.cache import NAME

_COUNTED = """
import sys
from clipcli.cli.app import main
from clipcli.models.encoder import OpenClipEncoder
encode = OpenClipEncoder.encode_images
def counted(self, pixels):
    print(len(pixels), file=sys.stderr, flush=True)
    return encode(self, pixels)
OpenClipEncoder.encode_images = counted
main()
"""


def resumed(model: str, paths: list[str], amount: int) -> None:
    """Print how many of `amount` images were encoded twice, and whether the output is the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "list").write_text("\n".join(copies(folder / "images", paths, amount)))
        alone = encoded(folder, "alone", model)
        before = encoded(folder, "killed", model, kill_at=6 * amount // 10)
        after = encoded(folder, "killed", model)
        outputs = [(folder / f"{run}.csv").read_bytes() for run in ("alone", "killed")]
    print(f"\nkill -9 at about 60 % of {amount} images, then the same command again")
    twice = before + after - alone
    print(f"  encoded: {alone} without a kill; {before} before it, {after} after it: {twice} twice")
    print(f"  output {'identical' if outputs[0] == outputs[1] else 'DIFFERENT'}, {len(outputs[0])} bytes")


def encoded(folder: Path, run: str, model: str, kill_at: int = 0) -> int:
    """Images that a whole process, or one killed when so many are in the cache, encoded."""
    command = ["classify", "--from-file", "list", "-q", "-c", "imagenet", "-t", "photo", "-m", model]
    command += ["--cache", f"cache-{run}", "-o", f"{run}.csv"]
    with (folder / "encoded").open("w+") as counts:
        process = subprocess.Popen([sys.executable, "-c", _COUNTED, *command], cwd=folder, stderr=counts)
        if kill_at:
            cache = folder / f"cache-{run}" / NAME
            while process.poll() is None and in_cache(cache) < kill_at:
                time.sleep(0.05)
            process.kill()
        process.wait()
        counts.seek(0)
        return total(counts.read().splitlines())


def total(lines: Sequence[str]) -> int:
    """The sum of the lines that are numbers; a process that is killed may print others."""
    return sum(int(line) for line in lines if line.isdigit())


def in_cache(path: Path) -> int:
    """Images whose features are kept."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM files").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # not begun
