"""A real terminal for a command: what reaches its screen, and how wide it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from commands import clipcli

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


class Shown(NamedTuple):
    """What a command wrote to its terminal, and its exit code."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        """Without colours and movements of the cursor."""
        return _CODES.sub("", self.raw).replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()


def on_terminal(
    *arguments: object,
    columns: int = 80,
    stderr: bool = True,
    program: Sequence[str] = (),
    answers: Mapping[bytes, bytes] | None = None,
    **environment: str,
) -> Shown:
    """Run `clipcli ARGUMENTS` with a terminal as its input, its output and, if `stderr`, for its errors.

    The program is forked if no other one is named. `answers` are what the terminal says to what it is asked.
    """
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*(program or clipcli()), *map(str, arguments)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal if stderr else subprocess.DEVNULL,
        env=inherited | {"TERM": "xterm-256color"} | environment,
    )
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while data := os.read(screen, 65536):
            seen += data
            for question, answer in (answers or {}).items():
                if question in data:
                    os.write(screen, answer)
    os.close(screen)
    return Shown(process.wait(timeout=60), seen.decode(errors="replace"))
